"""Item-based nearest neighbours: items that the users of the history's items also had."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from components.evaluator.baselines.base import Ragged, TrainingEvents, cooccurrence, history_matrix
from components.evaluator.baselines.settings import BaselineSettings


@dataclass(frozen=True)
class ItemKnn:
    """An item's score is the sum of its similarities to the items of the history.

    The similarity of items i and j with n_i, n_j and n_ij (common) users is their cosine, shrunk where few users speak
    for it: n_ij / sqrt(n_i n_j) * n_ij / (n_ij + shrinkage).

    Sources: Deshpande and Karypis, "Item-based top-N recommendation algorithms", 2004; the shrinkage is Bell and
    Koren's ("Improved neighborhood-based collaborative filtering", 2007).
    """

    similarity: sparse.csr_array
    """[N, N] float32, of each row the nearest neighbours only."""

    @classmethod
    def fit(cls, settings: BaselineSettings, events: TrainingEvents) -> ItemKnn:
        """Finds the neighbours of each item."""
        matrix = events.matrix()
        num_users = matrix.sum(axis=0)
        blocks = []
        for rows, common in cooccurrence(matrix):
            common.sort_indices()
            norm = np.sqrt(np.repeat(num_users[rows], np.diff(common.indptr)) * num_users[common.indices])
            common.data *= common.data / (common.data + settings.item_knn_shrinkage) / norm
            common.setdiag(0, rows.start)  # no item is its own neighbour
            blocks.append(_nearest(common, settings.item_knn_neighbours))
        return cls(sparse.vstack(blocks, format="csr"))

    def scores(self, histories: Ragged) -> np.ndarray:
        """See `Baseline.scores`."""
        return (history_matrix(histories, self.similarity.shape[0]) @ self.similarity).toarray()


def _nearest(similarity: sparse.csr_array, neighbours: int) -> sparse.csr_array:
    """Keeps the highest numbers of each row, of equals those of the smaller columns."""
    lengths = np.diff(similarity.indptr)
    row = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    # One key for row and similarity, which is at most 1, sorts several times faster than two.
    order = np.argsort(2.0 * row - similarity.data, kind="stable")
    place = np.arange(len(row)) - np.repeat(similarity.indptr[:-1], lengths)
    kept = order[place < neighbours]
    return sparse.csr_array((similarity.data[kept], (row[kept], similarity.indices[kept])), similarity.shape)
