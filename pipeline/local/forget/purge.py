"""Takes users out of files: rows and records of theirs go, and words are written anew without their ids.

Each file is replaced by rename, so that a kill leaves the old one or the new one.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import gzip
import io
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.local.forget import search
from pipeline.local.forget.search import Ids
from serving.files import replacing


def purge(ids: Ids, path: Path) -> bool:
    """Takes users out of a file of rows or records, if it is of a kind that this can be done with.

    Args:
        ids: Of the users.
        path: A file that holds some.

    Returns:
        Whether it holds none now: False of a file of another kind, of one that is damaged, and of one that a process is
        writing, such as the newest of a log of answers.
    """
    try:
        return _purge(ids, path) and not search.holds(ids, path)
    except Exception as error:  # half a dozen libraries' own
        logging.getLogger(__name__).warning("%s can't be written anew: %s", path, error)
        return False


def _purge(ids: Ids, path: Path) -> bool:
    """Writes a file anew; returns False for one of another kind, or that is being written."""
    with open(path, "rb") as file:
        head = file.read(512)
        file.seek(0)
        is_zipped = head.startswith(b"\x1f\x8b")
        if is_zipped:
            with gzip.GzipFile(fileobj=file) as inner:
                stream = io.BufferedReader(inner)  # type: ignore[arg-type]
                is_records = search.are_records(stream)
                head = stream.read(512)
        else:
            is_records = not search.is_text(head) and search.are_records(file)
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    opened = gzip.open if is_zipped else open
    if is_records:
        _purge_records(ids, path, is_zipped)
    elif head.startswith(b"PAR1"):
        _purge_table(ids, path)
    elif path.suffixes[-2:] == [".jsonl", ".part"] and _is_written(path):
        return False
    elif ".jsonl" in suffixes[-2:]:
        _keep_lines(path, lambda line: not search.line_holds(ids, line), opened)
    elif suffixes[-1:] in ([".csv"], [".tsv"]):
        _purge_rows(ids, path, "\t" if suffixes[-1] == ".tsv" else ",", opened)
    elif path.suffix == ".json" and head[:1] in (b"{", b"["):
        _purge_document(ids, path)
    else:
        return False
    return True


def rename_lines(ids: Ids, path: Path) -> None:
    """Gives the users other names in a file with an id a line, such as a vocabulary, so that no line gets another
    number."""

    def renamed(line: bytes) -> bytes:
        return f"forgotten-{secrets.token_hex(8)}".encode() if ids.is_one(line, of_user=True) else line

    with open(path, "rb") as old, replacing(path, "wb") as new:
        new.write(b"\n".join(map(renamed, old.read().split(b"\n"))))


def without(ids: Ids, value: Any, name: str = "") -> Any:
    """A document without the ids: an empty text for a value, none of a key, and words that name nobody; `name` is as
    for `search.json_holds`."""
    of_user = search.tells_of_users(name)
    if isinstance(value, dict):
        return {
            key: without(ids, each, search.telling(name, key))
            for key, each in value.items()
            if not ids.is_one(key, of_user) and not search.number_is_one(ids, key, each)
        }
    if isinstance(value, list):
        return [without(ids, each, name) for each in value]
    if isinstance(value, str) and ids.in_value(value, name):
        return "" if ids.is_one(value, of_user) else ids.without(value)
    return value


def _purge_records(ids: Ids, path: Path, zipped: bool) -> None:
    import tensorflow as tf  # seconds

    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with (
            gzip.open(path) if zipped else open(path, "rb") as old,
            tf.io.TFRecordWriter(str(temporary), "GZIP" if zipped else "") as new,
        ):
            for record in search.records(old):  # type: ignore[arg-type]
                if not search.record_holds(ids, record):
                    new.write(record)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def _purge_table(ids: Ids, path: Path) -> None:
    old = pq.ParquetFile(path)
    with replacing(path, "wb") as new, pq.ParquetWriter(new, old.schema_arrow) as writer:
        for batch in old.iter_batches():
            table = pa.Table.from_batches([batch])
            writer.write_table(table.filter(pa.array(~search.table_holds(ids, table))))


def _keep_lines(path: Path, keeps: Callable[[bytes], bool], opened: Callable[..., Any]) -> None:
    with opened(path, "rb") as old, _packed(path, opened) as new:
        new.writelines(line for line in old if keeps(line))


def _purge_rows(ids: Ids, path: Path, delimiter: str, opened: Callable[..., Any]) -> None:
    with (
        opened(path, "rt", encoding="utf-8", errors="surrogateescape", newline="") as old,
        _packed(path, opened) as new,
    ):
        rows = csv.reader(old, delimiter=delimiter)
        names = next(rows, [])
        text = io.TextIOWrapper(new, "utf-8", "surrogateescape", newline="")
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(row for row in rows if not search.row_holds(ids, names, row))
        text.flush()
        text.detach()


@contextlib.contextmanager
def _packed(path: Path, opened: Callable[..., Any]) -> Iterator[Any]:
    """Lends a file that takes the place of another one, packed as that is."""
    with replacing(path, "wb") as new:
        if opened is open:
            yield new
        else:
            with opened(new, "wb") as packed:
                yield packed


def _purge_document(ids: Ids, path: Path) -> None:
    with contextlib.suppress(ValueError):
        content = json.loads(path.read_text("utf-8"))
        with replacing(path) as file:
            json.dump(without(ids, content), file, indent=2, ensure_ascii=False)


def _is_written(path: Path) -> bool:
    """Whether a process holds the lock of a file of answers, see `serving.client.answer_log`."""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
