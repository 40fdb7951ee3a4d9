"""Item-kNN on ordered pairs: what users went on to within a few steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from components.closed_forms.histories import Ragged, half_life, history_matrix
from components.closed_forms.sequential import sequential
from components.evaluator.baselines.base import TrainingEvents
from components.evaluator.baselines.settings import BaselineSettings

_SOURCE_POWER, _TARGET_POWER = 0.5, 0.3


@dataclass(frozen=True)
class SequentialKnn:
    """An item's score is the sum of its weights from the items of the history, which fade from place to place.

    The weights are those of `components.closed_forms.sequential`.
    """

    transitions: sparse.csr_array
    """[N, N] float32, from the earlier item to the later one."""
    places: np.ndarray
    """[] float32, after how many places an item of the history counts half."""

    @classmethod
    def fit(cls, settings: BaselineSettings, events: TrainingEvents) -> SequentialKnn:
        """Counts the pairs."""
        transitions = sequential(
            events.user,
            events.item,
            events.num_items,
            settings.sequential_knn_window,
            _SOURCE_POWER,
            _TARGET_POWER,
            settings.sequential_knn_neighbours,
        )
        return cls(transitions, np.array(settings.sequential_knn_half_life, np.float32))

    def scores(self, histories: Ragged) -> np.ndarray:
        """See `Baseline.scores`."""
        weighted = history_matrix(histories, self.transitions.shape[0], half_life(self.places))
        return (weighted @ self.transitions).toarray()
