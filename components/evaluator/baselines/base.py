"""What all baselines share: the training events, the interface, and the matrices made from events and histories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy import sparse

from components.evaluator.baselines.settings import BaselineSettings

Ragged = tuple[np.ndarray, np.ndarray]
"""Values of all rows one after the other, and offsets [B + 1]: row i has values[offsets[i]:offsets[i + 1]]."""


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


def history_matrix(
    histories: Ragged, num_items: int, weight: Callable[[np.ndarray], np.ndarray] | None = None
) -> sparse.csr_array:
    """Which query has which item in its history, [B, N] float32.

    Args:
        histories: as for `Baseline.scores`.
        num_items: N.
        weight: what an item at a place counts, of places from 0 for the newest; by default 1.
    """
    values, offsets = histories
    place = np.arange(len(values)) - np.repeat(offsets[:-1], np.diff(offsets))
    counts = np.ones(len(values)) if weight is None else weight(place)
    return sparse.csr_array((counts.astype(np.float32), values, offsets), (len(offsets) - 1, num_items))


def power(exponent: np.ndarray | float) -> Callable[[np.ndarray], np.ndarray]:
    """Weights of places p: (p + 1)^-exponent."""
    return lambda place: (place + 1.0) ** -np.float64(exponent)


def half_life(places: np.ndarray | float) -> Callable[[np.ndarray], np.ndarray]:
    """Weights of places p: 2^(-p / places)."""
    return lambda place: np.exp2(-place / np.float64(places))
