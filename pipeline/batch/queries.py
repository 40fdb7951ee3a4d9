"""Who is asked for: everybody whom the model knows, the ids of a file, or rows with a history of their own; or, for
audiences, all of the items or those of a file.

Whatever they come from, they are brought into one Arrow file, of which every worker maps the slice that it answers.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.errors import InputError
from components.examples import context as request_context
from components.examples.reading import Features
from serving import contract
from serving.files import replacing

ALL = "all"
"""As the users: everybody whom the model knows."""
TIMESTAMP = "timestamp"
"""The context's own time of the request."""
SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("history", pa.list_(pa.string())),
        ("exclude", pa.list_(pa.string())),
        ("context", pa.binary()),
    ]
)
"""Of the queries: the context is a serialized tf.Example, empty for none."""
ITEM_SCHEMA = pa.schema([("item_id", pa.string())])
"""Of queries for audiences."""
_ROWS = 65_536
"""Rows that are in memory at a time."""
_JSON_LINES = (".jsonl", ".ndjson", ".json")
_BETWEEN = re.compile(r"[,;|\t]")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_FLOAT32_MAX = (2 - 2**-23) * 2.0**127


class Row(BaseModel):
    """A line of a JSON file of users."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    user_id: str = Field(min_length=1)
    """What the answer is called by; the model need not know it."""
    history: list[str] = []
    """Ids of items, newest first; replaces the history that the model has stored."""
    exclude: list[str] = []
    """Ids of items that must not be answered."""
    context: dict[str, Any] = {}
    """Features of the request by name."""


def users_file(users: str, model: Path) -> Path:
    """Returns the file that names the users: the model's own list for `all`."""
    return model / contract.USERS if users == ALL else Path(users)


def items_file(items: str, model: Path) -> Path:
    """Returns the file that names the items: the model's own list for `all`."""
    return model / contract.ITEMS if items == ALL else Path(items)


def write_items(items: str, model: Path, path: Path) -> int:
    """Writes the queries for audiences, in the order of the items, as `write_queries` does those for users.

    Args:
        items: `all`, or a text file with an id a line.
        model: The SavedModel.
        path: The file.

    Returns:
        How many there are.

    Raises:
        InputError: The items' file is wrong.
    """
    lines = _lines(items_file(items, model), "--items", "or a file with an id a line")
    ids = _ids(lines) if items == ALL else _ids_by_hand(lines, f"--items {items}", "item_id")
    count = _write(path, ITEM_SCHEMA, ((item,) for item in ids))
    if not count:
        raise InputError(f"--items {items}: there are no items in it")
    return count


def write_queries(users: str, model: Path, features: Features, context: Mapping[str, Any], path: Path) -> int:
    """Writes the queries, in the order of the users, as an Arrow file that appears whole or not at all.

    Args:
        users: `all`, a text file with an id a line, or a file of JSON lines (`.jsonl`), see `Row`.
        model: The SavedModel.
        features: The features of a context that the model takes, and their types.
        context: Features of all requests by name; those of a row count more.
        path: The file.

    Returns:
        How many there are.

    Raises:
        InputError: The users' file or the context is wrong.
    """
    file = users_file(users, model)
    common = serialized_context(context, features, "--context")
    if users != ALL and file.suffix.lower() in _JSON_LINES:
        queries = _rows(file, features, common)
    else:
        ids = _ids(_lines(file)) if users == ALL else _ids_by_hand(_lines(file), f"--users {users}", "user_id")
        queries = ((user, [], [], common) for user in ids)
    count = _write(path, SCHEMA, queries)
    if not count:
        if users == ALL:
            raise InputError(f"--users {ALL}: the model knows no users; name some by --users FILE")
        raise InputError(f"--users {users}: there are no users in it")
    return count


def read_queries(path: Path) -> pa.Table:
    """Maps the file that `write_queries` wrote; of the memory that it names only what is looked at is read."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def serialized_context(context: Mapping[str, Any], features: Features, where: str) -> bytes:
    """Returns the features of a request as a serialized tf.Example, empty for none.

    Args:
        context: Texts, numbers or lists of them by name; `timestamp` is a time as a datetime or in ISO 8601 (UTC unless
            it has an offset), or whole microseconds since the epoch. None stands for a missing value.
        features: The features that the model takes, and their types.
        where: Where it comes from, for messages.

    Raises:
        InputError: The model takes no such feature, or none of this type.
    """
    values: dict[str, list[Any]] = {}
    for name, value in context.items():
        if name not in features:
            raise InputError(
                f"{where}: the model takes no feature {name!r} (it takes: {', '.join(sorted(features)) or 'none'})"
            )
        listed = list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
        try:
            values[name] = [_value(name, each, features[name]) for each in listed]
        except ValueError as error:
            raise InputError(f"{where}: {name}={value!r}: {error}") from None
    values = {name: listed for name, listed in values.items() if listed}
    return request_context.serialize(values, features) if values else b""


def _value(name: str, value: Any, kind: type) -> Any:
    """A feature's value as a tf.Example holds it."""
    if name == TIMESTAMP:
        return _microseconds(value)
    if kind is bytes:
        if not isinstance(value, str):
            raise ValueError(f"it is a text, so write {str(value)!r}")
        return value.encode()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("it is a number")
    if not math.isfinite(value) or abs(value) > _FLOAT32_MAX:
        raise ValueError("it is no number that a model can read; leave a missing one out")
    return float(value)


def _microseconds(value: Any) -> int:
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            raise ValueError("it is no time, such as 2026-01-31T20:15:00") from None
    if isinstance(value, datetime.datetime):
        zoned = value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)
        return (zoned - _EPOCH) // datetime.timedelta(microseconds=1)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
        return value
    raise ValueError("it is one time, such as 2026-01-31T20:15:00, or whole microseconds since the epoch")


_Query = tuple[str, list[str], list[str], bytes]


def _ids(lines: Iterable[str]) -> Iterator[str]:
    """The ids of a text file, one a line; empty lines are left out."""
    return filter(None, (line.rstrip("\r\n") for line in lines))


def _ids_by_hand(lines: Iterable[str], where: str, name: str) -> Iterator[str]:
    """The ids of a text file that the model did not write.

    Args:
        lines: The file's lines.
        where: Which file that is, for messages.
        name: What a header calls ids.

    Raises:
        InputError: The file holds something else.
    """
    for number, line in enumerate(_ids(lines)):
        if "\r" in line:
            raise InputError(f"{where}: its lines end by carriage returns alone: end them by line feeds")
        if "\0" in line:
            raise InputError(f"{where} holds zero bytes: save it as UTF-8, with an id a line")
        if number == 0:
            _check_first_line(line.strip(), where, name)
        yield line


def _check_first_line(line: str, where: str, name: str) -> None:
    if name in (cell.strip(" \"'").lower() for cell in _BETWEEN.split(line)):
        raise InputError(f"{where}: its first line is a header, {line}, which a file of ids must not have")
    if line.startswith(("{", "[")):
        raise InputError(f"{where} holds JSON, {line[:40]!r}: a file of ids has an id a line")
    if line.lower().startswith(("<!doctype", "<html", "version https://git-lfs", "par1", "pk\x03")):
        raise InputError(f"{where} begins with {line[:40]!r}: a file of ids has an id a line")
    if len(line) > 1 and line[0] == line[-1] == '"':
        raise InputError(f"{where}: its ids stand in quotes, as {line[:40]}: take these off")


def _rows(file: Path, features: Features, common: bytes) -> Iterator[_Query]:
    """The rows of a file of JSON lines."""
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        where = f"--users {file}, line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:  # also of numbers too long to be read
            raise InputError(f"{where}: no JSON: {error}") from None
        try:
            row = Row.model_validate(value)
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(str(part) for part in problem["loc"])
            raise InputError(
                f"{where}: {key or 'the line'}: {problem['msg']} (got {problem['input']!r}); a line is such as "
                '{"user_id": "42", "history": ["50", "181"], "exclude": ["1"], "context": {"device": "ios"}}'
            ) from None
        if "\n" in row.user_id or "\r" in row.user_id:
            raise InputError(f"{where}: user_id has a line break")
        # Of a feature that two serialized Examples in a row have, the last counts.
        yield row.user_id, row.history, row.exclude, common + serialized_context(row.context, features, where)


def _lines(
    file: Path, option: str = "--users", or_what: str = "a file with an id a line, or JSON lines (.jsonl)"
) -> Iterator[str]:
    try:
        with open(file, encoding="utf-8-sig", newline="\n") as lines:
            yield from lines
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{option} {file}: can't be read: {error}; it is {ALL}, {or_what}") from None


def _write(path: Path, schema: pa.Schema, queries: Iterable[tuple[Any, ...]]) -> int:
    """Writes rows as an Arrow file, unless there are none; returns how many there are."""
    remaining, count = iter(queries), 0
    with replacing(path, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        while some := list(islice(remaining, _ROWS)):
            columns = [pa.array(column, field.type) for column, field in zip(zip(*some), schema)]
            writer.write_batch(pa.record_batch(columns, schema))
            count += len(some)
    if not count:
        path.unlink()
    return count
