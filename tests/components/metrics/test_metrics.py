"""Metrics against values worked out by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from components.metrics import METRICS
from components.metrics.average_popularity import average_popularity
from components.metrics.average_precision import average_precision
from components.metrics.coverage import coverage
from components.metrics.diversity import diversity
from components.metrics.gini import gini
from components.metrics.history_overlap import categories_of, history_overlap
from components.metrics.hit_rate import hit_rate
from components.metrics.lists import mean_over_list
from components.metrics.mrr import reciprocal_rank
from components.metrics.ndcg import ndcg
from components.metrics.novelty import novelty, self_information
from components.metrics.precision import precision
from components.metrics.ranks import label_ranks, rank_counts
from components.metrics.recall import recall

RANKS = np.array([0, 1, 3, 10])
"""First, second and fourth place, and missed where 10 items are asked for."""


@pytest.mark.parametrize(("k", "expected"), [(1, 1 / 4), (2, 2 / 4), (3, 2 / 4), (4, 3 / 4), (10, 3 / 4)])
def test_hit_rate_and_recall(k: int, expected: float) -> None:
    assert hit_rate(RANKS, k).mean() == expected
    assert recall(RANKS, k).mean() == expected


@pytest.mark.parametrize(("k", "expected"), [(1, 1 / 4), (4, 3 / 4 / 4), (10, 3 / 4 / 10)])
def test_precision(k: int, expected: float) -> None:
    assert precision(RANKS, k).mean() == pytest.approx(expected, abs=1e-15)


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
def test_reciprocal_rank_and_average_precision(k: int, expected: float) -> None:
    assert reciprocal_rank(RANKS, k).mean() == expected
    assert average_precision(RANKS, k).mean() == expected


def test_label_ranks() -> None:
    item_ids = np.array([[b"a", b"b", b"c"], [b"c", b"", b""], [b"a", b"b", b"c"], [b"", b"", b""]], dtype=object)
    labels = np.array([b"c", b"c", b"d", b"a"], dtype=object)
    assert label_ranks(item_ids, labels).tolist() == [2, 0, 3, 3]


def test_label_ranks_of_empty_answers() -> None:
    assert label_ranks(np.empty((2, 0), object), np.array([b"a", b"b"], object)).tolist() == [0, 0]
    assert label_ranks(np.empty((0, 3), object), np.empty(0, object)).tolist() == []


def test_rank_counts() -> None:
    weights = np.array([[1, 0], [1, 2], [1, 3], [1, 0], [1, 1]], np.uint8)
    counts = rank_counts(np.array([0, 2, 0, 3, 7]), 3, weights)
    assert counts.tolist() == [[2, 0, 1, 2], [3, 0, 2, 1]]


def test_rank_counts_of_many_heavy_queries_do_not_overflow() -> None:
    assert rank_counts(np.zeros(1000, np.int64), 1, np.full((1000, 1), 200, np.uint8)).tolist() == [[200_000, 0]]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=50), st.integers(1, 12))
def test_the_histogram_gives_the_mean_over_queries(ranks: list[int], k: int) -> None:
    [counts] = rank_counts(np.array(ranks), 12, np.ones((len(ranks), 1), np.uint8))
    for metric in (metric.compute for metric in METRICS.values() if metric.of == "rank"):
        mean = metric(np.array(ranks), k).mean()
        assert counts @ metric(np.arange(13), k) / counts.sum() == pytest.approx(mean, abs=1e-12)


@given(st.lists(st.integers(0, 30), min_size=1), st.integers(1, 20))
def test_metrics_order_as_their_definitions_say(ranks: list[int], k: int) -> None:
    hits, gains, reciprocals = (metric(np.array(ranks), k) for metric in (hit_rate, ndcg, reciprocal_rank))
    assert (reciprocals <= gains).all()
    assert (gains <= hits).all()
    assert (hits <= hit_rate(np.array(ranks), k + 1)).all()


def test_coverage() -> None:
    assert coverage(np.array([3, 0, 1, 0, 0])) == 2 / 5
    assert coverage(np.zeros(3)) == 0


@pytest.mark.parametrize(
    ("exposure", "expected"),
    [
        ([2, 2, 2], 0),
        ([0, 0, 0, 8], 1 - 1 / 4),
        ([4, 0, 2], (-2 * 0 + 0 * 2 + 2 * 4) / (3 * 6)),
        ([1, 3], (-1 * 1 + 1 * 3) / (2 * 4)),
    ],
)
def test_gini(exposure: list[int], expected: float) -> None:
    assert gini(np.array(exposure)) == pytest.approx(expected, abs=1e-15)


def test_gini_where_nothing_was_recommended() -> None:
    assert math.isnan(gini(np.zeros(3)))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any))
def test_gini_is_half_the_relative_mean_difference(exposure: list[int]) -> None:
    differences = [abs(x - y) for x, y in itertools.product(exposure, exposure)]
    relative = np.mean(differences) / np.mean(exposure)
    assert gini(np.array(exposure)) == pytest.approx(relative / 2, abs=1e-12)


EVENTS = np.array([6, 1, 0, 0])
"""Training events of four items: 7, so that with one more each an item's probability is (events + 1) / 11."""

LISTS = np.array([[0, 1], [2, -1], [-1, -1], [3, 0]])


def test_mean_over_list() -> None:
    assert mean_over_list(LISTS, np.array([1.0, 2.0, 3.0, 4.0])).tolist()[:2] == [1.5, 3.0]
    assert np.isnan(mean_over_list(LISTS, EVENTS)).tolist() == [False, False, True, False]


def test_novelty() -> None:
    bits = [-math.log2(7 / 11), -math.log2(2 / 11), -math.log2(1 / 11), -math.log2(1 / 11)]
    assert self_information(EVENTS).tolist() == pytest.approx(bits)
    expected = [(bits[0] + bits[1]) / 2, bits[2], math.nan, (bits[3] + bits[0]) / 2]
    assert novelty(LISTS, EVENTS).tolist() == pytest.approx(expected, nan_ok=True)


def test_average_popularity() -> None:
    expected = [(6 + 1) / 2, 0, math.nan, (0 + 6) / 2]
    assert average_popularity(LISTS, EVENTS).tolist() == pytest.approx(expected, nan_ok=True)


def test_diversity() -> None:
    half = math.sqrt(1 / 2)
    features = sparse.csr_array(np.array([[1, 0, 0], [half, half, 0], [0, 0, 1], [0, 0, 0]]))
    lists = np.array([[0, 1, 2], [0, 1, -1], [0, 3, 2], [0, 3, -1], [-1, -1, -1]])
    # Cosines: 0 and 1 half of the root of 2, all others 0. Item 3 has no features, so nothing is known of its distance.
    expected = [((1 - half) + 1 + 1) / 3, 1 - half, 1, math.nan, math.nan]
    assert diversity(lists, features).tolist() == pytest.approx(expected, nan_ok=True)


def test_history_overlap() -> None:
    # Categories of the items: {0, 1}, {1, 2}, {3} and none, in vectors of length 1.
    half = math.sqrt(1 / 2)
    features = sparse.csr_array(np.array([[half, half, 0, 0], [0, half, half, 0], [0, 0, 0, 1], [0, 0, 0, 0]]))
    past = categories_of(np.array([0, 0, 3, 2, 2, 3]), np.array([0, 0, 0, 1, 2, 3]), 5, features)
    assert past.toarray().tolist() == [[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    lists = np.array([[1, 3], [0, 2], [3, -1], [0, 1], [1, -1]])
    # {1, 2} with {0, 1}; {0, 1, 3} with {3}; an answer without categories; histories without.
    expected = [1 / 3, 1 / 3, math.nan, math.nan, math.nan]
    assert history_overlap(lists, past, features).tolist() == pytest.approx(expected, nan_ok=True)


@given(
    st.lists(st.sets(st.integers(0, 4), max_size=3), min_size=2, max_size=5),
    st.lists(st.integers(0, 1), max_size=4),
    st.lists(st.integers(-1, 1), min_size=1, max_size=4),
)
def test_history_overlap_is_the_jaccard_index_of_sets(
    categories: list[set[int]], history: list[int], answer: list[int]
) -> None:
    features = sparse.csr_array(np.array([[float(c in own) for c in range(5)] for own in categories]))
    past = categories_of(np.array(history, int), np.zeros(len(history), int), 1, features)
    had = set().union(*(categories[item] for item in history))
    got = set().union(*(categories[item] for item in answer if item >= 0))
    expected = len(had & got) / len(had | got) if had and got else math.nan
    assert history_overlap(np.array([answer]), past, features).tolist() == pytest.approx([expected], nan_ok=True)


@given(
    st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=2, max_size=6),
    st.integers(2, 6),
)
def test_diversity_is_the_mean_over_pairs(raw: list[list[bool]], k: int) -> None:
    dense = np.array(raw, float)
    length = np.linalg.norm(dense, axis=1, keepdims=True)
    dense /= np.where(length > 0, length, 1)
    rows = np.arange(len(raw))[:k]
    described = [row for row in rows if dense[row].any()]
    distances = [1 - dense[i] @ dense[j] for i, j in itertools.combinations(described, 2)]
    expected = np.mean(distances) if distances else math.nan
    assert diversity(rows[None], sparse.csr_array(dense)).tolist() == pytest.approx([expected], abs=1e-9, nan_ok=True)
