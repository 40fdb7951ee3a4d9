"""Reads splits of tf.Examples as Arrow columns, decoded in C++ with no Python per row.

Shared by the components that work on whole columns (Trainer, Indexer, Evaluator, ServableValidator), where Beam's
element at a time would be the cost.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Union

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.errors import InputError

Features = Mapping[str, type]
"""Feature name to its Python type: `bytes`, `int` (int64) or `float` (float32)."""

Source = Union[str, Any]
"""An Examples artifact, or its URI."""

Columns = Union[pa.Table, pa.RecordBatch]
"""What the readers here give."""

_BATCH_SIZE = 16_384
COLUMNS = ".parquet"
"""What the names of files end in that hold columns."""


def split_files(examples: Source, split: str) -> list[str]:
    """Returns the TFRecord files of `split` in the order of their names.

    Args:
        examples: an Examples artifact or its URI.
        split: the split's name, such as "eval".

    Raises:
        InputError: there is no such split.
    """
    import tensorflow as tf

    directory = os.path.join(getattr(examples, "uri", examples), f"Split-{split}")
    if not tf.io.gfile.isdir(directory):
        raise InputError(f"{directory}: no such split of examples")
    names = sorted(name for name in tf.io.gfile.listdir(directory) if not name.startswith((".", "_")))
    return [os.path.join(directory, name) for name in names]


def has_split(examples: Source, split: str) -> bool:
    """Says whether the examples have a split of this name."""
    import tensorflow as tf

    return tf.io.gfile.isdir(os.path.join(getattr(examples, "uri", examples), f"Split-{split}"))


def read_batches(
    examples: Source, split: str, features: Features, batch_size: int = _BATCH_SIZE
) -> Iterator[pa.RecordBatch]:
    """Yields the split's rows in file order as RecordBatches of at most `batch_size` rows.

    Args:
        examples: an Examples artifact or its URI.
        split: the split's name.
        features: what to decode; other features of the examples are skipped.
        batch_size: rows a batch.

    Yields:
        RecordBatches with one `large_list` column a feature, in the order of `features`; an absent feature is null.

    Raises:
        InputError: there is no such split, a file is damaged, or a feature has another type.
    """
    for file in split_files(examples, split):
        yield from read_file(file, features, batch_size)


def read_file(file: str, features: Features, batch_size: int = _BATCH_SIZE) -> Iterator[pa.RecordBatch]:
    """Yields the rows of one TFRecord file (gzip if its name ends in .gz), or of a Parquet file that
    `components.examples.writing.write_columns` wrote, as `read_batches` does."""
    if file.endswith(COLUMNS):
        yield from _read_columns_file(file, features, batch_size)
        return
    for _, columns in read_records([file], features, batch_size):
        yield columns


def _read_columns_file(file: str, features: Features, batch_size: int) -> Iterator[pa.RecordBatch]:
    """Takes a hundredth of the time that Examples take, which are parsed as a whole whatever is wanted of them."""
    import pyarrow.parquet as pq
    import tensorflow as tf

    with tf.io.gfile.GFile(file, "rb") as source:
        table = pq.ParquetFile(pa.BufferReader(source.read()))
    names = [name for name in features if name in table.schema_arrow.names]
    schema = _Decoder(features).schema
    for batch in table.iter_batches(batch_size, columns=names):
        columns = [
            _as_lists(batch.column(names.index(name)), schema.field(name).type)
            if name in names
            else pa.nulls(batch.num_rows, schema.field(name).type)
            for name in features
        ]
        yield pa.RecordBatch.from_arrays(columns, names=list(features))


def _as_lists(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column of values, or of lists of them, as lists of a type."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return column.cast(kind)
    offsets = np.zeros(len(column) + 1, np.int64)
    np.cumsum(column.is_valid().to_numpy(zero_copy_only=False), out=offsets[1:])
    return pa.LargeListArray.from_arrays(pa.array(offsets), column.drop_null().cast(kind.value_type))


def read_records(
    files: Iterable[str], features: Features, batch_size: int = _BATCH_SIZE
) -> Iterator[tuple[list[bytes], pa.RecordBatch]]:
    """Yields the rows of TFRecord files as they are, serialized, and as `read_batches` does."""
    import tensorflow as tf

    decoder = _Decoder(features)
    for file in files:
        compression = "GZIP" if file.endswith(".gz") else ""
        records = tf.data.TFRecordDataset(file, compression_type=compression, buffer_size=1 << 20).batch(batch_size)
        try:
            for batch in records.prefetch(1).as_numpy_iterator():
                serialized = batch.tolist()
                yield serialized, decoder(serialized)
        except tf.errors.DataLossError as error:
            raise InputError(f"{file}: a damaged TFRecord file: {error.message}") from error


def read_columns(examples: Source, split: str, features: Features, batch_size: int = _BATCH_SIZE) -> pa.Table:
    """Reads a whole split into memory.

    Args:
        examples: an Examples artifact or its URI.
        split: the split's name.
        features: what to decode.
        batch_size: rows a chunk of the table.

    Returns:
        A table with the columns of `features`, one row an Example in file order; no rows if the split is empty.
    """
    batches = list(read_batches(examples, split, features, batch_size))
    return pa.Table.from_batches(batches, schema=_Decoder(features).schema)


def decode(records: list[bytes], features: Features) -> pa.RecordBatch:
    """Decodes serialized tf.Examples into a RecordBatch of `features`' columns."""
    return _Decoder(features)(records)


def has_feature(table: Columns, name: str) -> bool:
    """Says whether any row has a value for the feature."""
    column = _column(table, name)
    return column.null_count < len(column)


def scalars(table: Columns, name: str, default: Any = None) -> np.ndarray:
    """Returns a feature of one value a row.

    Args:
        table: what `read_columns` or `read_batches` gave.
        name: the feature.
        default: what an absent value becomes; None means that absence is an error.

    Returns:
        [N] array of bytes (dtype object), int64 or float32.

    Raises:
        InputError: a row has no value and no default is given, or more than one.
    """
    column = _column(table, name)
    lengths = _lengths(column)
    if lengths.size and lengths.max() > 1:
        raise InputError(f"feature {name!r} has {lengths.max()} values in row {lengths.argmax()}, expected one")
    values = _values(column)
    if values.size == lengths.size:
        return values
    if default is None:
        raise InputError(f"feature {name!r} is missing in row {lengths.argmin()}")
    filled = np.full(lengths.size, default, dtype=values.dtype)
    filled[lengths == 1] = values
    return filled


def ragged(table: Columns, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns a feature of any number of values a row.

    Returns:
        `values` [V], all rows' values one after the other, and `offsets` [N+1] int64: row i has
        `values[offsets[i]:offsets[i + 1]]`.
    """
    column = _column(table, name)
    offsets = np.zeros(len(column) + 1, np.int64)
    np.cumsum(_lengths(column), out=offsets[1:])
    return _values(column), offsets


def padded(table: Columns, name: str, width: int | None = None) -> np.ndarray:
    """Returns a feature of several byte strings a row as a matrix, padded with the empty string.

    Args:
        table: what `read_columns` or `read_batches` gave.
        name: the feature.
        width: columns; a longer row loses its last values. By default the longest row's length.

    Returns:
        [N, width] array of bytes, dtype object.
    """
    values, offsets = ragged(table, name)
    return matrix(values, offsets, int(np.diff(offsets).max(initial=0)) if width is None else width, b"")


def matrix(values: np.ndarray, offsets: np.ndarray, width: int, padding: bytes | np.generic) -> np.ndarray:
    """Returns ragged rows, as `ragged` gives them, side by side, filled up with a value of their own.

    Args:
        values: [V].
        offsets: [N + 1] int64.
        width: columns; a longer row loses its last values.
        padding: what fills a shorter row.

    Returns:
        [N, width], of the padding's dtype; object for bytes.
    """
    lengths = np.diff(offsets)
    rows = np.repeat(np.arange(lengths.size), lengths)
    positions = np.arange(values.size) - np.repeat(offsets[:-1], lengths)
    kept = positions < width
    filled = np.full((lengths.size, width), padding, dtype=object if isinstance(padding, bytes) else padding.dtype)
    filled[rows[kept], positions[kept]] = values[kept]
    return filled


def distinct(ids: np.ndarray) -> tuple[list[bytes], np.ndarray]:
    """Returns the distinct ones of ids [N], as they come, and the place [N] int64 of each among them."""
    place_of: dict[bytes, int] = {}
    places = np.array([place_of.setdefault(name, len(place_of)) for name in ids.tolist()], np.int64)
    return list(place_of), places


class _Decoder:
    """Decodes serialized tf.Examples with a schema of a few features."""

    def __init__(self, features: Features):
        from tensorflow_metadata.proto.v0 import schema_pb2
        from tfx_bsl.coders import example_coder

        types = {bytes: schema_pb2.BYTES, int: schema_pb2.INT, float: schema_pb2.FLOAT}
        schema = schema_pb2.Schema()
        for name, python_type in features.items():
            schema.feature.add(name=name, type=types[python_type])
        self._decoder = example_coder.ExamplesToRecordBatchDecoder(schema.SerializeToString())
        self.schema = self._decoder.ArrowSchema()

    def __call__(self, records: list[bytes]) -> pa.RecordBatch:
        try:
            return self._decoder.DecodeBatch(records)
        except RuntimeError as error:  # what tfx_bsl raises for anything that it can't decode
            raise InputError(f"these examples can't be decoded: {error}") from error


def _column(table: Columns, name: str) -> pa.Array:
    column = table.column(table.schema.get_field_index(name))
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _lengths(column: pa.Array) -> np.ndarray:
    return pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)


def _values(column: pa.Array) -> np.ndarray:
    values = column.flatten()
    if not (pa.types.is_large_binary(values.type) or pa.types.is_binary(values.type)):
        return values.to_numpy(zero_copy_only=False)
    # One Python object an id, not one an occurrence: less memory and several times faster.
    encoded = values.dictionary_encode()
    return encoded.dictionary.to_numpy(zero_copy_only=False)[encoded.indices.to_numpy(zero_copy_only=False)]
