"""The files of vectors: written and read a batch at a time, so that no number of users is held in memory."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.errors import InputError
from pipeline.batch.outputs import check_local
from serving.files import replacing, write_atomically
from serving.stores import AnyPath, ObjectPath, opened

Format = Literal["parquet", "npy"]
FORMATS: tuple[Format, ...] = get_args(Format)
ITEMS, USERS, BIAS, MANIFEST = "items", "users", "item_bias", "manifest.json"
_READ = 16_384
"""Rows that are read at a time."""


class Vectors(NamedTuple):
    """B items or users."""

    ids: list[bytes]
    """[B]."""
    vectors: np.ndarray
    """[B, W] float32."""
    bias: Optional[np.ndarray]
    """[B] float32; None of users, and where the bias is a part of the vector."""


def check_output(folder: AnyPath) -> None:
    """Makes sure that a folder of vectors can stand there.

    Raises:
        InputError: It is a URI of no store that is known, or something else is there.
        StoreError: The store can't be asked.
    """
    if isinstance(folder, ObjectPath):
        names = set(folder.files())
    else:
        check_local(folder)
        if not folder.exists():
            return
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    ours = {name for file_format in FORMATS for kind in (ITEMS, USERS) for name in file_names(kind, file_format)}
    # In a store the manifest comes last, and a killed one may lack it.
    if names - ours - {MANIFEST} or (names and MANIFEST not in names and isinstance(folder, Path)):
        raise InputError(
            f"--out {folder}: is there, and is no folder that `recommender vectors` wrote; name another one"
        )


def file_names(kind: str, file_format: Format, bias: bool = True) -> list[str]:
    """Names of the files of items or users; `bias` is whether items have one of their own."""
    if file_format == "parquet":
        return [f"{kind}.parquet"]
    return [f"{kind}.npy", f"{kind}.txt", *([f"{BIAS}.npy"] if bias and kind == ITEMS else [])]


def write_vectors(folder: Path, kind: str, file_format: Format, batches: Iterable[Vectors], count: int) -> None:
    """Writes the vectors of items or users; each file is flushed to disk.

    Parquet has the columns `id` (string), `vector` (fixed-size list of float32) and, if there is one, `bias` (float32).
    NPY is a matrix that can be mapped into memory, the biases likewise, and the ids a text file with one a line.

    Args:
        folder: Where to.
        kind: `ITEMS` or `USERS`.
        file_format: One of `FORMATS`.
        batches: At least one; all of the same width.
        count: How many items or users they have, together.
    """
    remaining = iter(batches)
    first = next(remaining)
    names, width = file_names(kind, file_format, first.bias is not None), first.vectors.shape[1]
    with contextlib.ExitStack() as opened:
        files = [opened.enter_context(replacing(folder / name, "wb")) for name in names]
        if file_format == "parquet":
            table = _table(first)
            # Neither ids nor numbers repeat, so dictionaries would only cost.
            writer = opened.enter_context(pq.ParquetWriter(files[0], table.schema, use_dictionary=False))
            writer.write_table(table)
            for batch in remaining:
                writer.write_table(_table(batch))
            return
        _write_header(files[0], (count, width))
        if first.bias is not None:
            _write_header(files[2], (count,))
        for batch in chain([first], remaining):
            files[0].write(_bytes(batch.vectors))
            files[1].writelines(item + b"\n" for item in batch.ids)
            if batch.bias is not None:
                files[2].write(_bytes(batch.bias))


def read_vectors(folder: Path, kind: str) -> Iterator[Vectors]:
    """Reads what `write_vectors` wrote, whichever format it has, a batch at a time."""
    parquet = folder / f"{kind}.parquet"
    if parquet.exists():
        for rows in pq.ParquetFile(str(parquet)).iter_batches(_READ):
            vectors = rows.column("vector")
            matrix = vectors.flatten().to_numpy().reshape(-1, vectors.type.list_size)
            bias = rows.column("bias").to_numpy() if "bias" in rows.schema.names else None
            yield Vectors([item.encode() for item in rows.column("id").to_pylist()], matrix, bias)
        return
    matrix = np.load(folder / f"{kind}.npy", mmap_mode="r")
    biases = np.load(folder / f"{BIAS}.npy", mmap_mode="r") if (folder / f"{BIAS}.npy").exists() else None
    with open(folder / f"{kind}.txt", "rb") as ids:
        for start in range(0, len(matrix), _READ):
            part = matrix[start : start + _READ]
            bias = biases[start : start + _READ] if biases is not None and kind == ITEMS else None
            yield Vectors([next(ids).rstrip(b"\n") for _ in part], part, bias)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes what is said of the vectors as JSON."""
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


def put_vectors(folder: Path, place: ObjectPath) -> None:
    """Takes a folder of vectors to an object store; it is whole when it has the manifest, which comes last.

    Args:
        folder: What was written.
        place: Where it goes, in the place of one from before.

    Raises:
        StoreError: The store can't be written.
    """
    (place / MANIFEST).unlink()
    names = sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)
    with opened(str(place)) as (store, path):
        for name in names:
            store.put_file(str(folder / name), f"{path}/{name}")
    for name in place.files().keys() - set(names):
        (place / name).unlink()
    (place / MANIFEST).write_bytes((folder / MANIFEST).read_bytes())


def _table(batch: Vectors) -> pa.Table:
    width = batch.vectors.shape[1]
    columns = {
        "id": pa.array(batch.ids, pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(batch.vectors), pa.float32()), width),
    }
    return pa.table(columns if batch.bias is None else {**columns, "bias": pa.array(batch.bias, pa.float32())})


def _write_header(file: Any, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})


def _bytes(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values, "<f4").tobytes()
