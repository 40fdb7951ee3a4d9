"""What the items can be filtered by, and the users, as arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from components.examples import reading
from components.examples.catalogue import CATALOGUE_SPLIT

_NONE = b"="
"""No condition. A file's line can't be empty."""
ESCAPES = ((b"\\", b"\\\\"), (b"\n", b"\\n"), (b"\r", b"\\r"))
"""A value is a line of a file, where a line break can't stand for itself."""


@dataclass(frozen=True)
class Attributes:
    """What N items can be filtered by, or users: V conditions on categories and which fulfil each, and M numbers."""

    categories: tuple[str, ...] = ()
    """Names of the features of categories."""
    numbers: tuple[str, ...] = ()
    """Names of the M features that are numbers."""
    conditions: np.ndarray = field(default_factory=lambda: np.array([_NONE], object))
    """[V] bytes, unique: `name=value`, escaped. The first stands for what no item fulfils, and for padding."""
    splits: np.ndarray = field(default_factory=lambda: np.zeros(2, np.int64))
    """[V + 1] int64: condition v is fulfilled by the items `rows[splits[v]:splits[v + 1]]`."""
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    """[P] int32, rows of items."""
    amounts: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """[M, N] float32; NaN where an item has no number."""

    def among(self, first: int, end: int) -> Attributes:
        """Those of the items of a range of rows, at rows from 0."""
        own = (self.rows >= first) & (self.rows < end)
        before = np.append(0, np.cumsum(own))
        return dataclasses.replace(
            self, splits=before[self.splits], rows=self.rows[own] - first, amounts=self.amounts[:, first:end]
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        return {name: getattr(self, name) for name in ("conditions", "splits", "rows", "amounts")}


def read_attributes(catalogue: str, types: Mapping[str, str], kept: np.ndarray | None = None) -> Attributes:
    """Reads what the items can be filtered by.

    Args:
        catalogue: URI of the catalogue's Examples.
        types: `category`, `categories` or `number` by the feature's name.
        kept: [M] bool, which of its items are the N of the index; by default all.
    """
    numbers = tuple(name for name, kind in types.items() if kind == "number")
    categories = tuple(name for name in types if name not in numbers)
    features = {**dict.fromkeys(categories, bytes), **dict.fromkeys(numbers, float)}
    if not features:
        return Attributes()
    table = reading.read_columns(catalogue, CATALOGUE_SPLIT, features)
    return _attributes(table if kept is None else table.filter(pa.array(kept)), categories, numbers)


def user_attributes(contexts: np.ndarray, types: Mapping[str, str]) -> Attributes:
    """What the N users can be filtered by.

    Args:
        contexts: [N] bytes, serialized Examples of their features.
        types: The features' types by name; texts are left out.
    """
    numbers = tuple(name for name, kind in types.items() if kind == "number")
    categories = tuple(name for name, kind in types.items() if kind in ("category", "categories"))
    features = {**dict.fromkeys(categories, bytes), **dict.fromkeys(numbers, float)}
    return _attributes(reading.decode(contexts.tolist(), features), categories, numbers) if features else Attributes()


def _attributes(table: reading.Columns, categories: tuple[str, ...], numbers: tuple[str, ...]) -> Attributes:
    conditions, rows = [_NONE], [np.zeros(0, np.int64)]
    for name in categories:
        values, offsets = reading.ragged(table, name)
        vocabulary, code = np.unique(values, return_inverse=True)
        row = np.repeat(np.arange(table.num_rows), np.diff(offsets))
        # A value twice is a value once.
        code, row = np.unique(np.stack([code.reshape(-1), row]), axis=1)
        conditions += [f"{name}=".encode() + _escaped(value) for value in vocabulary.tolist()]
        rows += np.split(row, np.searchsorted(code, np.arange(1, len(vocabulary)))) if len(vocabulary) else []
    return Attributes(
        categories,
        numbers,
        np.array(conditions, object),
        np.cumsum([0, *map(len, rows)]).astype(np.int64),
        np.concatenate(rows).astype(np.int32),
        np.array([reading.scalars(table, name, np.nan) for name in numbers], np.float32).reshape(-1, table.num_rows),
    )


def _escaped(value: bytes) -> bytes:
    for plain, escape in ESCAPES:
        value = value.replace(plain, escape)
    return value
