"""Item-based nearest neighbours: items that the users of the history's items also had."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from components.closed_forms.cooccurrence import cooccurrence, nearest
from components.closed_forms.histories import Ragged, history_matrix, power
from components.evaluator.baselines.base import TrainingEvents
from components.evaluator.baselines.settings import BaselineSettings


@dataclass(frozen=True)
class ItemKnn:
    """An item's score is the sum of its similarities to the items of the history, of which newer ones count more.

    The similarity of items i and j with n_i, n_j and n_ij (common) users is their cosine, shrunk where few users speak
    for it: n_ij / sqrt(n_i n_j) * n_ij / (n_ij + shrinkage).

    Sources: Deshpande and Karypis, "Item-based top-N recommendation algorithms", 2004; the shrinkage is Bell and
    Koren's ("Improved neighborhood-based collaborative filtering", 2007).
    """

    similarity: sparse.csr_array
    """[N, N] float32, of each row the nearest neighbours only."""
    exponent: np.ndarray
    """[] float32, of the weights of places, see `power`."""

    @classmethod
    def fit(cls, settings: BaselineSettings, events: TrainingEvents) -> ItemKnn:
        """Finds the neighbours of each item."""
        matrix = events.matrix()
        num_users = matrix.sum(axis=0)
        blocks = []
        for rows, common in cooccurrence(matrix):
            common.sort_indices()
            row = np.repeat(np.arange(rows.start, rows.stop), np.diff(common.indptr))
            norm = np.sqrt(num_users[row] * num_users[common.indices])
            common.data *= common.data / (common.data + settings.item_knn_shrinkage) / norm
            common.data[row == common.indices] = 0  # no item is its own neighbour
            common.eliminate_zeros()
            blocks.append(nearest(common, settings.item_knn_neighbours))
        return cls(sparse.vstack(blocks, format="csr"), np.array(settings.item_knn_exponent, np.float32))

    def scores(self, histories: Ragged) -> np.ndarray:
        """See `Baseline.scores`."""
        return (history_matrix(histories, self.similarity.shape[0], power(self.exponent)) @ self.similarity).toarray()
