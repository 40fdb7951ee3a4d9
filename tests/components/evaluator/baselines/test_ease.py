"""EASE on histories."""

from __future__ import annotations

import numpy as np

from tests.components.evaluator.arrays import ragged
from tests.components.evaluator.baselines.toy import (
    TOY,
    A,
    B,
    C,
    D,
    fit,
)


def test_rare_items_are_left_to_their_popularity() -> None:
    some = fit("ease", TOY, ease_l2=1, ease_max_items=2, ease_prior=0.1, ease_exponent=0)
    # Of a and b G = [[3, 2], [2, 2]]: the ridge regression of b on a is 2 / (3 + 1), of a on b 2 / (2 + 1).
    weights = np.array([[0, 1 / 2, 0, 0], [2 / 3, 0, 0, 0], [0, 0, 0, 0]])
    scores = some.scores(ragged([A], [D, B, C], []))
    np.testing.assert_allclose(scores, weights + 0.1 * np.log([4, 3, 3, 2]), atol=1e-6)


def test_newer_items_count_more() -> None:
    some = fit("ease", TOY, ease_l2=1, ease_exponent=0.5)
    whole = fit("ease", TOY, ease_l2=1, ease_exponent=0).weights
    np.testing.assert_allclose(some.scores(ragged([C, D, A]))[0], whole[C] + whole[D] / 2**0.5 + whole[A] / 3**0.5)
