"""NDCG against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.metrics.hit_rate import hit_rate
from components.metrics.mrr import reciprocal_rank
from components.metrics.ndcg import ndcg
from tests.components.metrics.examples import RANKS


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


@pytest.mark.slow
@pytest.mark.smoke
@given(st.lists(st.integers(0, 30), min_size=1), st.integers(1, 20))
def test_metrics_order_as_their_definitions_say(ranks: list[int], k: int) -> None:
    hits, gains, reciprocals = (metric(np.array(ranks), k) for metric in (hit_rate, ndcg, reciprocal_rank))
    assert (reciprocals <= gains).all()
    assert (gains <= hits).all()
    assert (hits <= hit_rate(np.array(ranks), k + 1)).all()
