"""The training events as the Trainer reads them: columns in memory, a part of the log at a time if it is long."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import IO, Any

import numpy as np

from components.errors import InputError
from components.examples.interactions import NEGATIVE_SPLIT
from components.examples.reading import Columns, has_split, matrix, ragged, read_batches, scalars
from components.progress import progress
from pipeline.model.preprocessing import FIRST, PADDING, QUERY_PREFIX
from pipeline.model.towers import TASK, SideFeature

_EVENT = "event"
_BUCKETS = 64
"""Parts of users that a long log is first cut into, while its size isn't known yet."""
_COLUMNS = _USER, _ITEM, _WEIGHT, _TIME, _PLACE = "user_hash", "item", "weight", "timestamp", "place"

_Table = dict[str, np.ndarray]
"""Columns of the same rows: the five above, and the inputs of the query tower."""


@dataclass(frozen=True)
class Events:
    """N transformed events as columns, in the order of time."""

    row: np.ndarray
    """[N] int64, the event's place in the order of time, different for each."""
    user: np.ndarray
    """[N] int64, the same for the same user."""
    item: np.ndarray
    """[N] int32 item indices."""
    weight: np.ndarray
    """[N] float32, below 0 for negative events, whose items are in no history."""
    moment: np.ndarray
    """[N] int64, not descending: an event is before another one of its user if its moment is less."""
    inputs: Mapping[str, np.ndarray]
    """Inputs of the query tower, all with N rows: `history` [N, H] int32 item indices, newest first, padded with 0, and
    what else `QueryTower` takes; and `TASK` [N] int32, if there are tasks."""

    def __len__(self) -> int:
        return len(self.item)

    def take(self, rows: Any) -> Events:
        """The events of `rows`, an index array or a slice."""
        inputs = {name: column[rows] for name, column in self.inputs.items()}
        return Events(self.row[rows], self.user[rows], self.item[rows], self.weight[rows], self.moment[rows], inputs)

    def positives(self) -> Events:
        """Those that are not negative."""
        positive = self.weight >= 0
        return self if positive.all() else self.take(positive)

    def columns(self) -> dict[str, np.ndarray]:
        """What a training step takes: the inputs of the query tower, `item` and `weight`."""
        return {**self.inputs, "item": self.item, "weight": self.weight}


@dataclass(frozen=True)
class Log:
    """Events in parts, each with all events of some users; one part at a time is in memory."""

    parts: Sequence[Callable[[], Events]]
    """Give the parts, at each call anew unless there is but one."""
    size: int
    """How many events were read."""
    first: Events
    """One event."""
    negatives: int = 0
    """How many of the events are negative."""

    @staticmethod
    def of(events: Events) -> Log:
        """A log that is one part."""
        return Log([lambda: events], len(events), events.take(slice(1)), int((events.weight < 0).sum()))

    @functools.cached_property
    def _sizes(self) -> list[int]:
        return [len(part()) for part in self.parts]

    def steps(self, batch_size: int) -> int:
        """How many batches a pass has, of which none has events of two parts."""
        return sum(-(-size // batch_size) for size in self._sizes)

    def map(self, change: Callable[[Events], Events]) -> Log:
        """The log with each of its parts changed, as it is asked for."""
        if len(self.parts) == 1:
            return Log.of(change(self.parts[0]()))
        return dataclasses.replace(self, parts=[functools.partial(_changed, part, change) for part in self.parts])

    def sample(self, choose: Callable[[Events], Events], count: int) -> Events:
        """Chooses from each part, and of that as evenly as can be so many that they are about `count` in all.

        Returns:
            The events in the order of time; of several parts in about that order, for a part's place in its own is
            taken for that in the whole.
        """
        if len(self.parts) == 1:
            return choose(self.parts[0]())
        chosen, places = [], []
        for read in self.parts:
            part = read()
            some = choose(part)
            share = -(-count * len(part) // self.size)
            some = some.take(np.unique(np.linspace(0, len(some) - 1, min(share, len(some))).astype(int)))
            chosen.append(some)
            places.append(some.row / len(part))
        order = np.argsort(np.concatenate(places), kind="stable")

        def column(values: list[np.ndarray]) -> np.ndarray:
            return np.concatenate(values)[order]

        return Events(
            row=np.arange(len(order)),
            user=column([some.user for some in chosen]),
            item=column([some.item for some in chosen]),
            weight=column([some.weight for some in chosen]),
            moment=column([some.moment for some in chosen]),
            inputs={name: column([some.inputs[name] for some in chosen]) for name in chosen[0].inputs},
        )


def _changed(part: Callable[[], Events], change: Callable[[Events], Events]) -> Events:
    return change(part())


def read_log(
    examples: str,
    max_history: int,
    query_features: tuple[SideFeature, ...] = (),
    user_id: bool = False,
    in_memory: int = 1 << 62,
    tasks: Mapping[str, Sequence[str]] = MappingProxyType({}),
    whole: bool = True,
) -> Log:
    """Reads the transformed training events at a URI, sorted by time and, where that is the same, by their place among
    their user's events of the time and by content.

    Beam writes rows in another order each time; training must not depend on it. Weights are scaled to a mean of 1, so
    that what they are measured in doesn't change what other settings, such as l2, come to. Those of negative events, as
    far as there are any and their items are known, are below 0, and count for the mean without their sign.

    Args:
        examples: URI of the transformed events.
        max_history: Width of `history`.
        query_features: Further inputs of the query tower.
        user_id: Whether `user` is one of them.
        in_memory: A log of more events than this is kept in temporary files, in parts of at most as many (and of at
            least one user in 64).
        tasks: Types of events by the task that learns them; none for a model without tasks.
        whole: Whether the events are all of a log; else a task may have none among them.

    Raises:
        InputError: There are no events, or events without a task, or a task without events.
    """
    types: dict[str, type] = {_ITEM: int, "history": int, _WEIGHT: float, _TIME: int, _PLACE: int, _USER: int}
    types |= {QUERY_PREFIX + f.name: float if f.is_number else int for f in query_features}
    types |= {"user": int} if user_id else {}
    types |= {_EVENT: bytes} if tasks else {}
    found = _Tasks(tasks)
    held: list[_Table] = []
    spilled: _Spilled | None = None
    rows = size = 0
    for split, batch in _batches(examples, types):
        held.append(_table(batch, max_history, query_features, user_id))
        if tasks:
            held[-1][TASK] = found.numbers(scalars(batch, _EVENT), note=split == "train")
        if split == NEGATIVE_SPLIT:
            held[-1] = _as_negatives(held[-1])
        rows, size = rows + batch.num_rows, size + batch.num_rows
        if rows > in_memory:
            table = _joined(held)
            spilled = spilled or _Spilled(table)
            spilled.add(table)
            progress(f"{size:,} events read")
            held, rows = [], 0
    if not size:
        raise InputError(f"{examples}: there are no training events")
    found.check(whole)
    if spilled is None:
        events = _sorted(_joined(held))
        return Log.of(dataclasses.replace(events, weight=events.weight / float(np.abs(events.weight).mean())))
    if held:
        spilled.add(_joined(held))
    return spilled.log(in_memory)


def _batches(examples: str, types: Mapping[str, type]) -> Iterator[tuple[str, Columns]]:
    """Batches of the training events and of negative ones, each with its split's name."""
    for split in ("train", *([NEGATIVE_SPLIT] if has_split(examples, NEGATIVE_SPLIT) else [])):
        for batch in read_batches(examples, split, types):
            yield split, batch


def _as_negatives(table: _Table) -> _Table:
    """Events with weights below 0, without those of items that training doesn't know, or that no task learns."""
    known = (table[_ITEM] >= FIRST) & (table[_WEIGHT] > 0)
    if TASK in table:
        known &= table[TASK] >= 0
    return {name: (-column if name == _WEIGHT else column)[known] for name, column in table.items()}


class _Tasks:
    """Which task learns events of which type; notes the types that come."""

    def __init__(self, tasks: Mapping[str, Sequence[str]]) -> None:
        self._tasks = tasks
        self._number = {event.encode(): number for number, events in enumerate(tasks.values()) for event in events}
        self._types: set[bytes] = set()

    def numbers(self, types: np.ndarray, note: bool = True) -> np.ndarray:
        """Numbers [N] int32 of the tasks that learn events of types [N] bytes; -1 for a type that none does."""
        different, place = np.unique(types, return_inverse=True)
        self._types.update(different.tolist() if note else ())
        return np.array([self._number.get(kind, -1) for kind in different.tolist()], np.int32)[place]

    def check(self, whole: bool) -> None:
        """Raises InputError unless each type that came has a task, and of a whole log each task a type that came."""
        listed = ", ".join(repr(kind.decode()) for kind in sorted(self._types))
        none = ", ".join(repr(kind.decode()) for kind in sorted(self._types.difference(self._number)))
        if self._tasks and none:
            raise InputError(
                f"model.tasks: no task learns the events of type {none}: add them to one's events, or have them "
                "dropped by data.interactions.event_weights, which then lists all others"
            )
        for name, events in self._tasks.items() if whole else ():
            if self._types.isdisjoint(event.encode() for event in events):
                raise InputError(
                    f"model.tasks.{name}: no training event is of the types that it learns (there are: {listed}); "
                    "mend its events, or remove the task"
                )


class _Spilled:
    """Events on the disk by a hash of their users, in files without names, which nobody finds after a kill."""

    def __init__(self, like: _Table) -> None:
        self._names = list(like)
        self._buckets = [tempfile.TemporaryFile() for _ in range(_BUCKETS)]  # noqa: SIM115  open until it is a part
        self._sizes = np.zeros(_BUCKETS, np.int64)
        self._pieces = np.zeros(_BUCKETS, np.int64)
        self._widths: dict[str, int] = {}
        self._weight = 0.0
        self._negatives = 0
        self._parts: list[IO[bytes]] = []
        self._reading = threading.Lock()

    def add(self, table: _Table) -> None:
        """Writes events, each to the bucket of its user."""
        bucket = (table[_USER].astype(np.uint64) % np.uint64(_BUCKETS)).astype(np.int64)
        order = np.argsort(bucket, kind="stable")
        ends = np.cumsum(np.bincount(bucket, minlength=_BUCKETS))
        for number, rows in enumerate(np.split(order, ends[:-1])):
            if len(rows):
                for name in self._names:
                    np.save(self._buckets[number], table[name][rows])
                self._sizes[number] += len(rows)
                self._pieces[number] += 1
        for name, column in table.items():
            if column.ndim == 2:
                self._widths[name] = max(column.shape[1], self._widths.get(name, 0))

    def log(self, in_memory: int) -> Log:
        """Puts the buckets together to parts, sorted."""
        groups: list[list[int]] = [[]]
        for number in range(_BUCKETS):
            if groups[-1] and self._sizes[[*groups[-1], number]].sum() > in_memory:
                groups.append([])
            groups[-1].append(number)
        groups = [group for group in groups if self._sizes[group].sum()]
        for place, group in enumerate(groups):
            progress(f"sorting part {place + 1} of {len(groups)}")
            self._parts.append(self._part_of(group))
        first = self._read_part(0).take(slice(1))
        parts = [functools.partial(self._read_part, place) for place in range(len(groups))]
        return Log(parts, self.size, first, self._negatives)

    @property
    def size(self) -> int:
        """How many events there are."""
        return int(self._sizes.sum())

    def _part_of(self, group: list[int]) -> IO[bytes]:
        tables = []
        for number in group:
            with self._buckets[number] as file:
                file.seek(0)
                for _ in range(self._pieces[number]):
                    tables.append({name: np.load(file) for name in self._names})
        events = _sorted(_joined(tables, self._widths))
        self._weight += float(np.abs(events.weight).sum(dtype=np.float64))
        self._negatives += int((events.weight < 0).sum())
        part = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the log is
        for column in (events.row, events.user, events.item, events.weight, events.moment, *events.inputs.values()):
            np.save(part, column)
        return part

    def _read_part(self, place: int) -> Events:
        inputs = [name for name in self._names if name not in _COLUMNS]
        with self._reading:  # an earlier pass, which several workers leave at its end, may be about to read one too
            self._parts[place].seek(0)
            row, user, item, weight, moment, *values = (np.load(self._parts[place]) for _ in range(len(inputs) + 5))
        mean = float(np.float32(self._weight / self.size))
        return Events(row, user, item, weight / mean, moment, dict(zip(inputs, values)))


def _table(batch: Columns, max_history: int, query_features: tuple[SideFeature, ...], user_id: bool) -> _Table:
    table = {
        _USER: scalars(batch, _USER),
        _ITEM: scalars(batch, _ITEM).astype(np.int32),
        _WEIGHT: scalars(batch, _WEIGHT),
        _TIME: scalars(batch, _TIME),
        _PLACE: scalars(batch, _PLACE),
        "history": pad(*ragged(batch, "history"), max_history),
    }
    for feature in query_features:
        name = QUERY_PREFIX + feature.name
        table[name] = scalars(batch, name) if feature.is_number else pad(*ragged(batch, name))
    if user_id:
        table["user"] = scalars(batch, "user").astype(np.int32)
    return table


def _joined(tables: Sequence[_Table], widths: Mapping[str, int] | None = None) -> _Table:
    """The rows of all tables; narrower columns [N, W] are padded to the widest, or to `widths`."""
    joined = {}
    for name in tables[0]:
        columns = [table[name] for table in tables]
        if columns[0].ndim == 2:
            width = (widths or {}).get(name) or max(column.shape[1] for column in columns)
            columns = [np.pad(column, ((0, 0), (0, width - column.shape[1]))) for column in columns]
        joined[name] = np.concatenate(columns)
    return joined


def _sorted(table: _Table) -> Events:
    inputs = {name: column for name, column in table.items() if name not in _COLUMNS}
    row = np.arange(len(table[_ITEM]))
    events = Events(row, table[_USER], table[_ITEM], table[_WEIGHT], row, inputs)
    order = np.lexsort((content_hash(events), table[_PLACE], table[_TIME]))
    time, place = table[_TIME][order], table[_PLACE][order]
    later = np.append(False, (time[1:] != time[:-1]) | (place[1:] != place[:-1]))
    return dataclasses.replace(events.take(order), row=row, moment=np.cumsum(later))


def content_hash(events: Events) -> np.ndarray:
    """A number [N] uint64 for what each event holds, equal for equal events."""
    # FNV-1a, a column at a time; unsigned integers wrap around.
    result = np.full(len(events), 14695981039346656037, np.uint64)
    columns = [events.user, events.item, events.weight.view(np.int32)]
    for value in events.inputs.values():
        whole = value.view(np.int32) if value.dtype == np.float32 else value
        columns.extend(whole.reshape(len(events), -1).T)
    for column in columns:
        result = (result ^ column.astype(np.uint64)) * np.uint64(1099511628211)
    return result


def with_other_items(events: Events, known: Events) -> Events:
    """Gives each event a history of all `known` events of its user but itself, newest first, whatever their time.

    Args:
        events: [N], a selection of one log.
        known: [K], a selection of the same log, in its order; what is negative in it is no history.
    """
    known = known.positives()
    length = events.inputs["history"].shape[1]
    order = np.argsort(known.user, kind="stable")
    start = np.searchsorted(known.user, events.user, side="left", sorter=order)
    end = np.searchsorted(known.user, events.user, side="right", sorter=order)
    # Where each event itself is in that order, if it is.
    place_of = np.full(max(known.row.max(), events.row.max()) + 1, -1)
    place_of[known.row[order]] = np.arange(len(known))
    own = place_of[events.row]
    place = end[:, np.newaxis] - 1 - np.arange(length)
    place -= place <= own[:, np.newaxis]
    there = place >= start[:, np.newaxis]
    items = known.item[order]
    history = np.where(there, items[np.where(there, place, 0)], PADDING).astype(np.int32)
    return dataclasses.replace(events, inputs={**events.inputs, "history": history})


def pad(values: np.ndarray, offsets: np.ndarray, width: int | None = None) -> np.ndarray:
    """Ragged int rows to [N, width] int32, padded with 0; by default as wide as the longest row, at least 1."""
    return matrix(values, offsets, width or max(1, int(np.diff(offsets).max(initial=0))), np.int32(PADDING))
