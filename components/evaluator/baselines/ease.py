"""EASE: a linear model that predicts each item of a user from the user's others, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.closed_forms.ease import ease
from components.closed_forms.histories import Ragged, history_matrix, power
from components.evaluator.baselines.base import TrainingEvents
from components.evaluator.baselines.settings import BaselineSettings


@dataclass(frozen=True)
class Ease:
    """An item's score is the sum of its weights from the items of the history, and a prior for its popularity.

    The newer an item of the history is, the more it counts. Only the most popular items have weights, because their
    matrix is dense.
    """

    weights: np.ndarray
    """[M, M] float32, of the M most popular items; from row to column."""
    prior: np.ndarray
    """[N] float32."""
    exponent: np.ndarray
    """[] float32, of the weights of places, see `power`."""

    @classmethod
    def fit(cls, settings: BaselineSettings, events: TrainingEvents) -> Ease:
        """Solves for the weights."""
        size = min(settings.ease_max_items, events.num_items)
        prior = settings.ease_prior * np.log1p(events.popularity())
        assert settings.ease_l2 is not None  # chosen by now
        weights = ease(events.matrix()[:, :size], settings.ease_l2)
        return cls(weights, prior, np.array(settings.ease_exponent, np.float32))

    def scores(self, histories: Ragged) -> np.ndarray:
        """See `Baseline.scores`."""
        scores = np.tile(self.prior, (len(histories[1]) - 1, 1))
        size = len(self.weights)
        scores[:, :size] += history_matrix(histories, len(self.prior), power(self.exponent))[:, :size] @ self.weights
        return scores
