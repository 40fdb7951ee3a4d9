"""Session-based nearest neighbours, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.components.evaluator.arrays import ragged
from tests.components.evaluator.baselines.toy import TOY, B, C, D, fit


def test_items_of_the_most_alike_users() -> None:
    # Users' items: u a b c, v b a, w a c, x d. Of 4 users 3 have a, 2 have b and c, 1 has d.
    many, few = np.log(4 / 3), np.log(2)
    assert fit("session_knn", TOY, session_knn_half_life=1).weight == pytest.approx([many, few, few, np.log(4)])

    def scores(neighbours: int) -> np.ndarray:
        model = fit("session_knn", TOY, session_knn_half_life=1, session_knn_neighbours=neighbours)
        return model.scores(ragged([C, B], [D], []))

    # c counts whole and b half: u has both of its three items, w has c of two, v has b of two.
    u, w, v = 1.5 * few / 3**0.5, few / 2**0.5, 0.5 * few / 2**0.5
    np.testing.assert_allclose(scores(3)[0], [u + w + v, u + v, u + w, 0], rtol=1e-6)
    np.testing.assert_allclose(scores(2)[0], [u + w, u, u + w, 0], rtol=1e-6)
    np.testing.assert_allclose(scores(2)[1:], [[0, 0, 0, np.log(4)], [0, 0, 0, 0]], rtol=1e-6)
