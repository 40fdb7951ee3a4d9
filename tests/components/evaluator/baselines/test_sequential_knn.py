"""Item-kNN on ordered pairs."""

from __future__ import annotations

import numpy as np

from tests.components.evaluator.arrays import ragged
from tests.components.evaluator.baselines.toy import TOY, A, B, C, D, fit


def test_items_of_the_history_fade_from_place_to_place() -> None:
    model = fit("sequential_knn", TOY, sequential_knn_half_life=2)
    weights = model.transitions.toarray()
    # Users' items: u a b c, v b a, w a c, x d. After a: b, and c twice at distances 2 and 1; after b: c and a.
    # Rows add up to 2.5 (a) and 2 (b), columns to 1 (a), 1 (b) and 2.5 (c).
    expected = np.zeros((4, 4))
    expected[A, B], expected[A, C] = 1 / 2.5**0.5, 1.5 / (2.5**0.5 * 2.5**0.3)
    expected[B, A], expected[B, C] = 1 / 2**0.5, 1 / (2**0.5 * 2.5**0.3)
    np.testing.assert_allclose(weights, expected, rtol=1e-5)
    scores = model.scores(ragged([D, B, A], []))
    np.testing.assert_allclose(scores, [expected[B] / 2**0.5 + expected[A] / 2, np.zeros(4)], rtol=1e-5)
