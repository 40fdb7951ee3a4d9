"""Reading tables (CSV, JSON lines, Parquet, TFRecords of tf.Example) as Arrow blocks with row numbers, from any Beam
file system.

Rows are numbered as a text editor or a spreadsheet shows them: in a CSV file without line breaks inside of values the
header is row 1; in the other formats the first row is row 1.
"""

import codecs
import contextlib
import csv
import difflib
import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems

from components.errors import InputError
from components.tables.formats import Format

NOT_UTF8 = "\ufdd0"
"""Stands in a value for bytes that are not UTF-8 (a Unicode noncharacter: no text holds it)."""

_END = "\ufdd1"
_BLOCK_BYTES = 8 << 20
_LONGEST_VALUE = 64 << 20
_BATCH_ROWS = 1 << 17
_CHUNK_BYTES = 1 << 22
_HEADER_BYTES = 1 << 20
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
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
    """Returns the files that `pattern` (a path or a glob) matches, sorted by path, hidden ones left out.

    Args:
        pattern: A path or a glob on any Beam file system. A comma has no special meaning.
        file_format: The files' format; "auto" goes by their suffixes.
        what: What the files hold, for messages ("interactions").
        first_number: The number of the first file.

    Raises:
        InputError: Nothing matches, a file is empty, or its format can't be told.
    """
    if not pattern:
        raise InputError(f"{what}: no input path is given")
    try:
        if FileSystems.exists(pattern):
            matches = [FileSystems.get_filesystem(pattern).metadata(pattern)]
        else:
            matches = match_files(pattern)
    except Exception as error:  # Beam wraps whatever the file system raised
        raise InputError(f"{what}: can't look up {pattern}: {error}") from error
    files: list[TableFile] = []
    for match in sorted(matches, key=lambda match: match.path):
        if match.path.rsplit("/", 1)[-1].startswith(("_", ".")) and len(matches) > 1:
            continue  # markers such as _SUCCESS
        if match.size_in_bytes == 0:
            raise InputError(f"{what}: {match.path} is empty")
        format_ = _format_of(match.path, what) if file_format == "auto" else file_format
        files.append(TableFile(match.path, format_, match.size_in_bytes, first_number + len(files)))
    if not files:
        raise InputError(f"{what}: there is no file {pattern}")
    return files


def match_files(pattern: str) -> list[FileMetadata]:
    """Returns the files that a path or a glob matches, in no order; paths are relative where the pattern is."""
    # Beam lists the folder that stands before the first wildcard; where none does it finds nothing.
    here = "" if "/" in re.split(r"[*?\[]", pattern)[0] else "./"
    matches = FileSystems.match([here + pattern])[0].metadata_list
    return [FileMetadata(m.path.removeprefix(here), m.size_in_bytes, m.last_updated_in_seconds) for m in matches]


def digest(files: list[TableFile]) -> str:
    """Returns a digest of the files' content, in hexadecimal."""
    total = hashlib.blake2b(digest_size=16)
    for file in files:
        content = hashlib.blake2b(digest_size=16)
        try:
            with FileSystems.open(file.path, compression_type=CompressionTypes.UNCOMPRESSED) as source:
                while chunk := source.read(_CHUNK_BYTES):
                    content.update(chunk)
        except IsADirectoryError:
            raise InputError(f"{file.path} is a folder: name the files in it, such as {file.path}/*.csv") from None
        except OSError as error:
            raise InputError(f"{file.path} can't be read: {error}") from error
        total.update(content.digest())
    return total.hexdigest()


def check_columns(file: TableFile, columns: Sequence[str], delimiter: str) -> None:
    """Raises an InputError that lists the columns found unless `file` has each of `columns` exactly once."""
    names = column_names(file, delimiter)
    missing = [column for column in columns if column not in names]
    if missing:
        hint = ""
        close = difflib.get_close_matches(missing[0], names, n=1)
        folded = [name for name in names if name.strip().casefold() == missing[0].strip().casefold()]
        other = next((mark for mark in (";", "\t", "|", ",") if len(names) == 1 and mark in names[0]), None)
        if file.format == "csv" and other:
            hint = f"; its delimiter looks like {other!r}, not {delimiter!r}"
        elif folded or close:
            hint = f"; did you mean {(folded or close)[0]!r}?"
        raise InputError(
            f"{file.path} has no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, names))}{hint}"
        )
    doubled = sorted({column for column in columns if names.count(column) > 1})
    if doubled:
        raise InputError(f"{file.path} has more than one column {', '.join(map(repr, doubled))}: rename all but one")


def column_names(file: TableFile, delimiter: str) -> list[str]:
    """Returns the names of the file's columns in their order.

    For TFRecord files they are the features of the first records, for JSON lines the keys of the first rows.

    Raises:
        InputError: The file can't be read as its format.
    """
    with _explained(file):
        if file.format == "parquet":
            with FileSystems.open(file.path, compression_type=CompressionTypes.UNCOMPRESSED) as source:
                return list(pq.ParquetFile(pa.PythonFile(source, mode="r")).schema_arrow.names)
        if file.format == "tfrecord":
            return next((sorted(batch.schema.names) for batch in _record_batches(file, None)), [])
        if file.format == "jsonl":
            rows = next((rows for _, rows, _ in _json_rows(file)), [])
            if not rows:
                raise InputError(f"{file.path} is not JSON lines: no line at its beginning is a JSON object")
            return list(dict.fromkeys(name for row in rows for name in row))
        with _open(file) as stream:
            head = stream.read(_HEADER_BYTES)
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise InputError(f"{file.path} is UTF-16, not UTF-8: save it as UTF-8")
        try:
            text = head.decode("utf-8-sig", errors="mark_not_utf8")
            names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        except csv.Error as error:
            raise InputError(f"{file.path}: can't read the header: {error}") from error
        if any(NOT_UTF8 in name for name in names):
            raise InputError(f"{file.path}: the header is not UTF-8: save the file as UTF-8")
        return names


def parts(file: TableFile) -> list[int]:
    """Returns the parts that the file can be read in independently: a Parquet file's row groups, else one part.

    Raises:
        InputError: The file can't be read as its format.
    """
    if file.format != "parquet":
        return [0]
    with _explained(file), FileSystems.open(file.path, compression_type=CompressionTypes.UNCOMPRESSED) as source:
        return list(range(pq.ParquetFile(pa.PythonFile(source, mode="r")).num_row_groups))


def read_blocks(file: TableFile, columns: Sequence[str], delimiter: str, part: int = 0) -> Iterator[Block]:
    """Yields the rows of one part of `file`.

    Args:
        file: What to read.
        columns: The columns to read; all of them must be in the file.
        delimiter: What stands between the columns of a CSV file.
        part: One of `parts(file)`.

    Raises:
        InputError: The file is broken.
    """
    with _explained(file):
        if file.format == "parquet":
            yield from _read_parquet(file, columns, part)
        elif file.format == "tfrecord":
            yield from _read_tfrecord(file, columns)
        elif file.format == "jsonl":
            yield from _read_jsonl(file, columns)
        else:
            yield from _read_csv(file, columns, delimiter)


@contextlib.contextmanager
def _explained(file: TableFile) -> Iterator[None]:
    """Turns what a broken file makes the readers raise into an InputError that names the file."""
    try:
        yield
    except IsADirectoryError:
        raise InputError(f"{file.path} is a folder: name the files in it, such as {file.path}/*.csv") from None
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{file.path} can't be read as {file.format}: {reason}") from error


def _format_of(path: str, what: str) -> str:
    name = path
    for suffix in _COMPRESSIONS:
        name = name.removesuffix(suffix)
    for suffix, format_ in _SUFFIXES.items():
        if name.lower().endswith(suffix):
            return format_
    raise InputError(
        f"{what}: the format of {path} can't be told from its name; set format to csv, jsonl, parquet or tfrecord"
    )


def _compression(path: str) -> Optional[str]:
    return next((codec for suffix, codec in _COMPRESSIONS.items() if path.lower().endswith(suffix)), None)


def _open(file: TableFile) -> Any:
    """Returns a stream over the file's uncompressed bytes."""
    source = FileSystems.open(file.path, compression_type=CompressionTypes.UNCOMPRESSED)
    codec = _compression(file.path)
    return pa.CompressedInputStream(pa.PythonFile(source, mode="r"), codec) if codec else source


def _read_csv(file: TableFile, columns: Sequence[str], delimiter: str) -> Iterator[Block]:
    """Yields a file's rows, a piece of about _BLOCK_BYTES that ends with a row at a time.

    Arrow's own streaming reader is not used: its thread that reads ahead deadlocks with Python's lock when the reader
    is dropped before its end.
    """
    names = column_names(file, delimiter)
    # A name that is there twice is not among `columns`, but Arrow minds.
    names = [name if names.count(name) == 1 else f"{_END}{place}" for place, name in enumerate(names)]
    decoder = codecs.getincrementaldecoder("utf-8")("mark_not_utf8")
    first, rest, at_end = 1, b"", False
    with _open(file) as stream:
        while not at_end:
            chunk = bytes(stream.read(_BLOCK_BYTES))
            at_end = not chunk
            rest += decoder.decode(chunk, final=at_end).encode()
            end = len(rest) if at_end else rest.rfind(b"\n") + 1
            if not end:
                continue
            parsed = _parse_csv(rest[:end], first, names, columns, delimiter)
            if parsed is None:
                if at_end or len(rest) > _LONGEST_VALUE:
                    raise InputError(f"{file.path}: a quote is opened and not closed, in row {first} or below it")
                continue  # the piece ends inside of a value: take more
            block, first = parsed
            rest = rest[end:]
            if block.rows.size or block.malformed:
                yield block


def _parse_csv(
    piece: bytes, first: int, names: Sequence[str], columns: Sequence[str], delimiter: str
) -> Optional[tuple[Block, int]]:
    """Returns the rows of a piece of CSV and the number of the row after it; None if it ends inside of a value.

    Arrow takes what follows an unclosed quote for a value without a word, so a last line of our own is added: if that
    is swallowed, we know.

    Args:
        piece: Some whole rows, UTF-8.
        first: The number of the first row; row 1 is the header and left out.
        names: The columns of the file.
        columns: The columns to return.
        delimiter: What stands between the columns.
    """
    malformed: list[BadRow] = []
    ended = False

    def on_malformed(row: Any) -> str:
        nonlocal ended
        number = first - 1 + row.number
        if row.text.startswith(_END):
            ended = True
        elif NOT_UTF8 in row.text:
            malformed.append(BadRow(number, "not UTF-8", row.text))
        else:
            reason = f"{row.actual_columns} columns instead of {row.expected_columns}"
            malformed.append(BadRow(number, reason, row.text, 1 + row.text.count("\n")))
        return "skip"

    data = piece + (b"" if piece.endswith(b"\n") else b"\n") + (_END + delimiter * len(names)).encode() + b"\n"
    table = pa_csv.read_csv(
        pa.BufferReader(data),
        # One thread and one block: only then do malformed rows have numbers.
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=list(names)),
        parse_options=pa_csv.ParseOptions(
            delimiter=delimiter,
            newlines_in_values=True,
            ignore_empty_lines=False,
            invalid_row_handler=on_malformed,
        ),
        convert_options=pa_csv.ConvertOptions(
            check_utf8=False,
            column_types={column: pa.string() for column in columns},
            include_columns=list(columns),
        ),
    )
    if not ended:
        return None
    arrays = [_one_array(table[column]) for column in columns]
    rows = _number_rows(first, len(table), [bad.row for bad in malformed])
    following = first + len(table) + len(malformed)
    wanted = _any_text(arrays) & (rows > 1)  # empty lines are rows without a value
    if not wanted.all():
        arrays, rows = [array.filter(pa.array(wanted)) for array in arrays], rows[wanted]
    return Block(rows, dict(zip(columns, arrays)), malformed), following


def _read_jsonl(file: TableFile, columns: Sequence[str]) -> Iterator[Block]:
    for numbers, rows, malformed in _json_rows(file):
        arrays = {column: _json_array([row.get(column) for row in rows]) for column in columns}
        yield Block(np.array(numbers, np.int64), arrays, malformed)


def _json_rows(file: TableFile) -> Iterator[tuple[list[int], list[dict[str, Any]], list[BadRow]]]:
    """Yields the objects of about _BLOCK_BYTES of lines at a time, their row numbers, and the lines that are none.

    Empty lines are rows without a value, as in a CSV file.
    """
    first, rest, at_end = 1, b"", False
    with _open(file) as stream:
        while not at_end:
            chunk = bytes(stream.read(_BLOCK_BYTES))
            at_end = not chunk
            rest += chunk
            end = len(rest) if at_end else rest.rfind(b"\n") + 1
            if not end:
                if len(rest) > _LONGEST_VALUE:
                    raise InputError(f"{file.path}: row {first} has no end: write one JSON object a line")
                continue
            lines = rest[:end].removesuffix(b"\n").split(b"\n")
            numbers, rows, malformed = [], [], []
            for number, line in enumerate(lines, first):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors="mark_not_utf8").strip()
                if number == 1 and text.startswith("["):
                    raise InputError(f"{file.path} is one JSON array: write its objects one a line (JSON lines)")
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
        row = json.loads(text, parse_int=str, parse_float=str, parse_constant=lambda _: None)
        if "\\ud" in text.lower():  # perhaps half of a character, which no UTF-8 text can hold
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return {}, "not UTF-8"
    except (ValueError, RecursionError):
        return {}, "not UTF-8" if NOT_UTF8 in text else "not JSON"
    if not isinstance(row, dict):
        return {}, "not a JSON object"
    nested = [name for name, value in row.items() if isinstance(value, dict)]
    return row, f"{nested[0]} is a JSON object" if nested else ""


def _json_array(values: list[Any]) -> pa.Array:
    """Returns text, or lists of text where there is a list; numbers are as they stand in the file."""
    if any(isinstance(value, list) for value in values):
        lists = [value if isinstance(value, list) or value is None else [value] for value in values]
        return pa.array([value and [_json_text(part) for part in value] for value in lists], pa.list_(pa.string()))
    return pa.array([_json_text(value) for value in values], pa.string())


def _json_text(value: Any) -> Optional[str]:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


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


def _read_parquet(file: TableFile, columns: Sequence[str], part: int) -> Iterator[Block]:
    with FileSystems.open(file.path, compression_type=CompressionTypes.UNCOMPRESSED) as source:
        table = pq.ParquetFile(pa.PythonFile(source, mode="r"))
        first = 1 + sum(table.metadata.row_group(group).num_rows for group in range(part))
        for batch in table.iter_batches(batch_size=_BATCH_ROWS, row_groups=[part], columns=list(columns)):
            rows = np.arange(first, first + batch.num_rows, dtype=np.int64)
            first += batch.num_rows
            yield Block(rows, {column: batch.column(batch.schema.get_field_index(column)) for column in columns})


def _read_tfrecord(file: TableFile, columns: Sequence[str]) -> Iterator[Block]:
    first = 1
    for batch in _record_batches(file, columns):
        rows = np.arange(first, first + batch.num_rows, dtype=np.int64)
        first += batch.num_rows
        names = batch.schema.names
        arrays = {
            column: _marked(batch.column(names.index(column))) if column in names else pa.nulls(batch.num_rows)
            for column in columns
        }
        yield Block(rows, arrays)


def _record_batches(file: TableFile, columns: Optional[Sequence[str]]) -> Iterator[pa.RecordBatch]:
    """Yields the tf.Examples of a TFRecord file with a list column a feature, its type as found in the batch."""
    import tensorflow as tf  # only this format needs it, and it takes seconds
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    compression = {None: "", "gzip": "GZIP"}.get(_compression(file.path))
    if compression is None:
        raise InputError(f"{file.path}: TFRecord files may be compressed with gzip only")
    decoder = ExamplesToRecordBatchDecoder()
    try:
        for records in tf.data.TFRecordDataset(file.path, compression).batch(_BATCH_ROWS // 8).as_numpy_iterator():
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
