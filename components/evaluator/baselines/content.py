"""Content: items whose categories are those of the history's items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from components.closed_forms.histories import Ragged, history_matrix
from components.errors import InputError
from components.evaluator.baselines.base import TrainingEvents
from components.evaluator.baselines.settings import BaselineSettings


@dataclass(frozen=True)
class Content:
    """An item is the one-hot vector of its categories, scaled to length 1, and a user the mean of their items' vectors.

    An item's score is the product of both, so nothing is learned from who had what.
    """

    features: sparse.csr_array
    """[N, F] float32."""

    @classmethod
    def fit(cls, settings: BaselineSettings, events: TrainingEvents) -> Content:
        """Takes the items' categories.

        Raises:
            InputError: the items have none.
        """
        if events.features is None:
            raise InputError(
                "the baseline 'content' needs items with categories: name some as data.catalogue.features, or leave it "
                "out of evaluation.baselines.names"
            )
        return cls(events.features)

    def scores(self, histories: Ragged) -> np.ndarray:
        """See `Baseline.scores`."""
        _, offsets = histories
        had = history_matrix(histories, self.features.shape[0])
        had.data /= np.repeat(np.diff(offsets), np.diff(offsets))
        return ((had @ self.features) @ self.features.T).toarray()
