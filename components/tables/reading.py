"""Reading tables (CSV, JSON lines, Parquet, TFRecords of tf.Example) as Arrow blocks with row numbers, on disk and
in object stores.

Rows are numbered as a text editor or a spreadsheet shows them: in a CSV file without line breaks inside of values the
header is row 1; in the other formats the first row is row 1.
"""

import codecs
import contextlib
import csv
import difflib
import functools
import glob
import hashlib
import json
import os
import re
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional, Union

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from components import stores
from components.errors import InputError
from components.stores import File
from components.tables import dialects, nested
from components.tables.formats import Format, TableSettings

NOT_UTF8 = "\ufdd0"
"""Stands in a value for bytes that are not UTF-8 (a Unicode noncharacter: no text holds it)."""

_END = "\ufdd1"
_BLOCK_BYTES = 8 << 20
_LONGEST_VALUE = 64 << 20
_BATCH_ROWS = 1 << 17
_CHUNK_BYTES = 1 << 22
_HEADER_BYTES = 1 << 20
_NAMED_COLUMNS = 100
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
"""What compressed files begin with."""
_ARCHIVES = {
    b"PK\x03\x04": "a ZIP archive or a spreadsheet",
    b"PK\x05\x06": "a ZIP archive without files",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\xfd7zXZ": "packed by xz",
    b"\x5d\x00\x00": "packed by lzma",
    b"\x04\x22\x4d\x18": "packed by lz4",
    b"\x1f\x9d": "packed by compress",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
    b"ARROW1": "an Arrow file",
    b"Obj\x01": "an Avro file",
    b"SQLite f": "a database of SQLite",
    b"\x89HDF": "an HDF5 file",
}
_MAGIC_BYTES = 8
_DELIMITERS = ("::", ";", "\t", "||", "|", ",", "\x01", "  ", " ")
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encodings by the marks that files in them begin with, the longer ones first."""
_PAGES = ("<!doctype", "<html", "<?xml", "<table")
_POINTER = "version https://git-lfs"
_OF_ONE_BYTE = ("cp125", "iso8859", "koi8", "mac", "cp437", "cp850")
"""Encodings that take any bytes for characters."""
_TAR_AT = 257
_HINT = 100
_PACKED = (".zip", ".7z", ".rar", ".tar", ".tgz", ".xz", ".lz4", ".snappy")
_SHEETS = (".xlsx", ".xls", ".ods")
_OTHERS = (
    *(".feather", ".arrow", ".orc", ".avro", ".db", ".sqlite", ".pkl", ".pickle", ".h5", ".hdf5", ".npy", ".npz"),
    *(".sav", ".dta", ".sas7bdat", ".rds", ".rda", ".rdata", ".mat", ".xml", ".html", ".htm", ".sql"),
)
_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_JSON = re.compile(rb"""\s*\{\s*["'][^"']*["']\s*:""")
"""How a line of JSON, or of a dictionary as Python prints it, begins."""
_PASSED_OVER = "no files but such whose names begin with _ or ., which are passed over"
_KEYS_BY_ROW = ("jsonl", "tfrecord")
_DATUM = re.compile(r"\s*([+-]?\d+(\.\d*)?|\d{4}-\d\d-\d\d.*)?\s*$")
"""A number, a day or nothing, none of which is a name."""
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
}

codecs.register_error("mark_not_utf8", lambda error: (NOT_UTF8, error.end))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class TableFile:
    """A file of a table."""

    path: str
    format: str
    """csv, jsonl, parquet or tfrecord."""
    size: int
    """Bytes, as stored."""
    number: int
    """Its place among the files of the table, which are sorted by path."""


@dataclass(frozen=True)
class Place:
    """Where in a file's text to read, instead of all of it."""

    start: int = 0
    """In bytes: reading begins with the first line that begins there or behind. Elsewhere than at the beginning of a
    file its row counts as number 2."""
    size: int = 0
    """About so many bytes are a block."""


@dataclass(frozen=True)
class BadRow:
    """A row that can't be used."""

    row: int
    reason: str
    text: str
    """The row, or what could be read of it."""
    lines: int = 1
    """How many lines of the file it covers: more than one where a value holds line breaks."""


@dataclass
class Block:
    """Some consecutive rows of a file."""

    rows: np.ndarray
    """Row numbers, int64 [n]."""
    columns: dict[str, pa.Array]
    """By name, [n] each; lists where the file has lists. Text is valid UTF-8 with NOT_UTF8 for bad bytes."""
    malformed: list[BadRow] = field(default_factory=list)
    """Rows that could not be cut into columns; their numbers may lie beyond this block's rows."""


def find_files(pattern: str, file_format: Format, what: str, first_number: int = 0) -> list[TableFile]:
    """Returns the files that `pattern` matches, sorted by path, hidden and empty ones beside others left out.

    Args:
        pattern: A path, a folder, or a glob, on disk or as a URI. A comma has no special meaning, nor have brackets
            where nothing matches otherwise; `~` is the user's own folder.
        file_format: The files' format; "auto" goes by their suffixes.
        what: What the files hold, for messages ("interactions").
        first_number: The number of the first file.

    Raises:
        InputError: Nothing matches, all files are empty, or their format can't be told.
    """
    if not pattern:
        raise InputError(f"{what}: no input path is given")
    try:
        matches = _matches(os.path.expanduser(stores.plain(pattern)))
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
    except Exception as error:  # Beam wraps whatever the file system raised
        raise InputError(f"{what}: can't look up {pattern}: {error}") from error
    found = len(matches)
    if found > 1:  # markers such as _SUCCESS
        matches = [match for match in matches if not match.path.rsplit("/", 1)[-1].startswith(("_", "."))]
    if not matches:
        raise InputError(f"{what}: {pattern} has {_PASSED_OVER}" if found else f"{what}: there is no file {pattern}")
    filled = sorted((match for match in matches if match.size), key=lambda match: match.path)
    if not filled:
        raise InputError(f"{what}: {min(match.path for match in matches)} is empty")
    return [
        TableFile(
            match.path,
            _format_of(match.path, what) if file_format == "auto" else file_format,
            match.size,
            first_number + number,
        )
        for number, match in enumerate(filled)
    ]


def match_files(pattern: str) -> list[File]:
    """Returns the files that a path or a glob matches, in no order; paths are relative where the pattern is."""
    # Beam lists the folder that stands before the first wildcard; where none does it finds nothing.
    here = "" if "/" in re.split(r"[*?\[]", pattern)[0] else "./"
    return [replace(file, path=file.path.removeprefix(here)) for file in stores.matching(here + pattern)]


def _matches(pattern: str) -> list[File]:
    plain = glob.escape(pattern)
    if stores.is_folder(pattern):
        return _below(plain)
    if stores.is_file(pattern):
        return match_files(plain)
    return match_files(pattern) or _below(pattern) or match_files(pattern.replace("[", "[[]"))


def _below(folders: str) -> list[File]:
    """Returns the files in the folders that a glob matches and in those below them, apart from hidden ones.

    So Spark and Hive write them.
    """
    folders = folders.rstrip("/")
    depth = folders.count("/") + 1
    found = [(match, match.path.split("/")[depth:]) for match in match_files(f"{folders}/**")]
    for kind, told in (
        ("a Delta", any("_delta_log" in parts for _, parts in found)),
        ("a Hudi", any(".hoodie" in parts for _, parts in found)),
        ("an Iceberg", any("metadata" in parts and parts[-1].endswith(".metadata.json") for _, parts in found)),
    ):
        if told:
            raise InputError(
                f"{folders} is {kind} table, some of whose files may be out of date: export what is valid now"
            )
    shown = [match for match, parts in found if not any(part.startswith(("_", ".")) for part in parts)]
    if found and not shown:
        raise InputError(f"{folders} has {_PASSED_OVER}")
    return shown


def digest(files: Sequence[Union[TableFile, File]]) -> str:
    """Returns a digest of the files' content, in hexadecimal."""
    return hashlib.blake2b(b"".join(map(bytes.fromhex, digests(files))), digest_size=16).hexdigest()


def digests(files: Sequence[Union[TableFile, File]], size: Optional[int] = None) -> list[str]:
    """Returns a digest of each file's content, in hexadecimal; a file that hasn't changed is not read twice.

    Args:
        files: The files.
        size: How many bytes of each count; None for all.

    Raises:
        InputError: A file can't be read.
    """
    found = []
    for file in files:
        try:
            found.append(_digest(file.path, stores.state(file.path), file.size if size is None else size))
        except IsADirectoryError:
            raise InputError(f"{file.path} is a folder: name the files in it, such as {file.path}/*") from None
        except OSError as error:
            raise InputError(f"{file.path} can't be read: {error}") from error
    return found


@functools.lru_cache(maxsize=1 << 16)
def _digest(path: str, state: tuple[Any, ...], size: int) -> str:
    content = hashlib.blake2b(digest_size=16)
    with stores.open_binary(path) as source:
        while chunk := source.read(min(size, _CHUNK_BYTES)):
            content.update(chunk)
            size -= len(chunk)
    return content.hexdigest()


def check_table(files: Sequence[TableFile], columns: Sequence[str], how: TableSettings, each: bool = True) -> None:
    """Raises an InputError that lists the columns found unless the files of a table have `columns`.

    The rows of JSON lines and of TFRecords needn't have every key: there it is enough that one of the files has it.

    Args:
        files: The files. Those without a row beside others are passed over.
        columns: What they must have.
        how: How they are read.
        each: Whether to look at all of the files, or at no more than are needed to know the table's columns.
    """
    looked_at: dict[TableFile, list[str]] = {}
    for file in files:
        names = column_names(file, how)
        if not names and len(files) > 1:
            continue
        looked_at[file] = names
        if file.format in _KEYS_BY_ROW:
            names = list(dict.fromkeys(name for found in looked_at.values() for name in found))
            if all(_has(file, column, names) for column in columns):
                return
            continue
        _check_names(file, columns, names, how)
        if not each:
            return
    if not looked_at:
        raise InputError(f"{files[0].path} is empty, and so are the others")
    first = next(iter(looked_at))
    if first.format in _KEYS_BY_ROW:
        _check_names(first, columns, list(dict.fromkeys(name for found in looked_at.values() for name in found)), how)


def check_columns(file: TableFile, columns: Sequence[str], how: TableSettings) -> None:
    """Raises an InputError that lists the columns found unless `file` has each of `columns` exactly once."""
    _check_names(file, columns, column_names(file, how), how)


def _check_names(file: TableFile, columns: Sequence[str], names: Sequence[str], how: TableSettings) -> None:
    if not names:
        raise InputError(f"{file.path} is empty")
    missing = [column for column in columns if not _has(file, column, names)]
    if missing:
        shown = ", ".join(map(repr, names[:_NAMED_COLUMNS])) + (", …" if len(names) > _NAMED_COLUMNS else "")
        hint = "".join(f"; {part}" for part in _hints(file, missing[0], names, how))
        raise InputError(f"{file.path} has no column {', '.join(map(repr, missing))}; it has {shown}{hint}")
    counts = Counter(names)
    doubled = sorted({column for column in columns if counts[column] > 1})
    if doubled:
        raise InputError(f"{file.path} has more than one column {', '.join(map(repr, doubled))}: rename all but one")


def _hints(file: TableFile, missing: str, names: Sequence[str], how: TableSettings) -> Iterator[str]:
    """Yields what may be wrong where a column is missing."""
    if file.format == "csv":
        other = next((mark for mark in _DELIMITERS if len(names) == 1 and mark in names[0]), None)
        if names[0].startswith(("#", "sep=")):
            yield "its first row must be the header: take what stands above out of the file"
            return
        if all(re.fullmatch("'.*'", name) for name in names):
            yield """its values stand in single quotes: set quote: "'\""""
            return
        if (
            not other
            and len(names) == 1
            and (near := re.search(rf"{re.escape(missing)}(\W)|(\W){re.escape(missing)}", names[0]))
        ):
            other = near[1] or near[2]
        if other == how.delimiter:
            yield "each row stands in quotes as one value: take these off"
            return
        if other:
            yield f"its delimiter looks like {other!r}, not {how.delimiter!r}"
        if how.names is None and any(_DATUM.match(value) for value in (names[0].split(other) if other else names)):
            yield "the first row looks like data: has the file a header? If not, name its columns by names"
            return
        if other:
            return
    folded = [name for name in names if name.strip().casefold() == missing.strip().casefold()]
    close = folded or difflib.get_close_matches(missing, names, n=1)
    if close:
        yield f"did you mean {close[0]!r}?" + (" (or set trim: true)" if close[0] != close[0].strip() else "")


def _has(file: TableFile, column: str, names: Sequence[str]) -> bool:
    """Whether a file has a column; what texts hold at a path, and what is in a map, is not known before it is read."""
    return column in names or (file.format in ("csv", "parquet") and nested.split(column, names)[0] in names)


def column_names(file: TableFile, how: TableSettings) -> list[str]:
    """Returns the names of the file's columns in their order, those that its folders tell at the end.

    For TFRecord files they are the features of the first records, for JSON lines the keys of the first rows. Of objects
    also the paths of what is in them are named. There are none for a file without a row.

    Raises:
        InputError: The file can't be read as its format.
    """
    with _explained(file):
        names = _NAMES[file.format](file, how)
    return [*names, *(name for name in partition_values(file.path) if name not in names)] if names else []


def partition_values(path: str) -> dict[str, Optional[str]]:
    """Returns the columns that the names of a file's folders tell, as Hive and Spark name them.

    >>> partition_values("log/dt=2020-09-14/shop=a%2Fb/part-0.parquet")
    {'dt': '2020-09-14', 'shop': 'a/b'}
    """
    folders = [folder.split("=", 1) for folder in path.split("/")[:-1] if "=" in folder]
    return {
        name: None if value == _NO_PARTITION else urllib.parse.unquote(value)
        for name, value in folders
        if name and value
    }


def _names_of_parquet(file: TableFile, how: TableSettings) -> list[str]:
    with stores.open_binary(file.path) as source:
        schema = pq.ParquetFile(pa.PythonFile(source, mode="r")).schema_arrow
        return [path for field in schema for path in nested.fields_below(field.type, field.name)]


def _names_of_tfrecord(file: TableFile, how: TableSettings) -> list[str]:
    return next((sorted(batch.schema.names) for batch in _record_batches(file, None)), [])


def _names_of_jsonl(file: TableFile, how: TableSettings) -> list[str]:
    _, rows, malformed = next(_json_rows(file, how, Place(size=_BLOCK_BYTES)), ([], [], []))
    if malformed and not rows:
        raise InputError(
            f"{file.path} is not JSON lines: no line at its beginning is a JSON object; jq -c writes one a line"
        )
    if len(rows) == 1 and rows[0] and all(isinstance(value, dict) and "0" in value for value in rows[0].values()):
        raise InputError(
            f"{file.path} is one object of columns whose keys are the rows' numbers, as pandas writes it by default: "
            "write a row a line, as to_json(orient='records', lines=True) does"
        )
    paths = (path for row in rows for name, value in row.items() for path in nested.names_below(value, name))
    return list(dict.fromkeys(paths))


def _names_of_csv(file: TableFile, how: TableSettings) -> list[str]:
    head = next(_pieces(file, how, Place(size=_HEADER_BYTES)), b"")
    if head.startswith(b"PAR1"):
        raise InputError(f"{file.path} is a Parquet file: set format: parquet")
    if _JSON.match(head):
        raise InputError(f"{file.path} holds JSON, not CSV: set format: jsonl")
    if b"\0" in head:
        raise InputError(f"{file.path} holds zero bytes: is it UTF-16 (set encoding: utf-16-le), or not CSV at all?")
    try:
        row = dialects.first_row(dialects.prepared(head, how).decode(), how)
    except csv.Error as error:
        raise InputError(f"{file.path}: can't read the header: {error}") from error
    if not row and head.strip():
        raise InputError(f"{file.path}: the first row is empty: it must be the header, unless names are set")
    if how.trim:
        row = [name.strip() for name in row]
    if how.names is None:
        if any(NOT_UTF8 in name for name in row):
            raise InputError(f"{file.path}: the header is not UTF-8: set encoding, such as cp1252, or save it as UTF-8")
        return row
    if _is_short_header(row, how):
        return list(how.names)
    if row and len(row) != len(how.names):
        raise InputError(f"{file.path}: names are {len(how.names)}, but the first row has {len(row)} columns: {row}")
    if [value.casefold() for value in row] == [name.casefold() for name in how.names]:
        raise InputError(f"{file.path} has a header: leave out names")
    return list(how.names) if row else []


def _is_short_header(row: Sequence[str], how: TableSettings) -> bool:
    """Whether a row has all of the given names but for the first, as a header above an index, or but for the last, as
    one above rows that a delimiter ends."""
    names = [name.strip().casefold() for name in how.names or ()]
    return len(names) > 1 and [value.strip().casefold() for value in row] in (names[1:], names[:-1])


_NAMES = {
    "csv": _names_of_csv,
    "jsonl": _names_of_jsonl,
    "parquet": _names_of_parquet,
    "tfrecord": _names_of_tfrecord,
}


def parts(file: TableFile) -> list[int]:
    """Returns the parts that the file can be read in independently: a Parquet file's row groups, else one part.

    Raises:
        InputError: The file can't be read as its format.
    """
    if file.format != "parquet":
        return [0]
    with _explained(file), stores.open_binary(file.path) as source:
        return list(range(pq.ParquetFile(pa.PythonFile(source, mode="r")).num_row_groups))


def count_rows(file: TableFile) -> Optional[int]:
    """Returns how many rows a Parquet file has; None for other files, which don't say.

    Raises:
        InputError: The file can't be read as its format.
    """
    if file.format != "parquet":
        return None
    with _explained(file), stores.open_binary(file.path) as source:
        return int(pq.ParquetFile(pa.PythonFile(source, mode="r")).metadata.num_rows)


def read_blocks(
    file: TableFile, columns: Sequence[str], how: TableSettings, part: int = 0, place: Optional[Place] = None
) -> Iterator[Block]:
    """Yields the rows of one part of `file`; none for a file without a row.

    Args:
        file: What to read.
        columns: The columns to read. In JSON lines and TFRecords a key that no row has is a missing value.
        how: How it is read.
        part: One of `parts(file)`.
        place: Where to read in a CSV or JSON file; other than at its beginning only if it `has_lines`.

    Raises:
        InputError: The file is broken, or lacks a column.
    """
    told = partition_values(file.path)
    missing = pa.array(how.missing, pa.string())
    with _explained(file):
        for block in _READERS[file.format](file, columns, how, part, place or Place(size=_BLOCK_BYTES)):
            for column in told:
                if column in columns and column not in block.columns:
                    block.columns[column] = pa.repeat(pa.scalar(told[column], pa.string()), len(block.rows))
            block.columns = {column: block.columns[column] for column in columns}
            if how.trim:
                block.columns = {column: _trimmed(array) for column, array in block.columns.items()}
            if len(missing):
                block.columns = {column: _without(array, missing) for column, array in block.columns.items()}
            yield block


def _without(array: pa.Array, words: pa.Array) -> pa.Array:
    """Returns a column with null for each of `words`."""
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        return array
    return pc.if_else(pc.is_in(array, value_set=words.cast(array.type)), pa.scalar(None, array.type), array)


def _trimmed(array: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    is_text = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    return pc.utf8_trim_whitespace(array) if is_text else array


def _at_paths(block: Block, paths: dict[str, tuple[str, list[str]]]) -> Block:
    """Returns a block with the columns of `paths`, each of which is at some keys in a column of `block`."""
    if all(column == top for column, (top, _) in paths.items()):
        return block
    columns: dict[str, pa.Array] = {}
    texts: dict[str, list[Any]] = {}
    for column, (top, keys) in paths.items():
        array = block.columns[top]
        if keys and pa.types.is_dictionary(array.type):
            array = array.cast(array.type.value_type)
        if keys and (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            texts[column] = nested.text_values(array, keys)
        else:
            columns[column] = nested.field_at(array, keys, column)
    return _json_block(block.rows, columns, texts, block.malformed)


def _json_block(
    rows: np.ndarray, columns: dict[str, pa.Array], values: dict[str, list[Any]], malformed: list[BadRow]
) -> Block:
    """Returns a block with `columns` and those of JSON `values`; rows with an object among these are malformed."""
    bad: dict[int, BadRow] = {}
    for column, found in values.items():
        for place, value in enumerate(found):
            if (
                isinstance(value, (dict, list))
                and place not in bad
                and (reason := nested.reason_against(value, column))
            ):
                bad[place] = BadRow(int(rows[place]), reason, json.dumps(value, ensure_ascii=False))
    if bad:
        kept = np.ones(len(rows), dtype=bool)
        kept[list(bad)] = False
        rows = rows[kept]
        columns = {column: array.filter(pa.array(kept)) for column, array in columns.items()}
        values = {
            column: [value for place, value in enumerate(found) if kept[place]] for column, found in values.items()
        }
        malformed = sorted([*malformed, *bad.values()], key=lambda each: each.row)
    arrays = {column: nested.json_array(found) for column, found in values.items()}
    return Block(rows, {**columns, **arrays}, malformed)


@contextlib.contextmanager
def _explained(file: TableFile) -> Iterator[None]:
    """Turns what a broken file makes the readers raise into an InputError that names the file."""
    try:
        yield
    except InputError as error:
        if file.path in str(error):
            raise
        raise InputError(f"{file.path}: {error}") from error
    except IsADirectoryError:
        raise InputError(f"{file.path} is a folder: name the files in it, such as {file.path}/*") from None
    except UnicodeError as error:
        raise InputError(f"{file.path} is not in the encoding that is set: {error}") from error
    except (OSError, pa.ArrowException) as error:
        if file.format == "parquet" and (why := _no_parquet(file)):
            raise InputError(f"{file.path} is no Parquet file: {why}") from None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{file.path} can't be read as {file.format}: {reason}") from error


def _no_parquet(file: TableFile) -> str:
    """Returns what a file is, by its beginning, that is read as Parquet and is none; "" where that can't be told."""
    try:
        with stores.open_binary(file.path) as source:
            begin = source.read(_HINT)
    except (OSError, InputError):
        return ""
    if any(begin.startswith(magic) for magic in _MAGIC):
        return "it is packed as a whole: unpack it (Parquet packs its columns itself)"
    if begin.startswith(b"PAR1") or b"\0" in begin:
        return ""
    return f"it begins as text does: set format: {'jsonl' if _JSON.match(begin) else 'csv'}"


def _format_of(path: str, what: str) -> str:
    name = path.lower()
    for suffix in _COMPRESSIONS:
        name = name.removesuffix(suffix)
    for suffix, format_ in _SUFFIXES.items():
        if name.endswith(suffix):
            return format_
    if name.endswith(_PACKED):
        raise InputError(f"{what}: {path} is an archive: unpack it (what is packed by gzip, bzip2 or zstd can stay so)")
    if name.endswith(_SHEETS):
        raise InputError(f"{what}: {path} is a spreadsheet: save it as CSV")
    if name.endswith(_OTHERS):
        raise InputError(f"{what}: {path} is of a format that can't be read: save it as CSV, JSON lines or Parquet")
    raise InputError(
        f"{what}: the format of {path} can't be told from its name; set format to csv, jsonl, parquet or tfrecord"
    )


def _open(file: TableFile) -> Any:
    """Returns a stream over the file's uncompressed bytes. What it begins with tells how it is compressed."""
    source = stores.open_binary(file.path)
    head = source.read(_MAGIC_BYTES)
    source.seek(0)
    for magic, what in _ARCHIVES.items():
        if head.startswith(magic):
            source.close()
            raise InputError(f"{file.path} is {what}: unpack it, or save it as CSV (which may be packed by gzip)")
    codec = next((codec for magic, codec in _MAGIC.items() if head.startswith(magic)), None)
    return pa.CompressedInputStream(pa.PythonFile(source, mode="r"), codec) if codec else source


def compression(file: TableFile) -> Optional[str]:
    """Returns how a file is compressed, which what it begins with tells: gzip, bz2 or zstd; None where it is not."""
    with stores.open_binary(file.path) as source:
        head = source.read(_MAGIC_BYTES)
    return next((codec for magic, codec in _MAGIC.items() if head.startswith(magic)), None)


def head(file: TableFile, size: int) -> bytes:
    """Returns the beginning of a file, uncompressed.

    Raises:
        InputError: It is an archive, or can't be read.
    """
    found = b""
    with _explained(file), _open(file) as stream:
        while len(found) < size and (chunk := stream.read(size - len(found))):
            found += chunk
    return found


def has_lines(file: TableFile, how: TableSettings) -> bool:
    """Whether a line of a file can be found from any place in it: it is text, not compressed, with bytes for its line
    ends that are nothing else."""
    wide = how.encoding.startswith(("utf-16", "utf-32", "utf_16", "utf_32", "utf-7"))
    return file.format in ("csv", "jsonl") and not wide and compression(file) is None


def lines_before(file: TableFile, start: int) -> int:
    """Returns how many lines of a file that `has_lines` end before the place `start`, in bytes."""
    lines, ended = 0, True
    with _open(file) as stream:
        while start > 0 and (chunk := stream.read(min(_CHUNK_BYTES, start))):
            lines, start, ended = lines + chunk.count(b"\n"), start - len(chunk), chunk.endswith(b"\n")
    return lines + (not ended)


def _pieces(file: TableFile, how: TableSettings, place: Place) -> Iterator[bytes]:
    """Yields a file's text in UTF-8, as much at a time as `place` says, NOT_UTF8 for bytes that are none in its
    encoding."""
    decoder = codecs.getincrementaldecoder(how.encoding)("mark_not_utf8")
    at_start, at_end = not place.start, False
    with _open(file) as stream:
        in_line = place.start > 0
        if in_line:
            stream.seek(place.start - 1)
        while not at_end:
            chunk = bytes(stream.read(place.size + in_line))
            at_end = not chunk
            if in_line:
                _, ended, chunk = chunk.partition(b"\n")
                in_line = not ended
            if at_start and how.encoding == "utf-8" and (encoding := encoding_of_mark(chunk)):
                raise InputError(f"{file.path} is {encoding.upper()}, not UTF-8: set encoding: {encoding}")
            if at_start and chunk[_TAR_AT : _TAR_AT + 5] == b"ustar":
                raise InputError(f"{file.path} is a TAR archive: unpack it")
            if at_start and how.encoding.startswith(_OF_ONE_BYTE) and _is_utf_8(chunk):
                raise InputError(f"{file.path} is UTF-8, not {how.encoding}: leave out encoding")
            text = decoder.decode(chunk, final=at_end)
            if at_start and text:
                text, at_start = text.removeprefix("\ufeff"), False
                _check_page(file, text[:_HINT].lstrip().lower())
            yield text.encode()


def encoding_of_mark(head: bytes) -> Optional[str]:
    """Returns the encoding that the mark at the beginning of a file tells, but UTF-8."""
    return next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), None)


def _check_page(file: TableFile, begin: str) -> None:
    if begin.startswith(_PAGES):
        raise InputError(f"{file.path} is HTML or XML, perhaps what a download that failed left")
    if begin.startswith(_POINTER):
        raise InputError(f"{file.path} only points to a file in Git LFS: git lfs pull fetches it")


def _is_utf_8(chunk: bytes) -> bool:
    """Whether the beginning of a file holds other characters than ASCII, all of them in UTF-8."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(chunk)
    except UnicodeDecodeError:
        return False
    return not chunk.isascii()


def _read_csv(file: TableFile, columns: Sequence[str], how: TableSettings, part: int, place: Place) -> Iterator[Block]:
    """Yields a file's rows, a piece of about so many bytes as `place` says that ends with a row at a time.

    Arrow's own streaming reader is not used: its thread that reads ahead deadlocks with Python's lock when the reader
    is dropped before its end.
    """
    names = _names_of_csv(file, how)
    if not names:
        return
    told = partition_values(file.path)
    _check_names(file, columns, [*names, *(name for name in told if name not in names)], how)
    paths = {column: nested.split(column, names) for column in columns if column in names or column not in told}
    tops = list(dict.fromkeys(top for top, _ in paths.values())) or names[:1]
    # A name that is there twice is not among `columns`, but Arrow minds.
    counts = Counter(names)
    names = [name if counts[name] == 1 else f"{_END}{place}" for place, name in enumerate(names)]
    first, rest, at_end, enough = 2 if place.start else 1, bytearray(), False, 0
    pieces = _pieces(file, how, place)
    while not at_end:
        piece = next(pieces, None)
        at_end = piece is None
        rest += piece or b""
        if not at_end and len(rest) < enough:
            continue
        # Old Macs end lines by a CR; at the very end it may be half of CRLF.
        end = len(rest) if at_end else rest.rfind(b"\n") + 1 or rest.rfind(b"\r", 0, -1) + 1
        if not end:
            if len(rest) > _LONGEST_VALUE:
                raise InputError(f"{file.path}: row {first} has no end: is it CSV?")
            continue
        parsed = _parse_csv(file, dialects.prepared(bytes(rest[:end]), how), first, names, tops, how)
        if parsed is None:
            if at_end or len(rest) > _LONGEST_VALUE:
                row = first + dialects.last_row(dialects.prepared(bytes(rest), how).decode(), how)
                raise InputError(
                    f"{file.path}: a quote is opened and not closed, in row {row} or above it: set quote: null if "
                    "quotes are characters like others in this file"
                )
            enough = min(
                2 * len(rest), _LONGEST_VALUE + 1
            )  # the piece ends inside of a value: take more, and not little by little
            continue
        block, first = parsed
        del rest[:end]
        enough = 0
        if block.rows.size or block.malformed:
            yield _at_paths(block, paths)


def _parse_csv(
    file: TableFile, piece: bytes, first: int, names: Sequence[str], columns: Sequence[str], how: TableSettings
) -> Optional[tuple[Block, int]]:
    """Returns the rows of a piece of CSV and the number of the row after it; None if it ends inside of a value.

    Arrow takes what follows an unclosed quote for a value without a word, so a last line of our own is added: if that
    is swallowed, we know.

    Args:
        file: Where it comes from, for messages.
        piece: Some whole rows, as `dialects.prepared` returns them.
        first: The number of the first row; row 1 is the header, if there is one, and left out.
        names: The columns of the file.
        columns: The columns to return.
        how: The dialect.
    """
    malformed: list[BadRow] = []
    longer: list[bool] = []
    ends: list[bool] = []
    on_malformed = _on_malformed(malformed, longer, ends, first, how)
    mark = dialects.mark_of(how)
    data = piece + (b"" if piece.endswith(b"\n") else b"\n") + (_END + mark * len(names)).encode() + b"\n"
    # read_csv looks at all objects of the process on Python 3.10 (for a reference cycle in its handling of signals): a
    # tenth of a second a call, which is what a log in ten thousand files can't have.
    reader = pa_csv.open_csv(
        pa.BufferReader(data),
        # One thread and one block: only then do malformed rows have numbers.
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=list(names)),
        parse_options=dialects.parse_options(how, ignore_empty_lines=False, invalid_row_handler=on_malformed),
        convert_options=pa_csv.ConvertOptions(
            check_utf8=False,
            column_types={column: pa.string() for column in columns},
            include_columns=list(columns),
        ),
    )
    table = reader.read_all()
    if not ends:
        return None
    arrays = [_one_array(table[column]) for column in columns]
    if mark == dialects.STAND_IN:
        arrays = [pc.replace_substring(array, mark, how.delimiter) for array in arrays]
    rows = _number_rows(first, len(table), [bad.row for bad in malformed])
    following = first + len(table) + len(malformed)
    wanted = _any_text(arrays) & (rows > (how.names is None))  # empty lines are rows without a value
    found = dialects.faults(piece, len(table) + len(malformed), len(names), how)
    if found.swallowed is not None:
        raise InputError(f"{file.path}, row {first + found.swallowed[0]}: {found.swallowed[1]}")
    if found.tails:
        tails = np.isin(rows, first + np.array(found.tails)) & wanted
        malformed = sorted([*malformed, *_with_tails(rows, arrays, tails)], key=lambda bad: bad.row)
        wanted &= ~tails
    if how.names is not None and malformed and malformed[0].row == 1:
        header = _is_short_header(dialects.first_row(malformed[0].text, how), how)
        malformed = malformed[header:]
    elif longer and all(longer) and not wanted.any():
        hint = " in each row, whose last may be empty or whose first an index: see names"
        malformed = [replace(bad, reason=bad.reason + hint) for bad in malformed]
    if not wanted.all():
        arrays, rows = [array.filter(pa.array(wanted)) for array in arrays], rows[wanted]
    return Block(rows, dict(zip(columns, arrays)), malformed), following


def _with_tails(rows: np.ndarray, arrays: Sequence[pa.Array], tails: np.ndarray) -> Iterator[BadRow]:
    for place in np.flatnonzero(tails):
        line = ",".join(array[int(place)].as_py() or "" for array in arrays)
        yield BadRow(int(rows[place]), "text after a closing quote (see quote and escape)", line)


def _on_malformed(malformed: list[BadRow], longer: list[bool], ends: list[bool], first: int, how: TableSettings) -> Any:
    """What Arrow is to do with a malformed row: note it, or that it is the end."""

    def note(row: Any) -> str:
        number = first - 1 + row.number
        if row.text.startswith(_END):
            ends.append(True)
        elif NOT_UTF8 in row.text:
            malformed.append(BadRow(number, "not UTF-8 (see encoding)", row.text))
        else:
            reason = f"{row.actual_columns} columns instead of {row.expected_columns}"
            longer.append(row.actual_columns == row.expected_columns + 1)
            if '\\"' in row.text and how.escape is None:
                reason += " (a backslash before a quote: see escape)"
            malformed.append(BadRow(number, reason, row.text, 1 + row.text.count("\n")))
        return "skip"

    return note


def _read_jsonl(
    file: TableFile, columns: Sequence[str], how: TableSettings, part: int, place: Place
) -> Iterator[Block]:
    told = partition_values(file.path)
    paths = {column: column.split(".") for column in columns}
    for numbers, rows, malformed in _json_rows(file, how, place):
        values = {
            column: [row[column] if column in row else nested.value_at(row, keys) for row in rows]
            if len(keys) > 1
            else [row.get(column) for row in rows]
            for column, keys in paths.items()
        }
        # What the folders tell is for rows without that key.
        for column, folder in told.items():
            if column in values:
                values[column] = [folder if value is None else value for value in values[column]]
        yield _json_block(np.array(numbers, np.int64), {}, values, malformed)


def _json_rows(
    file: TableFile, how: TableSettings, place: Place
) -> Iterator[tuple[list[int], list[dict[str, Any]], list[BadRow]]]:
    """Yields the objects of some lines at a time, their row numbers, and the lines that are none.

    Empty lines are rows without a value, as in a CSV file.
    """
    first, rest, at_end = 2 if place.start else 1, b"", False
    pieces = _pieces(file, how, place)
    while not at_end:
        piece = next(pieces, None)
        at_end = piece is None
        rest += piece or b""
        end = len(rest) if at_end else rest.rfind(b"\n") + 1
        if not end:
            if len(rest) > _LONGEST_VALUE:
                raise InputError(f"{file.path}: row {first} has no end: write one JSON object a line")
            continue
        lines = rest[:end].removesuffix(b"\n").split(b"\n")
        numbers, rows, malformed = [], [], []
        for number, line in enumerate(lines, first):
            text = line.decode().strip()
            if number == 1 and text.startswith("["):
                raise InputError(
                    f"{file.path} is one JSON array: write its objects one a line (JSON lines), as jq -c '.[]' does"
                )
            if not text:
                continue
            row, reason = _json_row(text)
            if reason:
                malformed.append(BadRow(number, reason, text))
            else:
                numbers.append(number)
                rows.append(row)
        first, rest = first + len(lines), rest[end:]
        if numbers or malformed:
            yield numbers, rows, malformed


def _json_row(text: str) -> tuple[dict[str, Any], str]:
    """Returns the object that a line holds, or why it holds none."""
    try:
        row = nested.from_json(text)
        if "\\ud" in text.lower():  # perhaps half of a character, which no UTF-8 text can hold
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return {}, "not UTF-8 (see encoding)"
    except (ValueError, RecursionError):
        if NOT_UTF8 in text:
            return {}, "not UTF-8 (see encoding)"
        if not text.startswith("{"):
            return {}, "not JSON"
        try:
            row = nested.parsed(text)  # as Python writes its dictionaries
        except ValueError:
            return {}, "not JSON"
    return (row, "") if isinstance(row, dict) else ({}, "not a JSON object")


def _number_rows(first: int, count: int, skipped: Sequence[int]) -> np.ndarray:
    """Returns the numbers of `count` rows from `first` on, those in `skipped` (ascending) left out; int64 [count]."""
    gaps = np.asarray(skipped, dtype=np.int64)
    position = np.arange(count, dtype=np.int64)
    return first + position + np.searchsorted(gaps - first - np.arange(len(gaps)), position, side="right")


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays([pa.array([], column.type), *column.chunks])


def _any_text(columns: Sequence[pa.Array]) -> np.ndarray:
    filled = np.zeros(len(columns[0]), dtype=bool)
    for column in columns:
        filled |= pc.greater(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
        if filled.all():
            break
    return filled


def _read_parquet(
    file: TableFile, columns: Sequence[str], how: TableSettings, part: int, place: Place
) -> Iterator[Block]:
    with stores.open_binary(file.path) as source:
        table = pq.ParquetFile(pa.PythonFile(source, mode="r"))
        schema, told = table.schema_arrow, partition_values(file.path)
        if any("fixed_size_list" in str(schema.field(top).type) for top in schema.names):
            # Arrow can't read those with a null among them, but as lists of any size, which the file itself holds.
            table = pq.ParquetFile(pa.PythonFile(source, mode="r"), metadata=_without_arrow_types(source))
        known = [path for field in schema for path in nested.fields_below(field.type, field.name)]
        _check_names(file, columns, [*known, *(name for name in told if name not in schema.names)], how)
        paths = {
            column: nested.split(column, schema.names) for column in columns if column in known or column not in told
        }
        tops = list(dict.fromkeys(top for top, _ in paths.values())) or schema.names[:1]
        first = 1 + sum(table.metadata.row_group(group).num_rows for group in range(part))
        for batch in table.iter_batches(batch_size=_BATCH_ROWS, row_groups=[part], columns=tops):
            rows = np.arange(first, first + batch.num_rows, dtype=np.int64)
            first += batch.num_rows
            arrays = {top: batch.column(batch.schema.get_field_index(top)) for top in tops}
            yield _at_paths(Block(rows, arrays), paths)


def _without_arrow_types(source: Any) -> pq.FileMetaData:
    """Returns a Parquet file's metadata without the schema that Arrow adds to it for types that Parquet lacks."""
    source.seek(-8, os.SEEK_END)
    end = source.read(8)
    size = int.from_bytes(end[:4], "little")
    source.seek(-8 - size, os.SEEK_END)
    footer = source.read(size).replace(b"ARROW:schema", b"other:schema")
    return pq.read_metadata(pa.BufferReader(b"PAR1" + footer + end))


def _read_tfrecord(
    file: TableFile, columns: Sequence[str], how: TableSettings, part: int, place: Place
) -> Iterator[Block]:
    first, told = 1, partition_values(file.path)
    for batch in _record_batches(file, columns):
        rows = np.arange(first, first + batch.num_rows, dtype=np.int64)
        first += batch.num_rows
        names = batch.schema.names
        arrays = {
            column: _marked(batch.column(names.index(column))) if column in names else pa.nulls(batch.num_rows)
            for column in columns
            if column in names or column not in told
        }
        yield Block(rows, arrays)


_READERS = {"csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet, "tfrecord": _read_tfrecord}


def _record_batches(file: TableFile, columns: Optional[Sequence[str]]) -> Iterator[pa.RecordBatch]:
    """Yields the tf.Examples of a TFRecord file with a list column a feature, its type as found in the batch."""
    import tensorflow as tf  # only this format needs it, and it takes seconds
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    with stores.open_binary(file.path) as source:
        head = source.read(_MAGIC_BYTES)
    compression = {None: "", "gzip": "GZIP"}.get(
        next((c for magic, c in _MAGIC.items() if head.startswith(magic)), None)
    )
    if compression is None:
        raise InputError(f"{file.path}: TFRecord files may be compressed with gzip only")
    decoder = ExamplesToRecordBatchDecoder()
    try:
        with stores.on_disk(file.path) as path:
            for records in tf.data.TFRecordDataset(path, compression).batch(_BATCH_ROWS // 8).as_numpy_iterator():
                yield decoder.DecodeBatch(list(records))
    except (tf.errors.OpError, RuntimeError) as error:
        raise InputError(f"{file.path} can't be read as TFRecords of tf.Example: {error}") from error


def _marked(array: pa.Array) -> pa.Array:
    """Returns a list array with bytes values as text; bytes that are not UTF-8 become NOT_UTF8."""
    if not (pa.types.is_list(array.type) or pa.types.is_large_list(array.type)):
        return array
    values = array.values
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        try:
            values = values.cast(pa.string())
        except pa.ArrowInvalid:
            values = pa.array(
                [
                    None if value is None else value.decode("utf-8", errors="mark_not_utf8")
                    for value in values.to_pylist()
                ],
                pa.string(),
            )
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32) + array.offsets[0].as_py()
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
