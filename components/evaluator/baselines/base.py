"""What all baselines share: the training events, the interface, and the matrices made from events and histories."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy import sparse

from components.closed_forms.histories import Ragged
from components.evaluator.baselines.settings import BaselineSettings


@dataclass(frozen=True)
class TrainingEvents:
    """n training events in the order of time, and those of a user at the same time in that of the log if its order
    counts: all, or of a long log all of some users."""

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

    def places(self) -> np.ndarray:
        """How many events of its user come after each event, [n] int64: 0 for a user's newest."""
        by_user = np.argsort(self.user, kind="stable")
        ends = np.cumsum(np.bincount(self.user, minlength=self.num_users))
        place = np.empty(len(self.user), np.int64)
        place[by_user] = ends[self.user[by_user]] - 1 - np.arange(len(self.user))
        return place

    def take(self, rows: np.ndarray) -> TrainingEvents:
        """Some of the events, `rows` [m] ascending; the items stay all, and are counted as they were."""
        return replace(self, user=self.user[rows], item=self.item[rows])

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
