"""Ranks of the relevant items, and their histogram."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.metrics import METRICS
from components.metrics.ranks import label_ranks, rank_counts


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


@pytest.mark.slow
@pytest.mark.smoke
@given(st.lists(st.integers(0, 12), min_size=1, max_size=50), st.integers(1, 12))
def test_the_histogram_gives_the_mean_over_queries(ranks: list[int], k: int) -> None:
    [counts] = rank_counts(np.array(ranks), 12, np.ones((len(ranks), 1), np.uint8))
    for metric in (metric.compute for metric in METRICS.values() if metric.of == "rank"):
        mean = metric(np.array(ranks), k).mean()
        assert counts @ metric(np.arange(13), k) / counts.sum() == pytest.approx(mean, abs=1e-12)
