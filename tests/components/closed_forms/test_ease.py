"""EASE against the ridge regressions that its closed form stands for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from components.closed_forms import ease as ease_form
from components.closed_forms.ease import ease, item_weights


def ridge_weights(dense: np.ndarray, l2: float) -> np.ndarray:
    """Each item regressed on all others by ridge regression, which is what EASE's closed form solves at once."""
    gram = dense.T @ dense
    weights = np.zeros_like(gram)
    for item in range(len(gram)):
        others = np.delete(np.arange(len(gram)), item)
        system = gram[np.ix_(others, others)] + l2 * np.eye(len(others))
        weights[others, item] = np.linalg.solve(system, gram[others, item])
    return weights


@pytest.mark.parametrize("float32_condition", [0.0, 1e9], ids=["float64", "float32"])
def test_it_is_the_ridge_regression_on_the_other_items(
    monkeypatch: pytest.MonkeyPatch, float32_condition: float
) -> None:
    monkeypatch.setattr(ease_form, "_FLOAT32_CONDITION", float32_condition)
    dense = np.random.default_rng(0).random((60, 12)) < np.linspace(0.7, 0.1, 12)
    weights = ease(sparse.csr_array(dense.astype(np.float32)), 3)
    assert weights.dtype == np.float32
    assert not np.diag(weights).any()
    np.testing.assert_allclose(weights, ridge_weights(dense.astype(float), 3), atol=1e-5)


def test_it_is_exact_where_float32_is_not() -> None:
    generator = np.random.default_rng(0)
    rare = generator.poisson(0.5, (8, 8)).astype(float)
    gram = (1e6 + rare @ rare.T).astype(np.float32)
    inverse = np.linalg.inv(gram.astype(float) + 0.5 * np.eye(8))
    expected = np.eye(8) - inverse / np.diag(inverse)
    np.testing.assert_allclose(item_weights(gram, 0.5), expected, atol=1e-5)
