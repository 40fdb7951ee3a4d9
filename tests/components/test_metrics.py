"""Ranking metrics against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.evaluator.metrics.hit_rate import hit_rate
from components.evaluator.metrics.mrr import reciprocal_rank
from components.evaluator.metrics.ndcg import ndcg
from components.evaluator.metrics.ranks import label_ranks, rank_counts

RANKS = np.array([0, 1, 3, 10])
"""First, second and fourth place, and missed where 10 items are asked for."""


@pytest.mark.parametrize(("k", "expected"), [(1, 1 / 4), (2, 2 / 4), (3, 2 / 4), (4, 3 / 4), (10, 3 / 4)])
def test_hit_rate(k: int, expected: float) -> None:
    assert hit_rate(RANKS, k).mean() == expected


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (1, 1 / 4 * 1),
        (3, 1 / 4 * (1 + 1 / math.log2(3))),
        (10, 1 / 4 * (1 + 1 / math.log2(3) + 1 / math.log2(5))),
    ],
)
def test_ndcg(k: int, expected: float) -> None:
    assert ndcg(RANKS, k).mean() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("k", "expected"), [(1, 1 / 4 * 1), (3, 1 / 4 * (1 + 1 / 2)), (10, 1 / 4 * (1 + 1 / 2 + 1 / 4))]
)
def test_reciprocal_rank(k: int, expected: float) -> None:
    assert reciprocal_rank(RANKS, k).mean() == expected


def test_label_ranks() -> None:
    item_ids = np.array([[b"a", b"b", b"c"], [b"c", b"", b""], [b"a", b"b", b"c"], [b"", b"", b""]], dtype=object)
    labels = np.array([b"c", b"c", b"d", b"a"], dtype=object)
    assert label_ranks(item_ids, labels).tolist() == [2, 0, 3, 3]


def test_label_ranks_of_empty_answers() -> None:
    assert label_ranks(np.empty((2, 0), object), np.array([b"a", b"b"], object)).tolist() == [0, 0]
    assert label_ranks(np.empty((0, 3), object), np.empty(0, object)).tolist() == []


def test_rank_counts() -> None:
    assert rank_counts(np.array([0, 2, 0, 3, 7]), depth=3).tolist() == [2, 0, 1, 2]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=50), st.integers(1, 12))
def test_the_histogram_gives_the_mean_over_queries(ranks: list[int], k: int) -> None:
    counts = rank_counts(np.array(ranks), depth=12)
    for metric in (hit_rate, ndcg, reciprocal_rank):
        mean = metric(np.array(ranks), k).mean()
        assert counts @ metric(np.arange(13), k) / counts.sum() == pytest.approx(mean, abs=1e-12)


@given(st.lists(st.integers(0, 30), min_size=1), st.integers(1, 20))
def test_metrics_order_as_their_definitions_say(ranks: list[int], k: int) -> None:
    hits, gains, reciprocals = (metric(np.array(ranks), k) for metric in (hit_rate, ndcg, reciprocal_rank))
    assert (reciprocals <= gains).all()
    assert (gains <= hits).all()
    assert (hits <= hit_rate(np.array(ranks), k + 1)).all()
