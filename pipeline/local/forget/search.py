"""Looks for users' ids in files of all kinds that this project writes, whatever they are packed in.

An id that could be nothing else, of six characters or more and not a number, is looked for everywhere. Any other, such
as 42, may be an item's as well, or a number: it counts where a file tells that it is a user's, by the name of a
feature, a column, a key or the file itself, or where text has it in quotes or after the word "user".

A longer id is another user's: values are compared as a whole where their name says that they are ids of users, and
among other words of a value an id does not go on as mail addresses, or names with dots and hyphens, do.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import csv
import gzip
import html
import io
import json
import logging
import lzma
import os
import re
import secrets
import sqlite3
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from serving import contract

_DISTINCT_LENGTH = 6
_NUMBER = re.compile(r"[\d.,+-]+")
_USER = re.compile("user", re.IGNORECASE)
_USER_ID = re.compile("user[_ ]?(id)?", re.IGNORECASE)
_USER_IDS = re.compile("users?[_ ]?(ids?)?", re.IGNORECASE)
"""Names of what has ids and no other words."""
_LARGEST_RECORD = 1 << 31
_CHUNK = 1 << 24
_TAR_AT = 257
_BEFORE, _AFTER = r"(?<!\w)", r"(?!\w)"
"""An id among words, which may stand in the name of a file."""
_BEGINS, _ENDS = r"(?<!\w)(?<!\w[.@+-])", r"(?!\w)(?![.@+-]\w)"
"""An id in a value: `bob@x.com` is none in `bob@x.com.au`."""
_PACKED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
    b"\x28\xb5\x2f\xfd": lambda file: pa.CompressedInputStream(pa.BufferReader(file.read()), "zstd"),
    b"\x04\x22\x4d\x18": lambda file: pa.CompressedInputStream(pa.BufferReader(file.read()), "lz4"),
}
"""What unpacks a file, by how it begins."""
_GRAPHS = (contract.SAVED_MODEL, "fingerprint.pb")
"""Protocol buffers without data of users: ids are in assets."""


class Ids:
    """Ids of users that are looked for.

    Args:
        ids: At least one.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self.all = frozenset(ids)
        anywhere = {one for one in self.all if len(one) >= _DISTINCT_LENGTH and not _NUMBER.fullmatch(one)}
        self._anywhere = _any_of(anywhere, _BEFORE + "(?:{})" + _AFTER)
        self._in_value = _any_of(anywhere, _BEGINS + "(?:{})" + _ENDS)
        self._told = _any_of(
            self.all - anywhere,
            r"(?<=['\"`>])(?:{0})(?=['\"`<])|(?<![a-z])(?i:users?)(?:[ _]?id)?[\s'\"`:=]{{1,4}}(?:{0})(?!\w)",
        )
        self._bytes = re.compile(
            b"|".join(re.escape(form.encode()) for one in sorted(self.all) for form in _forms(one))
        )
        self._anywhere_bytes, self._in_value_bytes = (
            _any_of_bytes(
                {form for one in anywhere for form in _forms(one)},
                lambda one, begin=begin, end=end: begin.encode() + re.escape(one) + end.encode(),
            )
            for begin, end in ((_BEFORE, _AFTER), (_BEGINS, _ENDS))
        )
        self._field, self._field_anywhere = (
            _any_of_bytes(some, lambda one: re.escape(_varint(len(one)) + one)) for some in (self.all, anywhere)
        )

    def may_be_in(self, content: bytes | memoryview) -> bool:
        """Whether the bytes of an id are there, alone or as a part of something."""
        return bool(self._bytes.search(content))

    def is_one(self, value: str | bytes, of_user: bool) -> bool:
        """Whether a value is an id; of one that could be something else only where it is told to be `of_user`."""
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return text in self.all and (of_user or bool(self._anywhere and self._anywhere.fullmatch(text)))

    def in_text(self, text: str) -> bool:
        """Whether words that are written for people name one."""
        return any(pattern is not None and pattern.search(text) for pattern in (self._anywhere, self._told))

    def in_value(self, value: str, name: str = "") -> bool:
        """Whether a value of what has a name is one, or has words that name one."""
        if self.is_one(value, tells_of_users(name)):
            return True
        patterns = () if _USER_IDS.fullmatch(name) else (self._in_value, self._told)
        return any(pattern is not None and pattern.search(value) for pattern in patterns)

    def without(self, text: str) -> str:
        """The words of a value, naming nobody."""
        for pattern in (self._in_value, self._told):
            if pattern is not None:
                text = pattern.sub("[forgotten]", text)
        return text

    def in_bytes(self, content: bytes, fields: bool = False, values: bool = False) -> bool:
        """Whether bytes hold one: as a word, or after its length, as protocol buffers have it.

        Args:
            content: The bytes.
            fields: Whether they are a protocol buffer, in which ids that could be something else are told by their
                length, too.
            values: Whether words are those of values, see `in_value`.
        """
        words = self._in_value_bytes if values else self._anywhere_bytes
        patterns = (self._field,) if fields else (words, self._field_anywhere)
        return any(pattern is not None and pattern.search(content) for pattern in patterns)


def tells_of_users(name: str) -> bool:
    """Whether what has this name holds users."""
    return bool(_USER.search(name))


def search(ids: Ids, places: Iterable[Path]) -> list[Path]:
    """Returns the files that hold an id, or have one in their name, sorted.

    Args:
        ids: What is looked for.
        places: Files and folders; those that are not there hold nothing.
    """
    return sorted({path for path in _files(places) if ids.in_text(path.name) or holds(ids, path)})


def holds(ids: Ids, path: Path) -> bool:
    """Whether a file holds an id, or is damaged, so that nobody can tell. One that vanishes meanwhile holds nothing."""
    return _looked_into(ids, path) is not False


def is_damaged(path: Path) -> bool:
    """Whether a file can't be looked into: half-written, of another kind than it says, or refused to whoever asks."""
    return _looked_into(Ids([secrets.token_hex(16)]), path) is None


def _looked_into(ids: Ids, path: Path) -> bool | None:
    """Whether a file holds an id; None where that can't be told."""
    try:
        with open(path, "rb") as file:
            return _holds(ids, file, path.name, path)
    except FileNotFoundError:
        return False
    except Exception as error:  # half a dozen libraries' own, and what those don't catch of a damaged file
        logging.getLogger(__name__).warning("%s can't be searched: %s", path, error)
        return None


def is_text(head: bytes) -> bool:
    """Whether bytes from the beginning of a file are text: the last letter may be cut."""
    if b"\0" in head:
        return False
    with contextlib.suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(head)
        return True
    return False


def records(file: IO[bytes]) -> Iterator[bytes]:
    """Yields the records of a file of TFRecords."""
    while len(head := file.read(12)) == 12:
        yield file.read(struct.unpack("<Q", head[:8])[0])
        file.read(4)


def are_records(file: IO[bytes]) -> bool:
    """Whether a file is one of TFRecords; it is read from its beginning again."""
    head = file.read(12)
    size = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else _LARGEST_RECORD
    known = 0 < size < _LARGEST_RECORD and len(file.read(size + 4)) == size + 4
    following = file.read(12) if known else b""
    file.seek(0)
    return known and (not following or struct.unpack("<Q", following[:8].ljust(8, b"\xff"))[0] < _LARGEST_RECORD)


def record_holds(ids: Ids, record: bytes) -> bool:
    """Whether a serialized tf.Example, or a request to a model server, holds an id."""
    if not ids.may_be_in(record):
        return False
    from tensorflow.core.example import example_pb2  # TensorFlow: seconds

    with contextlib.suppress(Exception):  # whatever protobuf says of other messages
        features = example_pb2.Example.FromString(record).features.feature
        if features:
            return any(
                ids.is_one(value, tells_of_users(name))
                for name, feature in features.items()
                for value in feature.bytes_list.value
            )
    with contextlib.suppress(Exception):
        from tensorflow_serving.apis import prediction_log_pb2

        inputs = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request.inputs
        if inputs:
            return any(
                ids.is_one(value, tells_of_users(name))
                for name, tensor in inputs.items()
                for value in tensor.string_val
            ) or ids.in_bytes(record, values=True)
    return ids.in_bytes(record, fields=True)


def json_holds(ids: Ids, value: Any, name: str = "") -> bool:
    """Whether a document holds an id: as a value or a key, or in words.

    Args:
        ids: What is looked for.
        value: The document.
        name: The key that it stands at, or the one above that tells of users.
    """
    if isinstance(value, dict):
        return any(
            ids.is_one(key, tells_of_users(name))
            or number_is_one(ids, key, each)
            or json_holds(ids, each, telling(name, key))
            for key, each in value.items()
        )
    if isinstance(value, list):
        return any(json_holds(ids, each, name) for each in value)
    return isinstance(value, str) and ids.in_value(value, name)


def telling(name: str, key: str) -> str:
    """Which of a key and the one above it tells what a value is."""
    return key if tells_of_users(key) or not tells_of_users(name) else f"{name}.{key}"


def number_is_one(ids: Ids, name: str, value: Any) -> bool:
    """Whether what has a name is a user's number, and not how many users there are."""
    return isinstance(value, int) and bool(_USER_ID.fullmatch(name)) and str(value) in ids.all


def table_holds(ids: Ids, table: pa.Table) -> np.ndarray:
    """Returns which rows of a table hold an id, bool [n]: in a column, or in what is nested in one; where an id could
    be something else, in one whose name tells of users."""
    found = np.zeros(len(table), bool)
    for name, column in zip(table.column_names, table.columns):
        found |= _array_holds(ids, name, column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    return found


def _array_holds(ids: Ids, name: str, values: pa.Array) -> np.ndarray:
    """The same of one column [n]; null is nobody."""
    kind = values.type
    found = np.zeros(len(values), bool)
    if isinstance(values, pa.ChunkedArray):  # of no rows, or of more text than one array takes
        return np.concatenate([found[:0], *(_array_holds(ids, name, chunk) for chunk in values.chunks)])
    if pa.types.is_dictionary(kind):
        known = np.append(_array_holds(ids, name, values.dictionary), False)
        return known[values.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False)]
    if pa.types.is_struct(kind):
        for field, part in zip(kind, values.flatten()):
            found |= _array_holds(ids, telling(name, field.name), part)
    elif pa.types.is_map(kind):
        rows = np.repeat(np.arange(len(values)), np.diff(values.offsets.to_numpy()))
        inner = slice(values.offsets[0].as_py(), values.offsets[-1].as_py())
        for part in (values.keys[inner], values.items[inner]):
            found[rows[_array_holds(ids, name, part)]] = True
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        rows = pc.list_parent_indices(values).to_numpy()
        found[rows[_array_holds(ids, name, pc.list_flatten(values))]] = True
    elif pa.types.is_integer(kind) and _USER_ID.fullmatch(name):
        return _array_holds(ids, name, values.cast(pa.string()))
    elif pa.types.is_floating(kind) and _USER_ID.fullmatch(name):  # as Pandas has numbers of which some are missing
        numbers = [int(one) for one in ids.all if one.isdecimal() and int(one) < 2**53]
        found = np.isin(values.to_numpy(zero_copy_only=False), numbers)
    elif _is_text(kind) and any(buffer is not None and ids.may_be_in(buffer) for buffer in values.buffers()[1:]):
        encoded = values.dictionary_encode()
        texts = ("" if text is None else _as_text(text) for text in encoded.dictionary.to_pylist())
        known = np.array([*(ids.may_be_in(text.encode()) and ids.in_value(text, name) for text in texts), False])
        found = known[encoded.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False)]
    return found


def _is_text(kind: pa.DataType) -> bool:
    return any(
        is_one(kind)
        for is_one in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    )


def _as_text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def row_holds(ids: Ids, names: list[str], row: list[str]) -> bool:
    """Whether a row of a CSV file holds an id. A value may be a whole line of another file."""
    return any(
        ids.in_value(value, names[place] if place < len(names) else "" if names else "user")
        or any(ids.is_one(part.strip("\"' "), of_user=True) for part in re.split(r"[,;|\t]", value)[1:])
        or (len(parts := re.split(r"[,;|\t]", value)) > 1 and ids.is_one(parts[0].strip("\"' "), of_user=True))
        for place, value in enumerate(row)
    )


def _holds(ids: Ids, file: IO[bytes], name: str, path: Path | None = None) -> bool:
    head = file.read(512)
    file.seek(0)
    for begins, opened in _PACKED.items():
        if head.startswith(begins):
            inner_name = re.sub(r"\.(gz|bz2|xz|zst|lz4)$", "", name)
            try:
                with opened(file) as inner:
                    return _holds(ids, io.BufferedReader(inner), inner_name)
            except (EOFError, io.UnsupportedOperation):  # it is cut, or can't be read from its beginning again
                file.seek(0)
                with opened(file) as inner, tempfile.TemporaryFile() as unpacked:
                    with contextlib.suppress(EOFError):
                        while chunk := inner.read1(_CHUNK):
                            unpacked.write(chunk)
                    unpacked.seek(0)
                    return _holds(ids, unpacked, inner_name)
    if head.startswith(b"PAR1"):
        parquet = pq.ParquetFile(file if path is None else path)
        return any(bool(table_holds(ids, pa.Table.from_batches([batch])).any()) for batch in parquet.iter_batches())
    if head.startswith(b"SQLite format 3"):
        return path is not None and _in_database(ids, path)
    if head.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(file) as archive:
            return any(
                _holds(ids, io.BytesIO(archive.read(member)), f"{name}/{member}") for member in archive.namelist()
            )
    if head.startswith(b"\x93NUMPY"):
        array = np.load(file, allow_pickle=False)
        columns = {name: array} if array.dtype.names is None else {key: array[key] for key in array.dtype.names}
        return any(
            ids.in_value(_as_text(value), telling(name, key))
            for key, column in columns.items()
            if column.dtype.kind in "SU"
            for value in np.unique(column).tolist()
        )
    if head[_TAR_AT:].startswith(b"ustar"):
        with tarfile.open(fileobj=file) as archive:
            return any(
                _holds(ids, io.BytesIO(content.read()), member.name)
                for member in archive
                if (content := archive.extractfile(member)) is not None
            )
    if is_text(head):
        return _in_text_file(ids, file, name)
    if are_records(file):
        return any(record_holds(ids, record) for record in records(file))
    fields = name.endswith(".pb") and not name.endswith(_GRAPHS)
    rest = b""
    while chunk := file.read(_CHUNK):
        if ids.in_bytes(rest + chunk, fields):
            return True
        rest = chunk[-1024:]  # an id may be cut in two
    return False


def _in_text_file(ids: Ids, file: IO[bytes], name: str) -> bool:
    of_user = tells_of_users(os.path.basename(name))
    is_vocabulary = bool(_USER_IDS.fullmatch(Path(name).stem))
    suffix = Path(name.removesuffix(".part")).suffix
    if suffix == ".json":
        content = file.read()
        with contextlib.suppress(ValueError):
            return ids.may_be_in(content) and json_holds(ids, json.loads(content))
        return ids.in_text(content.decode("utf-8", "replace"))
    if suffix == ".jsonl":
        return any(line_holds(ids, line) for line in file)
    if suffix in (".csv", ".tsv"):
        text = io.TextIOWrapper(file, "utf-8", "replace", newline="")
        rows = csv.reader(text, delimiter="\t" if suffix == ".tsv" else ",")
        names = next(rows, [])
        found = any(row_holds(ids, names, row) for row in [names, *rows])
        text.detach()
        return found
    for line in file:
        if ids.may_be_in(line):
            text_of_line = line.decode("utf-8", "replace").rstrip("\n")
            if ids.is_one(text_of_line, of_user) or (not is_vocabulary and ids.in_text(text_of_line)):
                return True
    return False


def line_holds(ids: Ids, line: bytes) -> bool:
    """Whether a line of a JSON lines file holds an id."""
    if not ids.may_be_in(line):
        return False
    try:
        return json_holds(ids, json.loads(line))
    except ValueError:
        return ids.in_text(line.decode("utf-8", "replace"))


def value_holds(ids: Ids, value: str) -> bool:
    """Whether a text of a database holds an id: JSON as a document, all else as words."""
    with contextlib.suppress(ValueError):
        found = json.loads(value)
        if isinstance(found, (dict, list)):
            return json_holds(ids, found)
    return ids.in_value(value)


def _in_database(ids: Ids, path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return any(
            isinstance(value, (str, bytes))
            and ids.may_be_in((text := _as_text(value)).encode())
            and (ids.is_one(text, tells_of_users(column[0])) or value_holds(ids, text))
            for table in tables
            for rows in [database.execute(f'SELECT * FROM "{table}"')]
            for row in rows
            for column, value in zip(rows.description, row)
        )


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        if place.is_dir():
            for folder, _, names in os.walk(place):
                yield from (path for name in names if (path := Path(folder, name)).is_file())  # and no socket
        elif place.is_file():
            yield place


def _forms(one: str) -> set[str]:
    """An id as it stands in text, JSON, HTML, CSV and messages."""
    escaped = html.escape(one, quote=False)
    return {
        one,
        *(json.dumps(one, ensure_ascii=ascii)[1:-1] for ascii in (True, False)),
        escaped,
        escaped.replace('"', "&#34;").replace("'", "&#39;"),
        html.escape(one),
        one.replace('"', '""'),
        repr(one)[1:-1],
    }


def _any_of(ids: Iterable[str], pattern: str) -> re.Pattern[str] | None:
    forms = {form for one in ids for form in _forms(one)}
    alternatives = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.compile(pattern.format(alternatives)) if alternatives else None


def _any_of_bytes(ids: Iterable[str], made: Any) -> re.Pattern[bytes] | None:
    alternatives = b"|".join(made(one.encode()) for one in sorted(ids, key=len, reverse=True))
    return re.compile(alternatives) if alternatives else None


def _varint(value: int) -> bytes:
    """A length as protocol buffers write it."""
    written = b""
    while value >= 0x80:
        written += bytes([value & 0x7F | 0x80])
        value >>= 7
    return written + bytes([value])
