"""What is written: layouts of answers as tables, and files of them as CSV, Parquet or TFRecord.

A file is written in parts, one for each shard of the users, which are then put together or stay a folder of files.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Optional, Union, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.errors import InputError
from components.examples import writing
from pipeline.batch.answers import Answers, Columns
from serving.files import replacing
from serving.stores import AnyPath, ObjectPath, as_path, opened

Format = Literal["csv", "parquet", "tfrecord"]
Layout = Literal["wide", "long"]
FORMATS: tuple[Format, ...] = get_args(Format)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
_ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
}
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # with one slash too: all that is left of gs://bucket as a Path
_WHOLE = "_SUCCESS"
_COPIED = 1 << 24
"""Bytes that are copied at a time."""


@dataclass(frozen=True)
class Output:
    """Where answers go, and as what."""

    path: Path
    format: Format
    layout: Layout
    """Of TFRecords, which have an Example a user, always long."""
    folder: bool
    """Whether it is a folder with a file for each shard, not one file."""
    store: Optional[ObjectPath] = None
    """Where it goes, if that is in an object store; the path is then that of the work here."""

    @property
    def place(self) -> AnyPath:
        """Where it is in the end."""
        return self.store or self.path


def output_of(out: Union[str, Path], file_format: Optional[str] = None, layout: Optional[str] = None) -> Output:
    """Says what a path, and what is asked beside it, mean.

    Args:
        out: A file; or, without an ending, a folder of files; on disk or in an object store.
        file_format: One of `FORMATS`; by default the path's ending says it.
        layout: One of `LAYOUTS`; by default wide for CSV, else long.

    Raises:
        InputError: They don't fit together, or something else is there already.
    """
    place = as_path(out)
    store = place if isinstance(place, ObjectPath) else None
    path = Path(place.name) if isinstance(place, ObjectPath) else place
    if store is None:
        check_local(path)
    if file_format not in (None, *FORMATS):
        raise InputError(f"--format {file_format}: it is {', '.join(FORMATS)}")
    if layout not in (None, *LAYOUTS):
        raise InputError(f"--layout {layout}: it is {' or '.join(LAYOUTS)}")
    told = _ENDINGS.get(path.suffix.lower())
    if told and file_format and told != file_format:
        raise InputError(f"--out {path}: its ending says {told}, --format says {file_format}")
    chosen = file_format or told
    if chosen is None:
        raise InputError(
            f"--out {path}: which format? End it in {', '.join(_ENDINGS)}, or give --format; a name without an ending "
            "is a folder of files"
        )
    if chosen == "tfrecord" and layout is not None:
        raise InputError("--layout: TFRecords have one layout, an Example a user")
    folder = not path.suffix
    if store is not None:
        if folder and not all(map(_is_part, store.files())):
            raise InputError(f"--out {store}: there is what `recommender batch` didn't write; name another folder")
    elif path.is_dir() and not folder:
        raise InputError(f"--out {path}: is a folder; name a file in it, or a folder without an ending")
    elif folder and path.exists() and not (path.is_dir() and _only_parts(path)):
        raise InputError(f"--out {path}: is there, and is no folder that `recommender batch` wrote; name another one")
    default: Layout = "wide" if chosen == "csv" else "long"
    return Output(path, chosen, layout or default, folder, store)  # type: ignore[arg-type]  # checked above


def put(output: Output, written: Path) -> None:
    """Takes what was written to the object store; a folder is whole when it has the file `_SUCCESS`, which comes last.

    Args:
        output: Where it goes.
        written: The file, or the folder of parts.

    Raises:
        StoreError: The store can't be written.
    """
    assert output.store is not None
    with opened(output.store.uri) as (store, path):
        if not output.folder:
            store.put_file(str(written), path)
            return
        mark = output.store / _WHOLE
        mark.unlink()
        parts = sorted(part.name for part in written.iterdir())
        for name in parts:
            store.put_file(str(written / name), f"{path}/{name}")
        for name in output.store.files().keys() - set(parts):  # of an earlier one
            (output.store / name).unlink()
        mark.write_bytes(b"")


def check_local(path: Path) -> None:
    """Refuses a place of which nothing can appear by rename.

    Raises:
        InputError: It is a URI of an object store.
    """
    if _URI.match(str(path)):
        raise InputError(f"--out {path}: files appear by rename, so it must be local or mounted; copy them from there")


def part_name(number: int, count: int, file_format: Format) -> str:
    """Returns the name of a shard's file."""
    return f"part-{number:05}-of-{count:05}.{file_format}"


def unwritable(path: AnyPath, error: OSError, kept: bool = True) -> InputError:
    """What to say where a file can't be written; `kept` is whether the next run goes on with what is done."""
    rest = ": what is done is kept" if kept else ""
    return InputError(
        f"{path}: can't be written: {error.strerror or error}; make room or name another --out, and run it again{rest}"
    )


def long_table(answers: Answers, found: Columns, version: str) -> pa.Table:
    """Returns a row for each user and item, V in all: user_id, rank (from 1), item_id, title, score, source, version;
    of audiences item_id, title, rank, user_id, score, version.

    Texts are dictionary-encoded; padding has no row.

    Args:
        answers: Lists of rows.
        found: What rows these are.
        version: What the lists say of the model.
    """
    who, place = np.nonzero(answers.rows >= 0)
    row = pa.array(answers.rows[who, place])
    asked = pa.array(who.astype(np.int32))
    columns: dict[str, pa.Array] = {
        **{name: pa.DictionaryArray.from_arrays(asked, values) for name, values in answers.asked.items()},
        "rank": pa.array((place + 1).astype(np.int32)),
        **{name: pa.DictionaryArray.from_arrays(row, values) for name, values in found.items()},
        "score": pa.array(answers.scores[who, place]),
    }
    if answers.sources is not None:
        columns["source"] = answers.sources.dictionary_encode().take(asked)
    columns["version"] = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(who), np.int32)), pa.array([version]))
    return pa.table(columns)


def wide_table(answers: Answers, found: Columns) -> pa.Table:
    """Returns a row for each user, or item: its id, and top1, top2 … topk, null where fewer were found."""
    name, asked = _first(answers.asked)
    columns: dict[str, pa.Array] = {name: asked}
    for place in range(answers.rows.shape[1]):
        rows = answers.rows[:, place]
        columns[f"top{place + 1}"] = pa.DictionaryArray.from_arrays(pa.array(rows, mask=rows < 0), _first(found)[1])
    return pa.table(columns)


def examples(answers: Answers, found: Columns, version: str) -> list[bytes]:
    """Returns a serialized tf.Example for each user: user_id, item_id, title and score (lists, best first), source and
    version; of audiences for each item: item_id, title, user_id and score (lists), version."""
    there = answers.rows >= 0
    row = pa.array(answers.rows[there])
    offsets = pa.array(np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32))

    def lists(values: pa.Array) -> pa.ListArray:
        return pa.ListArray.from_arrays(offsets, values)

    return writing.serialize(
        {
            **answers.asked,
            **{name: lists(pa.DictionaryArray.from_arrays(row, values)) for name, values in found.items()},
            "score": lists(pa.array(answers.scores[there])),
            **({} if answers.sources is None else {"source": answers.sources}),
            "version": pa.array([version] * len(there)),
        }
    )


def write_part(path: Path, output: Output, answers: Answers, found: Columns, version: str) -> None:
    """Writes a shard's answers to a file that appears whole or not at all, and is on the disk by then."""
    wide = output.layout == "wide"
    with replacing(path, "wb") as file:
        if output.format == "tfrecord":
            _write_records(file.name, examples(answers, found, version))
        elif output.format == "parquet":
            pq.write_table(wide_table(answers, found) if wide else long_table(answers, found, version), file)
        else:
            write_lines(file, wide_lines(answers, found) if wide else long_lines(answers, found, version))


def put_together(parts: Sequence[Path], output: Output, path: Path) -> None:
    """Makes one file of the shards' files, in their order."""
    with open(path, "wb") as file:
        if output.format == "parquet":
            schema = pq.read_schema(str(parts[0]))
            with pq.ParquetWriter(file, schema) as writer:
                for part in parts:
                    writer.write_table(pq.ParquetFile(str(part)).read())
        else:
            for number, part in enumerate(parts):
                with open(part, "rb") as content:
                    if number and output.format == "csv":
                        content.readline()  # the header, in which nothing has a line break
                    shutil.copyfileobj(content, file, _COPIED)
    _flush(path)


def wide_lines(answers: Answers, found: Columns) -> Iterator[pa.Array]:
    """Yields `wide_table` as lines of CSV, the header first."""
    count, k = answers.rows.shape
    name, asked = _first(answers.asked)
    names = [name, *(f"top{place}" for place in range(1, k + 1))]
    yield pa.array([",".join(names)], pa.large_string())
    flat = answers.rows.reshape(-1)
    # Joined a list at a time: a column at a time takes seventy times as long.
    ids = pc.fill_null(_quoted(_first(found)[1]).take(pa.array(flat, mask=flat < 0)), "")
    offsets = pa.array(np.arange(count + 1, dtype=np.int64) * k)
    tops = pc.binary_join(pa.LargeListArray.from_arrays(offsets, ids), _text(","))
    yield pc.binary_join_element_wise(_quoted(asked), tops, _text(","))


def long_lines(answers: Answers, found: Columns, version: str) -> Iterator[pa.Array]:
    """Yields `long_table` as lines of CSV, the header first."""
    table = long_table(answers, found, version)
    yield pa.array([",".join(table.column_names)], pa.large_string())
    yield pc.binary_join_element_wise(*(_texts(column.combine_chunks()) for column in table.columns), _text(","))


def write_lines(file: IO[bytes], lines: Iterable[pa.Array]) -> None:
    """Writes arrays of lines (large_string, without null), a line feed after each."""
    for some in lines:
        ended = pc.binary_join_element_wise(some, _text(""), _text("\n"))
        offsets = np.frombuffer(ended.buffers()[1], np.int64)[ended.offset : ended.offset + len(ended) + 1]
        if len(ended):
            file.write(memoryview(ended.buffers()[2])[offsets[0] : offsets[-1]])


def _first(columns: Columns) -> tuple[str, pa.StringArray]:
    """The column by which the others are called, and its name."""
    return next(iter(columns.items()))


def _texts(array: pa.Array) -> pa.Array:
    """A column of texts or numbers as CSV has it, large_string."""
    if pa.types.is_dictionary(array.type):
        return _quoted(array.dictionary).take(array.indices)  # once for each distinct text
    return array.cast(pa.large_string())


def _quoted(texts: pa.Array) -> pa.Array:
    """Texts as CSV has them, large_string: quoted only where they must be. Arrow's own writer quotes all or none."""
    texts = texts.cast(pa.large_string())
    special = pc.match_substring_regex(texts, '[,"\r\n]')
    if not pc.any(special).as_py():
        return texts
    doubled = pc.replace_substring(texts, '"', '""')
    return pc.if_else(special, pc.binary_join_element_wise(_text('"'), doubled, _text('"'), _text("")), texts)


def _text(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())


def _write_records(path: str, serialized: list[bytes]) -> None:
    import tensorflow as tf  # seconds; the rest is used without it

    try:
        with tf.io.TFRecordWriter(path) as writer:
            for record in serialized:
                writer.write(record)
    except tf.errors.OpError as error:
        raise OSError(error.message) from None


def _flush(path: Path) -> None:
    """Waits until a file is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _only_parts(folder: Path) -> bool:
    return all(_is_part(entry.name) for entry in folder.iterdir())


def _is_part(name: str) -> bool:
    return name == _WHOLE or ("/" not in name and name.startswith("part-"))
