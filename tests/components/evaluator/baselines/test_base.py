"""What baselines are made of."""

from __future__ import annotations

import numpy as np

from components.evaluator.baselines.base import half_life, history_matrix, power
from tests.components.evaluator.arrays import ragged
from tests.components.evaluator.baselines.toy import log


def test_items_of_a_history_count_by_their_place() -> None:
    histories = ragged([2, 0], [], [1, 2, 0])
    assert history_matrix(histories, 3).toarray().tolist() == [[1, 0, 1], [0, 0, 0], [1, 1, 1]]
    fading = history_matrix(histories, 3, half_life(2)).toarray()
    np.testing.assert_allclose(fading, [[2**-0.5, 0, 1], [0, 0, 0], [0.5, 1, 2**-0.5]], rtol=1e-6)
    slower = history_matrix(histories, 3, power(0.75)).toarray()
    np.testing.assert_allclose(slower[2], [3**-0.75, 1, 2**-0.75], rtol=1e-6)


def test_places_count_from_the_newest() -> None:
    events = log([("v", "a"), ("u", "b"), ("v", "c"), ("v", "a"), ("u", "a")])
    assert events.places().tolist() == [2, 1, 1, 0, 0]
    some = events.take(np.array([0, 1, 3]))
    assert some.places().tolist() == [1, 0, 0]
    assert some.counts is events.counts
