"""What all baselines share: the training events, the interface, and the matrices made from events and histories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse

from components.evaluator.baselines.settings import BaselineSettings

Ragged = tuple[np.ndarray, np.ndarray]
"""Values of all rows one after the other, and offsets [B + 1]: row i has values[offsets[i]:offsets[i + 1]]."""

_BLOCK_CELLS = 1 << 22


@dataclass(frozen=True)
class TrainingEvents:
    """n training events in the order of time: all, or of a long log all of some users."""

    user: np.ndarray
    """[n] int32, from 0 to num_users - 1."""
    item: np.ndarray
    """[n] int32 rows; a smaller row is the more popular item, of equals the smaller id."""
    item_ids: np.ndarray
    """[N] bytes, dtype object: the id of each row."""
    num_users: int
    counts: np.ndarray
    """[N] int64, training events of each item, of all users."""
    recent: np.ndarray
    """[N] float64, the same where an event counts 2^(-age / half-life), the age at the last event of all."""
    features: sparse.csr_array | None = None
    """[N, F] float32: which categories an item has, scaled to length 1; None where items have none."""

    @property
    def num_items(self) -> int:
        """N, the items that have training events."""
        return len(self.item_ids)

    def popularity(self) -> np.ndarray:
        """Training events of each item, [N] float32."""
        return self.counts.astype(np.float32)

    def matrix(self) -> sparse.csr_array:
        """Which user had which item, [num_users, N] float32 of ones."""
        pair = np.unique(self.user.astype(np.int64) * self.num_items + self.item)
        user, item = np.divmod(pair, self.num_items)
        offsets = np.searchsorted(user, np.arange(self.num_users + 1)).astype(np.int32)
        return sparse.csr_array(
            (np.ones(len(pair), np.float32), item.astype(np.int32), offsets), (self.num_users, self.num_items)
        )


class Baseline(Protocol):
    """A simple recommender; a frozen dataclass of arrays, which is what `save` and `load` go by."""

    @classmethod
    def fit(cls, settings: BaselineSettings, events: TrainingEvents) -> Baseline:
        """Fits it to the training events."""

    def scores(self, histories: Ragged) -> np.ndarray:
        """Scores all items for each query.

        Args:
            histories: B histories of item rows: newest first, distinct, only rows of the training events.

        Returns:
            [B, N] float32, never NaN. Higher is better, and of equals the smaller row, which is the more popular item;
            so where there is nothing to go by, popularity is what remains. Nothing is excluded yet.
        """


def history_matrix(histories: Ragged, num_items: int) -> sparse.csr_array:
    """Which query has which item in its history, [B, N] float32 of ones."""
    values, offsets = histories
    return sparse.csr_array((np.ones(len(values), np.float32), values, offsets), (len(offsets) - 1, num_items))


def cooccurrence(matrix: sparse.csr_array) -> Iterator[tuple[slice, sparse.csr_array]]:
    """Yields X^T X of a sparse X [U, N] in blocks of rows, with the rows: common users of items, at most 2^22 numbers.

    The whole of it would not fit into memory where the catalogue is large.
    """
    by_item = matrix.T.tocsr()
    num_items = by_item.shape[0]
    step = max(1, _BLOCK_CELLS // num_items)
    for start in range(0, num_items, step):
        rows = slice(start, min(start + step, num_items))
        yield rows, by_item[rows] @ matrix
