"""Item-kNN against values worked out by hand."""

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
    log,
)

PLAIN = {"item_knn_exponent": 0, "item_knn_shrinkage": 0}


def test_item_knn() -> None:
    # Common users: a and b 2 (u, v), a and c 2 (u, w), b and c 1 (u), of 3, 2 and 2.
    ab, ac, bc = 2 / 6**0.5, 2 / 6**0.5, 1 / 2
    scores = fit("item_knn", TOY, **PLAIN).scores(ragged([A], [C, B], [D]))
    np.testing.assert_allclose(scores, [[0, ab, ac, 0], [ab + ac, bc, bc, 0], [0, 0, 0, 0]], atol=1e-6)


def test_item_knn_counts_a_user_once() -> None:
    again = log([("u", "a"), ("u", "a"), ("u", "b"), ("v", "a")])
    np.testing.assert_allclose(fit("item_knn", again, **PLAIN).scores(ragged([A])), [[0, 1 / 2**0.5]], atol=1e-6)


def test_item_knn_shrinks_what_few_users_speak_for() -> None:
    scores = fit("item_knn", TOY, item_knn_exponent=0, item_knn_shrinkage=2).scores(ragged([B]))
    np.testing.assert_allclose(scores, [[2 / 6**0.5 * 2 / 4, 0, 1 / 2 * 1 / 3, 0]], atol=1e-6)


def test_item_knn_keeps_the_nearest() -> None:
    # b and c are equally near to a: the more popular row is kept.
    scores = fit("item_knn", TOY, **PLAIN, item_knn_neighbours=1).scores(ragged([A], [B], [C]))
    near = 2 / 6**0.5
    np.testing.assert_allclose(scores, [[0, near, 0, 0], [near, 0, 0, 0], [near, 0, 0, 0]], atol=1e-6)


def test_item_knn_counts_newer_items_more() -> None:
    ab, ac, bc = 2 / 6**0.5, 2 / 6**0.5, 1 / 2
    scores = fit("item_knn", TOY, item_knn_exponent=2, item_knn_shrinkage=0).scores(ragged([C, B]))
    np.testing.assert_allclose(scores, [[ac + ab / 4, bc, bc / 4, 0]], atol=1e-6)
