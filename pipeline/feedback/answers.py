"""Reads logs of answers, `serving.client.answer_log`'s, in bounded memory; lines that can't be read are counted."""

from __future__ import annotations

import contextlib
import glob
import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from components.errors import InputError
from serving.client.answer_log import FORMAT, PART

SCHEMA = pa.schema(
    [
        ("by", pa.string()),
        ("request", pa.string()),
        ("row", pa.int64()),
        ("time", pa.int64()),
        ("version", pa.int64()),
        ("label", pa.string()),
        ("source", pa.string()),
        ("user", pa.string()),
        ("history_length", pa.int64()),
        ("history", pa.list_(pa.string())),
        ("context", pa.string()),
        ("ruled", pa.bool_()),
        ("items", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float64())),
        ("explored", pa.float64()),
        ("first", pa.int64()),
        ("order", pa.list_(pa.int64())),
        ("id", pa.string()),
    ]
)
"""Of the lists: `id` is the line's own, null where it has none; `context` is JSON; `explored` and `first` say how many
lists are shuffled and how much of them, and are null where none is; `order` has a place for each item, null where the
list wasn't shuffled."""

DAMAGED = "damaged lines"
"""Such as the last one of a process that was killed."""
OTHERS = "lists of other models"
GONE = "files that were deleted meanwhile"

ZIPPED = ".gz"
"""What the name of a log ends in that somebody has packed to save room."""

_LINES = 10_000
_LATEST = 253_402_300_800_000_000
"""Microseconds until the year 10000, which nobody can write down."""
_COPIED = (
    "by",
    "request",
    "row",
    "time",
    "version",
    "label",
    "source",
    "user",
    "history_length",
    "history",
    "ruled",
    "items",
    "scores",
)


class NothingToJoin(InputError):
    """There are answers and events, but none of those to these: perhaps not yet."""


def find_logs(patterns: Sequence[str]) -> list[Path]:
    """Returns the files that paths, globs and folders name, each once; of a folder those that are being written too.

    Raises:
        InputError: One names no file.
    """
    found: dict[str, Path] = {}
    for pattern in patterns:
        pattern = os.path.expanduser(pattern)
        if os.path.isdir(pattern):
            paths = [path for end in ("", PART, ZIPPED) for path in glob.glob(f"{glob.escape(pattern)}/*.jsonl{end}")]
        else:
            paths = [pattern] if os.path.isfile(pattern) else glob.glob(pattern)
        if not paths:
            raise InputError(f"--log {pattern}: there is no such log of answers")
        for path in sorted(paths):
            found.setdefault(os.path.realpath(path), Path(path))
    return list(found.values())


def read_logs(paths: Sequence[Path], model: str, counts: Counter[str]) -> Iterator[pa.Table]:
    """Yields the lists of logs as tables of `SCHEMA`, some thousand at a time.

    Args:
        paths: The files.
        model: Whose lists are wanted.
        counts: Where it is counted what was left out, by reason.

    Raises:
        InputError: A file can't be read, or a newer version of this project wrote it.
    """
    seen = set()
    for path in paths:
        name = path.name.removesuffix(PART)
        if (path.parent, name) in seen:  # finished since the folder was looked at
            continue
        seen.add((path.parent, name))
        file = _opened(path)
        if file is None:
            counts[GONE] += 1
            continue
        with file:
            lines_of_file = _lines(file, counts)
            while lines := list(islice(lines_of_file, _LINES)):
                rows = [row for line in lines if (row := _row(line, path, model, counts)) is not None]
                yield _table(rows, counts)


def _table(rows: list[dict[str, Any]], counts: Counter[str]) -> pa.Table:
    """Makes a table of rows but for those with a number that is too great, or text that is no Unicode."""
    try:
        return pa.Table.from_pylist(rows, SCHEMA)
    except (pa.ArrowException, OverflowError, UnicodeError):
        if len(rows) == 1:
            counts[DAMAGED] += 1
            return SCHEMA.empty_table()
        half = len(rows) // 2
        return pa.concat_tables([_table(rows[:half], counts), _table(rows[half:], counts)])


def _lines(file: Iterable[bytes], counts: Counter[str]) -> Iterator[bytes]:
    """Yields the lines of a file; of one that is zipped, and cut or damaged, as far as they can be unpacked."""
    try:
        yield from file
    except (EOFError, gzip.BadGzipFile, zlib.error):
        counts[DAMAGED] += 1


def _opened(path: Path) -> BinaryIO | gzip.GzipFile | None:
    """Opens a file that may have been finished, or deleted to make room, since the folder was looked at."""
    try:
        for name in (path, path.with_name(path.name.removesuffix(PART))):
            with contextlib.suppress(FileNotFoundError):
                return gzip.open(name) if name.name.endswith(ZIPPED) else open(name, "rb")
        return None
    except OSError as error:
        raise InputError(f"--log {path}: can't be read: {error.strerror}") from None


def _row(line: bytes, path: Path, model: str, counts: Counter[str]) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
        newer = found["format"] > FORMAT
    except (ValueError, KeyError, TypeError, RecursionError):
        counts[DAMAGED] += 1
        return None
    if newer:
        raise InputError(f"--log {path}: a newer version of this project wrote it; update this one")
    try:
        if found["model"] != model:
            counts[OTHERS] += 1
            return None
        exploration = found.get("exploration") or {}
        row = {name: found[name] for name in _COPIED}
        row |= {
            "context": json.dumps(found["context"], sort_keys=True),
            "id": found.get("id"),
            "explored": exploration.get("share"),
            "first": exploration.get("first"),
            "order": found.get("order"),
        }
        if not _fits(row):
            raise TypeError("a value of another type")
        return row
    except (ValueError, KeyError, TypeError, AttributeError):
        counts[DAMAGED] += 1
        return None


def _fits(row: dict[str, Any]) -> bool:
    """Whether a row is one of `SCHEMA`, in which none but lists without a user, version and so on lack anything."""
    return (
        all(isinstance(row[name], int) for name in ("time", "row", "history_length"))
        and 0 <= row["time"] < _LATEST
        and all(isinstance(row[name], str) for name in ("by", "request"))
        and all(isinstance(row[name], (str, type(None))) for name in ("id", "user", "label", "source"))
        and isinstance(row["version"], (int, type(None)))
        and isinstance(row["ruled"], bool)
        and all(isinstance(row[name], list) for name in ("items", "history", "scores"))
        and all(isinstance(item, str) for item in (*row["items"], *row["history"]))
        and all(isinstance(score, (int, float)) for score in row["scores"])
        and (row["order"] is None or sorted(row["order"]) == list(range(len(row["items"]))))
        and (row["explored"] is None or 0 <= row["explored"] <= 1)
        and (row["first"] is None or (isinstance(row["first"], int) and row["first"] >= 0))
    )
