"""Vectors that are given: in a column of a table, as lists or as text, or as the rows of a `.npy` file beside ids."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components import stores
from components.errors import InputError
from components.tables import reading
from components.tables.columns import as_numbers, as_text, plain
from components.tables.features import ItemFeature
from components.tables.formats import TableSettings

_BRACKETS = " \t\r\n[](){}"
_BETWEEN = r"[\s,;|]+"
_BETWEEN_WHERE_COMMAS_ARE_DECIMAL = r"[\s;|]+"
_PIECE = 8_192
_NAMED = 5
_LINES = (".txt", ".ids", ".lst")
_PLAIN = TableSettings()


def numbers(array: pa.Array, name: str, how: TableSettings = _PLAIN) -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers of a column of vectors, float64 [V] with NaN for what is none, and how many each row has,
    int64 [n].

    Args:
        array: [n] lists of numbers or of their text, of any length or of one, or text such as "[0.1, 0.2]", "0.1 0.2"
            or "0.1,0.2".
        name: The column's name, for messages.
        how: How numbers are written in text.

    Raises:
        InputError: The column's type is another.
    """
    array = plain(array)
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        text = pc.utf8_trim(as_text(array, name), characters=_BRACKETS)
        text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
        between = _BETWEEN if how.decimal == "." else _BETWEEN_WHERE_COMMAS_ARE_DECIMAL
        array = pc.split_pattern_regex(text, between)
    elif not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)) or (
        pa.types.is_nested(kind.value_type)
    ):
        raise InputError(f"column {name!r} is of type {kind} where vectors are needed: lists of numbers, or their text")
    there = np.asarray(pc.is_valid(array))
    lengths = np.zeros(len(array), np.int64)
    filled = array.drop_null()
    size = pa.types.is_fixed_size_list(kind) and kind.list_size
    lengths[there] = size or pc.list_value_length(filled).to_numpy(zero_copy_only=False)
    values = filled.flatten()
    if pa.types.is_float16(values.type):  # older Arrow can't cast them
        values = pa.array(values.to_numpy(zero_copy_only=False).astype(np.float32))
    found, _, bad = as_numbers(values, name, how)
    return np.where(bad, np.nan, found), lengths


def common_length(lengths: np.ndarray) -> Optional[int]:
    """Returns the length that most rows have, the shortest of several; None where no row has any.

    >>> common_length(np.array([3, 0, 4, 3, 0, 0]))
    3
    """
    lengths = lengths[lengths > 0]
    return int(np.bincount(lengths).argmax()) if len(lengths) else None


def as_vectors(
    array: pa.Array, dim: int, name: str, how: TableSettings = _PLAIN
) -> tuple[pa.FixedSizeListArray, dict[str, np.ndarray]]:
    """Returns vectors [n] of `dim` float32, of length 1, null where there is none; and by reason which rows are wrong,
    bool [n].

    No numbers at all and zeros alone are no vector.

    Args:
        array: A column as `numbers` takes it.
        dim: How many numbers a vector has.
        name: The column's name, for messages.
        how: How numbers are written in text.

    Raises:
        InputError: The column's type is another.
    """
    found = np.zeros((len(array), dim), np.float32)
    misfit, wrong = np.zeros(len(array), bool), np.zeros(len(array), bool)
    for first in range(0, len(array), _PIECE):  # what it takes on the way is several times as large
        part = slice(first, first + _PIECE)
        values, lengths = numbers(array[part], name, how)
        starts = np.cumsum(lengths) - lengths
        fits = np.flatnonzero(lengths == dim)
        rows = values[starts[fits][:, np.newaxis] + np.arange(dim)]
        finite = np.isfinite(rows).all(axis=1)
        found[first + fits[finite]] = unit(rows[finite])
        misfit[part] = (lengths > 0) & (lengths != dim)
        wrong[first + fits[~finite]] = True
    missing = pa.array(~found.any(axis=1))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1)), dim)
    return pc.if_else(missing, pa.scalar(None, vectors.type), vectors), {
        f"{name} has not {dim} numbers (see dim)": misfit,
        f"{name} holds what is no finite number": wrong,
    }


def unit(values: np.ndarray) -> np.ndarray:
    """Returns rows [n, E] of finite numbers at length 1, float32; zeros stay zeros."""
    values = values.astype(np.float64)
    largest = np.abs(values).max(axis=1, keepdims=True, initial=0)  # squares of large numbers are infinite
    values /= np.where(largest > 0, largest, 1)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return (values / np.where(length > 0, length, 1)).astype(np.float32)


@dataclass(frozen=True)
class Matrix:
    """The rows of a `.npy` file and whose they are."""

    values: np.ndarray
    """[N, E] of any kind of number, memory-mapped."""
    ids: pa.StringArray
    """[N], each once."""
    path: str
    ids_path: str

    def check(self, most_bytes: Optional[int] = None) -> None:
        """Raises an InputError that names the first row with something else than a finite number.

        Args:
            most_bytes: About how much of the file to look at; by default at all of it.
        """
        rows = len(self.values) if most_bytes is None else most_bytes // self.values[0].nbytes
        for first in range(0, min(rows, len(self.values)), _PIECE):
            bad = ~np.isfinite(self.values[first : first + _PIECE])
            if bad.any():
                row, place = (int(each) for each in np.argwhere(bad)[0])
                raise InputError(
                    f"{self.path}: row {first + row + 1}, of {self.ids[first + row].as_py()!r}, holds "
                    f"{self.values[first + row, place]}, which is no finite number: mend it, or leave the row and its "
                    "id out"
                )

    def of(self, items: pa.StringArray) -> "Placed":
        """Returns the vectors of some items [n].

        Raises:
            InputError: None of them has one.
        """
        rows = pc.fill_null(pc.index_in(items, value_set=self.ids), -1).to_numpy(zero_copy_only=False)
        if len(items) and (rows < 0).all():
            raise InputError(
                f"{self.ids_path}: none of its {len(self.ids):,} ids is an item: they are such as {_some(self.ids)}, "
                f"and the items such as {_some(items)}"
            )
        return Placed(self, rows.astype(np.int64))


@dataclass(frozen=True)
class Placed:
    """Vectors of items in the items' order."""

    matrix: Matrix
    rows: np.ndarray
    """[n] int64, the row of each item in the matrix; -1 where it has none."""

    def take(self, first: int, end: int) -> np.ndarray:
        """Returns the vectors of the items from `first` to before `end` at length 1, float32 [m, E]; zeros for those
        without one."""
        rows = self.rows[first:end]
        found = np.zeros((len(rows), self.matrix.values.shape[1]), np.float32)
        there = rows >= 0
        found[there] = unit(self.matrix.values[rows[there]])
        return found

    def lacking(self, name: str) -> str:
        """Returns what is to be said of a feature of that name: which items have no vector, which vectors no item."""
        missing = int((self.rows < 0).sum())
        return lacking(name, len(self.rows), missing, len(self.matrix.values) - (len(self.rows) - missing))


def lacking(name: str, items: int, missing: int, unknown: int = 0) -> str:
    """Returns what is to be said of given vectors, "" where each item has one and each vector an item.

    >>> lacking("look", items=1200, missing=3, unknown=1)
    'look: no vector of 3 of 1,200 items, vectors of 1 id that is no item'

    Args:
        name: The feature.
        items: How many items there are.
        missing: How many of them have no vector.
        unknown: How many vectors are of no item.
    """
    parts = [f"no vector of {missing:,} of {items:,} items"] * bool(missing)
    some = "1 id that is no item" if unknown == 1 else f"{unknown:,} ids that are no items"
    parts += [f"vectors of {some}"] * bool(unknown)
    return f"{name}: {', '.join(parts)}" if parts else ""


@contextlib.contextmanager
def opened(feature: ItemFeature, item_id: str) -> Iterator[Matrix]:
    """Lends the matrix of a feature with a `path`; what lies in an object store is copied here for as long.

    Args:
        feature: Where the files are, and how long the vectors, if that is known.
        item_id: The column of the ids in a table that has several, unless the feature names it.

    Raises:
        InputError: A file can't be read, or they don't fit each other or `dim`.
    """
    path, ids, dim = feature.path, feature.ids, feature.dim
    assert path is not None  # what such a feature is
    assert ids is not None
    with stores.on_disk(path) as local:
        values = _loaded(local, path)
        if values.ndim != 2 or values.dtype.kind not in "fiu":
            raise InputError(
                f"{path} is an array of shape {values.shape} and type {values.dtype}, where rows of numbers are needed"
            )
        if not values.size:
            raise InputError(f"{path} is an array of shape {values.shape}: there is nothing in it")
        if dim is not None and values.shape[1] != dim:
            raise InputError(f"{path} has vectors of {values.shape[1]:,} numbers, but dim is {dim:,}")
        found, rows = _read_ids(ids, feature.column or item_id)
        if len(found) != len(values):
            hint = ""
            if _is_lines(ids) and len(found) == len(values) + 1:
                hint = "; has it a header? Then call it .csv"
            elif ids.lower().endswith(".csv") and len(found) == len(values) - 1:
                hint = "; has it no header? Then call it .txt"
            raise InputError(f"{path} has {len(values):,} rows, but {ids} has {len(found):,} ids{hint}")
        _check_ids(found, rows, ids)
        yield Matrix(values, found, path, ids)


def shape(path: str) -> tuple[int, ...]:
    """Returns the shape of the array in a `.npy` file.

    Raises:
        InputError: It can't be read.
    """
    with stores.on_disk(path) as local:
        return tuple(_loaded(local, path).shape)


def _loaded(local: str, path: str) -> np.ndarray:
    try:
        return np.lib.format.open_memmap(local, mode="r")
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (OSError, ValueError, EOFError) as error:
        hint = ""
        if "Python objects" in str(error):
            hint = ": save numbers, or ids as text (ids.astype(str))"
        elif path.endswith(".npz"):
            hint = ": save the one array that is meant by np.save"
        raise InputError(f"{path} can't be read as .npy: {str(error).splitlines()[0]}{hint}") from error


def _is_lines(path: str) -> bool:
    return path.lower().endswith(_LINES)


def _read_ids(path: str, column: str) -> tuple[pa.StringArray, np.ndarray]:
    """Returns the ids [N] of a file, null where one is missing, and where they stand in it, int64 [N]."""
    if path.lower().endswith(".npy"):
        with stores.on_disk(path) as local:
            found = np.array(_loaded(local, path))
        if found.ndim != 1 or found.dtype.kind not in "USiu":
            raise InputError(
                f"{path} is an array of shape {found.shape} and type {found.dtype}, where a list of ids is needed"
            )
        try:
            texts = (
                found.astype("U").tolist() if found.dtype.kind != "S" else [each.decode() for each in found.tolist()]
            )
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: its ids are bytes that are not UTF-8 ({error}): save them as text") from None
        return _without_empty(pa.array(texts, pa.string())), np.arange(1, len(texts) + 1)
    [file, *others] = reading.find_files(path, "csv" if _is_lines(path) else "auto", "ids")
    if others:
        raise InputError(f"{path} are {len(others) + 1} files, where one with the ids is needed")
    if _is_lines(path):
        return _lines(file)
    names = reading.column_names(file, _PLAIN)
    if len(names) == 1:
        column = names[0]
    reading.check_columns(file, [column], _PLAIN)
    blocks = [block for part in reading.parts(file) for block in reading.read_blocks(file, [column], _PLAIN, part)]
    for block in blocks:
        for bad in block.malformed:
            raise InputError(f"{path}, row {bad.row}: {bad.reason}")
    if not blocks:
        raise InputError(f"{path}: there are no rows")
    ids = pa.concat_arrays([as_text(block.columns[column], column) for block in blocks])
    return ids, np.concatenate([block.rows for block in blocks])


def _lines(file: reading.TableFile) -> tuple[pa.StringArray, np.ndarray]:
    try:
        with stores.open_binary(file.path) as source:
            text = source.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file.path} is not UTF-8: {error}") from None
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    return _without_empty(pa.array(lines, pa.string())), np.arange(1, len(lines) + 1)


def _without_empty(texts: pa.StringArray) -> pa.StringArray:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _check_ids(ids: pa.StringArray, rows: np.ndarray, path: str) -> None:
    """Raises an InputError where an id is missing or there more than once."""
    if ids.null_count:
        raise InputError(f"{path}, row {rows[np.asarray(pc.is_null(ids)).argmax()]}: there is no id")
    counts = pc.value_counts(ids)
    again = counts.field(0).filter(pc.greater(counts.field(1), 1))
    if len(again):
        named = [
            f"{item!r} (rows {', '.join(map(str, rows[np.asarray(pc.equal(ids, item))][:_NAMED]))})"
            for item in again.to_pylist()[:_NAMED]
        ]
        more = f" and {len(again) - len(named):,} more" if len(again) > len(named) else ""
        raise InputError(f"{path}: ids must be unique, but are there more than once: {', '.join(named)}{more}")


def _some(ids: pa.Array) -> str:
    return ", ".join(map(repr, ids[:_NAMED].to_pylist()))
