"""Popularity, of all time and of late: the same scores for every query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.closed_forms.histories import Ragged
from components.evaluator.baselines.base import TrainingEvents
from components.evaluator.baselines.settings import BaselineSettings


@dataclass(frozen=True)
class Popularity:
    """The items with the most training events."""

    popularity: np.ndarray
    """[N] float32."""

    @classmethod
    def fit(cls, settings: BaselineSettings, events: TrainingEvents) -> Popularity:
        """Counts the events of each item."""
        return cls(events.popularity())

    def scores(self, histories: Ragged) -> np.ndarray:
        """See `Baseline.scores`."""
        return np.tile(self.popularity, (len(histories[1]) - 1, 1))


class RecentPopularity(Popularity):
    """The items with the most training events where an event counts the less the older it is."""

    @classmethod
    def fit(cls, settings: BaselineSettings, events: TrainingEvents) -> RecentPopularity:
        """Takes the events of each item by their age."""
        return cls(events.recent.astype(np.float32))
