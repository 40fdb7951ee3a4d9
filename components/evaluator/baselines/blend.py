"""EASE and item-kNN on ordered pairs together: what belongs together, and what comes next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from components.closed_forms.histories import Ragged
from components.evaluator.baselines.base import TrainingEvents
from components.evaluator.baselines.ease import Ease
from components.evaluator.baselines.sequential_knn import SequentialKnn
from components.evaluator.baselines.settings import BaselineSettings


@dataclass(frozen=True)
class Blend:
    """An item's score is a weighted sum of both models', each less its mean and over its deviation among all items."""

    weights: np.ndarray
    """As `Ease` has them, and so the next two."""
    prior: np.ndarray
    exponent: np.ndarray
    transitions: sparse.csr_array
    """As `SequentialKnn` has them, and so the next."""
    places: np.ndarray
    share: np.ndarray
    """[] float32, the weight of the latter."""

    @classmethod
    def fit(cls, settings: BaselineSettings, events: TrainingEvents) -> Blend:
        """Fits both."""
        return cls.of(Ease.fit(settings, events), SequentialKnn.fit(settings, events), settings)

    @classmethod
    def of(cls, ease: Ease, sequential: SequentialKnn, settings: BaselineSettings) -> Blend:
        """Puts two together that are fitted already, which takes no memory."""
        return cls(**vars(ease), **vars(sequential), share=np.array(settings.blend_share, np.float32))

    def scores(self, histories: Ragged) -> np.ndarray:
        """See `Baseline.scores`."""
        ease = _standardised(Ease(self.weights, self.prior, self.exponent).scores(histories))
        sequential = _standardised(SequentialKnn(self.transitions, self.places).scores(histories))
        return (1 - self.share) * ease + self.share * sequential


def _standardised(scores: np.ndarray) -> np.ndarray:
    """Rows [B, N] float32 with mean 0 and deviation 1; a row of equal scores becomes zeros."""
    scores -= scores.mean(axis=1, keepdims=True)
    deviation = scores.std(axis=1, keepdims=True)
    return np.divide(scores, deviation, out=np.zeros_like(scores), where=deviation > 0)
