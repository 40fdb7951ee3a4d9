"""The items of the catalogue as the Evaluator counts them: ids, training events, feature vectors."""

from __future__ import annotations

import dataclasses
import functools
import os
import pickle
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from components.evaluator.baselines.base import TrainingEvents
from components.examples import reading
from components.examples.catalogue import CATALOGUE_SPLIT

_FILE = "items.pickle"
_HEAD, _MIDDLE = 0.1, 0.5
_BANDS = np.array([b"head", b"mid", b"tail", b"new"], dtype=object)


@dataclasses.dataclass(frozen=True)
class Items:
    """N items: those with training events, ordered and numbered as the baselines have them, then the rest."""

    ids: np.ndarray
    """[N] bytes, dtype object."""
    events: np.ndarray
    """[N] int64, training events."""
    features: sparse.csr_array | None
    """[N, F] float32: which categories an item has, scaled to length 1; zeros for an item without. None without any."""

    @property
    def num_trained(self) -> int:
        """How many items have training events."""
        return int(np.count_nonzero(self.events))

    @functools.cached_property
    def _row_of(self) -> dict[bytes, int]:
        return {item: row for row, item in enumerate(self.ids)}

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Returns the rows of ids of any shape, int32; -1 for what is no item of the catalogue."""
        row_of = self._row_of
        return np.array([row_of.get(item, -1) for item in ids.ravel().tolist()], np.int32).reshape(ids.shape)

    def bands(self, rows: np.ndarray) -> np.ndarray:
        """Returns how popular the items at rows [B] are: bytes, one of head, mid, tail and new.

        The head is the tenth of the trained items with the most training events, mid reaches to their middle, the tail
        is the rest. An item without training events is new.
        """
        starts = np.ceil([_HEAD * self.num_trained, _MIDDLE * self.num_trained, self.num_trained])
        return _BANDS[np.where(rows < 0, len(starts), np.digitize(rows, starts))]

    def save(self, directory: str) -> None:
        """Writes the items to a directory, for `load_items`."""
        with open(os.path.join(directory, _FILE), "wb") as file:
            pickle.dump(self, file, protocol=pickle.HIGHEST_PROTOCOL)


def load_items(directory: str) -> Items:
    """Reads what `Items.save` wrote."""
    with open(os.path.join(directory, _FILE), "rb") as file:
        return pickle.load(file)


def read_items(catalogue: str, features: Sequence[str], events: TrainingEvents) -> Items:
    """Reads the catalogue.

    Args:
        catalogue: URI of the catalogue's Examples.
        features: names of the features, of one or several categories, by which items are alike or not.
        events: the training events.
    """
    table = reading.read_columns(catalogue, CATALOGUE_SPLIT, {"item_id": bytes, **dict.fromkeys(features, bytes)})
    listed = reading.scalars(table, "item_id")
    trained = set(events.item_ids)
    ids = np.concatenate([events.item_ids, [item for item in listed if item not in trained]]).astype(object)
    counts = np.zeros(len(ids), np.int64)
    counts[: events.num_items] = events.counts
    items = Items(ids, counts, None)
    blocks = [_indicators(table, name, items.rows(listed), len(ids)) for name in features]
    if not any(block.nnz for block in blocks):
        return items
    return dataclasses.replace(items, features=_unit_length(sparse.hstack(blocks, format="csr")))


def _indicators(table: reading.Columns, name: str, rows: np.ndarray, num_items: int) -> sparse.csr_array:
    """Which item has which value of a feature, [num_items, values] float32 of ones; `rows` are those of the table."""
    values, offsets = reading.ragged(table, name)
    vocabulary, value = np.unique(values, return_inverse=True)
    row = np.repeat(rows, np.diff(offsets))
    matrix = sparse.csr_array((np.ones(len(row), np.float32), (row, value)), shape=(num_items, len(vocabulary)))
    matrix.data[:] = 1  # a value twice is a value once
    return matrix


def _unit_length(matrix: sparse.csr_array) -> sparse.csr_array:
    length = np.sqrt(matrix.multiply(matrix).sum(axis=1))
    matrix.data /= np.repeat(length, np.diff(matrix.indptr))
    return matrix
