"""Lists and events by their users, in parts on disk of which one at a time is in memory."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.errors import InputError
from components.hashing import hash_text
from components.interaction_gen.events import NEGATIVE, clean
from components.interaction_gen.log import Log, check_unit
from components.tables import reading
from pipeline.config.feedback import FeedbackSettings
from pipeline.feedback import answers

EVENTS = pa.schema(
    [
        ("user", pa.string()),
        ("item", pa.string()),
        ("time", pa.int64()),
        ("type", pa.string()),
        ("kind", pa.int8()),
        ("weight", pa.float64()),
    ]
)
"""`weight` is the event's own, transformed, without that of its type."""
USERS = pa.schema([("user", pa.string()), ("user_id", pa.string())])
CLICK, CONVERSION = 0, 1
NOBODY = "lists of nobody in particular"

_CLOCK_S = 86_400.0
"""So far ahead clocks may be, or local times are of UTC."""
_PART_BYTES = 32 << 20
_MOST_PARTS = 200
"""Each has files that are open at the same time."""

Pseudonym = Callable[[str], str]


@dataclass(frozen=True)
class Part:
    """Everything of some of the users."""

    lists: pa.Table
    """`answers.SCHEMA`."""
    events: pa.Table
    """`EVENTS`, those that may be ascribed to a list."""
    users: pa.Table
    """`USERS`: what the log calls those who have a pseudonym, each at least once."""


class Parts:
    """Files of parts in a folder.

    Args:
        folder: Where; it must be there.
        size: Bytes of the logs of answers, by which it goes how many parts there are.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self.count = min(_MOST_PARTS, 1 + size // _PART_BYTES)

    def write(self, kind: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
        """Writes tables with a column `user`."""
        with contextlib.ExitStack() as files:
            writers = [
                files.enter_context(pa.ipc.new_stream(str(self._path(kind, part)), schema))
                for part in range(self.count)
            ]
            for table in tables:
                if not len(table):
                    continue
                encoded = table["user"].combine_chunks().dictionary_encode()
                hashes = hash_text(encoded.dictionary) % np.uint64(self.count)
                part_of = hashes[encoded.indices.to_numpy(zero_copy_only=False)]
                for part in np.unique(part_of):
                    rows = pa.array(np.flatnonzero(part_of == part))
                    writers[int(part)].write_table(table.take(rows))

    def __iter__(self) -> Iterator[Part]:
        for part in range(self.count):
            lists, events, users = (self._read(kind, part) for kind in ("lists", "events", "users"))
            if len(lists):
                yield Part(lists, events, users)

    def _path(self, kind: str, part: int) -> Path:
        return self._folder / f"{kind}-{part}.arrow"

    def _read(self, kind: str, part: int) -> pa.Table:
        with pa.ipc.open_stream(str(self._path(kind, part))) as stream:
            return stream.read_all()


@dataclass
class Span:
    """Of which times the data are, in microseconds; None before there are any."""

    first: int | None = None
    last: int | None = None

    def add(self, times: pa.ChunkedArray) -> None:
        """Takes on more times."""
        found = pc.min_max(times).as_py()
        if found["min"] is not None:
            self.first = found["min"] if self.first is None else min(self.first, found["min"])
            self.last = found["max"] if self.last is None else max(self.last, found["max"])


def write_lists(parts: Parts, tables: Iterable[pa.Table], counts: Counter[str]) -> Span:
    """Writes the lists of somebody; returns of which times they are."""
    span = Span()

    def known() -> Iterator[pa.Table]:
        for table in tables:
            found = table.filter(pc.is_valid(table["user"]))
            counts[NOBODY] += len(table) - len(found)
            span.add(found["time"])
            yield found

    parts.write("lists", answers.SCHEMA, known())
    return span


def write_events(parts: Parts, log: Log, settings: FeedbackSettings, since: int, pseudonym: Pseudonym | None) -> Span:
    """Writes clicks and conversions, and what the users are called; returns of which times all events are that are not
    yet to come.

    Args:
        parts: Where to.
        log: The interactions.
        settings: Which of them count.
        since: Earlier ones are left out.
        pseudonym: What the log of answers calls a user; None for by their ids.

    Raises:
        InputError: The log can't be read, or has no times.
    """
    if log.settings.columns.timestamp is None:
        raise InputError("recommender feedback needs data.interactions.columns.timestamp, by which answers are joined")
    span = Span()
    latest = round((time.time() + _CLOCK_S) * 1e6)

    def read() -> Iterator[pa.Table]:
        for table in _read(log):
            # One time in 2099 would have all windows be over.
            span.add(table["timestamp"].filter(pc.less_equal(table["timestamp"], latest)))
            yield table

    def events() -> Iterator[pa.Table]:
        for table in read():
            kinds = _kinds(table, settings)
            wanted = (kinds >= 0) & (table["timestamp"].to_numpy() >= since)
            chosen = table.append_column("kind", pa.array(kinds)).filter(pa.array(wanted))
            types = chosen["event"] if "event" in chosen.column_names else pa.nulls(len(chosen), pa.string())
            users = chosen["user_id"].combine_chunks()
            columns = [_called(users, pseudonym), chosen["item_id"], chosen["timestamp"], types, chosen["kind"]]
            yield pa.table([*columns, _own_weights(chosen, log)], schema=EVENTS)

    def users() -> Iterator[pa.Table]:
        for table in _read(log) if pseudonym is not None else ():
            ids = pc.unique(table["user_id"].combine_chunks())
            yield pa.table([_called(ids, pseudonym), ids], schema=USERS)

    parts.write("events", EVENTS, events())
    parts.write("users", USERS, users())
    return span


def _read(log: Log) -> Iterator[pa.Table]:
    columns = list(dict.fromkeys(log.settings.log_columns().values()))
    for file in log.files:
        for number, block in enumerate(reading.read_blocks(file, columns, log.settings)):
            if not number:
                check_unit(block, file, log)
            yield clean(block, file, log.settings, log.unit, False)[0]


def _kinds(table: pa.Table, settings: FeedbackSettings) -> np.ndarray:
    """Returns CLICK, CONVERSION, or -1 for neither, int8 [n]."""
    negative = table[NEGATIVE].to_numpy() if NEGATIVE in table.column_names else np.zeros(len(table), bool)
    kinds = np.where(negative, -1, CLICK).astype(np.int8)
    if "event" not in table.column_names:
        return kinds
    if settings.clicks:
        kinds[~_is_in(table["event"], settings.clicks)] = -1
    kinds[table["event"].to_numpy() == settings.impression_event] = -1
    kinds[_is_in(table["event"], settings.conversions)] = CONVERSION
    return kinds


def _own_weights(events: pa.Table, log: Log) -> pa.Array:
    weights = events["weight"].to_numpy().astype(float)
    by_type = log.settings.weight_of_type
    if by_type:
        # A type of weight 0 hides what the events' own are, which then count for nothing.
        of_type = np.array([abs(by_type[name]) or 1.0 for name in events["event"].to_pylist()])
        weights = weights / of_type
    return pa.array(weights)


def _is_in(values: pa.ChunkedArray, names: tuple[str, ...]) -> np.ndarray:
    found: np.ndarray = pc.is_in(values, value_set=pa.array(names, pa.string())).to_numpy()
    return found


def _called(users: pa.Array, pseudonym: Pseudonym | None) -> pa.Array:
    if pseudonym is None:
        return users
    encoded = users.dictionary_encode()
    names = pa.array([pseudonym(user) for user in encoded.dictionary.to_pylist()], pa.string())
    return names.take(encoded.indices)


def size_of(paths: Iterable[Path]) -> int:
    """Returns the bytes of files; of one that is gone none."""
    size = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            size += os.path.getsize(path)
    return size
