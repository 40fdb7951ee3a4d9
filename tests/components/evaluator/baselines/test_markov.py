"""First-order Markov against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from components.evaluator.baselines.base import TrainingEvents
from tests.components.evaluator.arrays import ragged
from tests.components.evaluator.baselines.toy import (
    TOY,
    A,
    C,
    D,
    fit,
    logs,
)


def test_markov() -> None:
    # Transitions: a to b and c, b to a and c. Shares of the 8 events: 3/8, 2/8, 2/8, 1/8.
    scores = fit("markov", TOY, markov_smoothing=2).scores(ragged([A, C], [C, A], [], [D]))
    share = [3 / 8, 2 / 8, 2 / 8, 1 / 8]
    after_a = [2 * 3 / 8 / 4, (1 + 2 * 2 / 8) / 4, (1 + 2 * 2 / 8) / 4, 2 * 1 / 8 / 4]
    np.testing.assert_allclose(scores, [after_a, share, share, share], rtol=1e-6)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.smoke
@given(logs)
def test_markov_counts_the_transitions_of_each_user(events: TrainingEvents) -> None:
    counts = np.zeros((events.num_items, events.num_items))
    newest: dict[int, int] = {}
    for user, item in zip(events.user.tolist(), events.item.tolist()):
        if user in newest:
            counts[newest[user], item] += 1
        newest[user] = item
    share = np.bincount(events.item) / len(events.item)
    expected = (counts + 3 * share) / (counts.sum(axis=1, keepdims=True) + 3)
    scores = fit("markov", events, markov_smoothing=3).scores(ragged(*([row] for row in range(events.num_items))))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
