"""Session-based nearest neighbours: what users with the same recent items also had."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from components.closed_forms.cooccurrence import nearest
from components.closed_forms.histories import Ragged, half_life, history_matrix
from components.evaluator.baselines.base import TrainingEvents
from components.evaluator.baselines.settings import BaselineSettings


@dataclass(frozen=True)
class SessionKnn:
    """An item's score is the sum of the similarities of the nearest users who had it (V-SKNN).

    A user is as similar to a query as the weights of the common items add up to, over the square root of how many items
    the user had; the weights of the query's items fade from place to place, and are less for items that many had.

    Source: Ludewig and Jannach, "Evaluation of session-based recommendation algorithms", 2018.
    """

    had: sparse.csr_array
    """[U, N] float32 of ones, which user had which item."""
    weight: np.ndarray
    """[N] float32, log(U / users who had the item)."""
    places: np.ndarray
    """[] float32, after how many places an item of the query counts half."""
    neighbours: np.ndarray
    """[] int64, how many users count."""

    @classmethod
    def fit(cls, settings: BaselineSettings, events: TrainingEvents) -> SessionKnn:
        """Takes the users' items."""
        had = events.matrix()
        users = np.maximum(had.sum(axis=0), 1)
        return cls(
            had,
            np.log(had.shape[0] / users).astype(np.float32),
            np.array(settings.session_knn_half_life, np.float32),
            np.array(settings.session_knn_neighbours),
        )

    def scores(self, histories: Ragged) -> np.ndarray:
        """See `Baseline.scores`."""
        query = history_matrix(histories, self.had.shape[1], half_life(self.places))
        query.data *= self.weight[query.indices]
        similarity = (query @ self.had.T).tocsr()
        length = np.sqrt(np.maximum(np.diff(self.had.indptr), 1)).astype(np.float32)
        similarity.data /= length[similarity.indices]
        similarity.eliminate_zeros()
        similarity.sort_indices()
        return (nearest(similarity, int(self.neighbours)) @ self.had).toarray()
