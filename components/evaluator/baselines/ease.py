"""EASE: a linear model that predicts each item of a user from the user's others, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from components.evaluator.baselines.base import Ragged, TrainingEvents, cooccurrence, history_matrix
from components.evaluator.baselines.settings import BaselineSettings

_FLOAT32_CONDITION = 1e4
"""Up to this condition number the weights are right to three digits in float32."""


@dataclass(frozen=True)
class Ease:
    """An item's score is the sum of its weights from the items of the history, and a prior for its popularity.

    With G = X^T X the common users of items and P = (G + l2 I)^-1, the weights are B = I - P diag(P)^-1; their diagonal
    is 0. Only the most popular items have weights, because P is dense.

    Source: Steck, "Embarrassingly shallow autoencoders for sparse data", 2019.
    """

    weights: np.ndarray
    """[M, M] float32, of the M most popular items; from row to column."""
    prior: np.ndarray
    """[N] float32."""

    @classmethod
    def fit(cls, settings: BaselineSettings, events: TrainingEvents) -> Ease:
        """Solves for the weights, with time in proportion to M^3 and memory to M^2."""
        size = min(settings.ease_max_items, events.num_items)
        gram = np.zeros((size, size), np.float32)
        for rows, common in cooccurrence(events.matrix()[:, :size]):
            gram[rows] = common.toarray()
        prior = settings.ease_prior * np.log1p(events.popularity())
        return cls(item_weights(gram, settings.ease_l2), prior)

    def scores(self, histories: Ragged) -> np.ndarray:
        """See `Baseline.scores`."""
        scores = np.tile(self.prior, (len(histories[1]) - 1, 1))
        size = len(self.weights)
        scores[:, :size] += history_matrix(histories, len(self.prior))[:, :size] @ self.weights
        return scores


def item_weights(gram: np.ndarray, l2: float) -> np.ndarray:
    """The weights B [M, M] float32 for `gram`, X^T X [M, M] float32, whose memory is used up."""
    # The largest sum of a row bounds the largest eigenvalue, l2 is below the smallest.
    if gram.sum(axis=0).max() + l2 > _FLOAT32_CONDITION * l2:
        gram = gram.astype(np.float64)
    gram[np.diag_indices_from(gram)] += l2
    # Of a symmetric matrix the transpose is the Fortran order that LAPACK works on in place.
    factor = linalg.cholesky(gram.T, lower=True, overwrite_a=True, check_finite=False)
    (invert,) = linalg.get_lapack_funcs(("potri",), (factor,))
    weights = invert(factor, lower=True, overwrite_c=True)[0].T
    for row in range(1, len(weights)):
        weights[row, :row] = weights[:row, row]  # LAPACK fills one triangle only; this takes no memory
    weights /= -np.diag(weights)
    np.fill_diagonal(weights, 0)
    return weights.astype(np.float32, copy=False)
