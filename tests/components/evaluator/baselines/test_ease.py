"""EASE against the ridge regressions that its closed form stands for."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluator.baselines import ease
from tests.components.evaluator.arrays import ragged
from tests.components.evaluator.baselines.toy import (
    TOY,
    A,
    B,
    C,
    D,
    fit,
    random_log,
)


def ease_weights(dense: np.ndarray, l2: float) -> np.ndarray:
    """Each item regressed on all others by ridge regression, which is what EASE's closed form solves at once."""
    gram = dense.T @ dense
    weights = np.zeros_like(gram)
    for item in range(len(gram)):
        others = np.delete(np.arange(len(gram)), item)
        system = gram[np.ix_(others, others)] + l2 * np.eye(len(others))
        weights[others, item] = np.linalg.solve(system, gram[others, item])
    return weights


@pytest.mark.parametrize("float32_condition", [0.0, 1e9], ids=["float64", "float32"])
def test_ease_is_the_ridge_regression_on_the_other_items(
    monkeypatch: pytest.MonkeyPatch, float32_condition: float
) -> None:
    monkeypatch.setattr(ease, "_FLOAT32_CONDITION", float32_condition)
    events = random_log()
    dense = np.zeros((events.num_users, events.num_items))
    dense[events.user, events.item] = 1
    model = fit("ease", events, ease_l2=3)
    weights = ease_weights(dense, 3)
    assert model.weights.dtype == np.float32
    assert not np.diag(model.weights).any()
    np.testing.assert_allclose(model.weights, weights, atol=1e-5)

    popularity = np.bincount(events.item)
    expected = weights[2] + weights[7] + 0.01 * np.log(1 + popularity)
    np.testing.assert_allclose(model.scores(ragged([7, 2]))[0], expected, atol=1e-5)


def test_ease_is_exact_where_float32_is_not() -> None:
    generator = np.random.default_rng(0)
    rare = generator.poisson(0.5, (8, 8)).astype(float)
    gram = (1e6 + rare @ rare.T).astype(np.float32)
    inverse = np.linalg.inv(gram.astype(float) + 0.5 * np.eye(8))
    expected = np.eye(8) - inverse / np.diag(inverse)
    np.testing.assert_allclose(ease.item_weights(gram, 0.5), expected, atol=1e-5)


def test_ease_leaves_rare_items_to_their_popularity() -> None:
    some = fit("ease", TOY, ease_l2=1, ease_max_items=2, ease_prior=0.1)
    # Of a and b G = [[3, 2], [2, 2]]: the ridge regression of b on a is 2 / (3 + 1), of a on b 2 / (2 + 1).
    weights = np.array([[0, 1 / 2, 0, 0], [2 / 3, 0, 0, 0], [0, 0, 0, 0]])
    scores = some.scores(ragged([A], [D, B, C], []))
    np.testing.assert_allclose(scores, weights + 0.1 * np.log([4, 3, 3, 2]), atol=1e-6)
