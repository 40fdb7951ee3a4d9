"""SLIT: a linear model that predicts each event from the items before it, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.closed_forms.histories import Ragged, half_life, history_matrix
from components.closed_forms.slit import slit
from components.evaluator.baselines.base import TrainingEvents
from components.evaluator.baselines.settings import BaselineSettings


@dataclass(frozen=True)
class Slit:
    """An item's score is the sum of its weights from the items of the history, which fade from place to place.

    The weights are those of `components.closed_forms.slit`. Only the most popular items have some, because their matrix
    is dense.
    """

    weights: np.ndarray
    """[M, M] float32, of the M most popular items; from the earlier item to the next one."""
    places: np.ndarray
    """[] float32, after how many places an item of the history counts half."""
    num_items: np.ndarray
    """[] int64, N."""

    @classmethod
    def fit(cls, settings: BaselineSettings, events: TrainingEvents) -> Slit:
        """Solves for the weights."""
        assert settings.slit_half_life is not None  # chosen by now
        size = min(settings.slit_max_items, events.num_items)
        how = settings.slit_l2, settings.slit_half_life, settings.slit_window
        weights = slit(events.user, events.item, size, *how)
        return cls(weights, np.array(settings.slit_half_life, np.float32), np.array(events.num_items))

    def scores(self, histories: Ragged) -> np.ndarray:
        """See `Baseline.scores`."""
        size, num_items = len(self.weights), int(self.num_items)
        scores = np.zeros((len(histories[1]) - 1, num_items), np.float32)
        scores[:, :size] = history_matrix(histories, num_items, half_life(self.places))[:, :size] @ self.weights
        return scores
