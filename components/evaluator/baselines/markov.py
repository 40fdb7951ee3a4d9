"""First-order Markov chain: what users went on to after the newest item of the history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from components.closed_forms.histories import Ragged
from components.evaluator.baselines.base import TrainingEvents
from components.evaluator.baselines.settings import BaselineSettings


@dataclass(frozen=True)
class Markov:
    """An item's score is the probability that it comes next.

    After item i that is (n_ij + smoothing * p_j) / (n_i + smoothing), where n_ij of the n_i events that users had after
    an event of i were of item j, and p_j is item j's share of all events; without a history it is p_j.
    """

    transitions: sparse.csr_array
    """[N, N] float32, n_ij / (n_i + smoothing)."""
    share: np.ndarray
    """[N] float32, p_j."""
    share_weight: np.ndarray
    """[N] float32, smoothing / (n_i + smoothing)."""

    @classmethod
    def fit(cls, settings: BaselineSettings, events: TrainingEvents) -> Markov:
        """Counts the transitions between successive events of each user."""
        by_user = np.argsort(events.user, kind="stable")
        user, item = events.user[by_user], events.item[by_user]
        successive = user[1:] == user[:-1]
        source, target = item[:-1][successive], item[1:][successive]
        shape = (events.num_items, events.num_items)
        counts = sparse.coo_array((np.ones(len(source)), (source, target)), shape).tocsr()
        total = np.bincount(source, minlength=events.num_items) + settings.markov_smoothing
        probability = counts.data / np.repeat(total, np.diff(counts.indptr))
        popularity = events.popularity()
        return cls(
            sparse.csr_array((probability.astype(np.float32), counts.indices, counts.indptr), shape),
            popularity / popularity.sum(),
            (settings.markov_smoothing / total).astype(np.float32),
        )

    def scores(self, histories: Ragged) -> np.ndarray:
        """See `Baseline.scores`."""
        values, offsets = histories
        scores = np.tile(self.share, (len(offsets) - 1, 1))
        some = np.flatnonzero(np.diff(offsets))
        newest = values[offsets[some]]
        scores[some] *= self.share_weight[newest, np.newaxis]
        scores[some] += self.transitions[newest].toarray()
        return scores
