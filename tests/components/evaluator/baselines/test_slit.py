"""SLIT as a baseline."""

from __future__ import annotations

import numpy as np

from components.closed_forms.slit import slit
from tests.components.evaluator.arrays import ragged
from tests.components.evaluator.baselines.toy import TOY, A, B, D, fit


def test_items_of_the_history_fade_from_place_to_place() -> None:
    model = fit("slit", TOY, slit_half_life=2, slit_l2=3)
    weights = slit(TOY.user, TOY.item, 4, 3.0, 2.0, 32)
    assert weights[A, B] > 0
    np.testing.assert_allclose(model.weights, weights)
    scores = model.scores(ragged([D, B, A], []))
    np.testing.assert_allclose(scores, [weights[D] + weights[B] / 2**0.5 + weights[A] / 2, np.zeros(4)], rtol=1e-5)


def test_only_the_most_popular_items_take_part() -> None:
    model = fit("slit", TOY, slit_half_life=2, slit_l2=3, slit_max_items=2)
    scores = model.scores(ragged([B, A]))
    assert model.weights.shape == (2, 2)
    assert scores.shape == (1, 4)
    assert not scores[:, 2:].any()
