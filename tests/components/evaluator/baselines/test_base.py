"""What baselines are made of."""

from __future__ import annotations

import numpy as np

from tests.components.evaluator.baselines.toy import log


def test_places_count_from_the_newest() -> None:
    events = log([("v", "a"), ("u", "b"), ("v", "c"), ("v", "a"), ("u", "a")])
    assert events.places().tolist() == [2, 1, 1, 0, 0]
    some = events.take(np.array([0, 1, 3]))
    assert some.places().tolist() == [1, 0, 0]
    assert some.counts is events.counts
