"""The reciprocal rank against values worked out by hand."""

from __future__ import annotations

import pytest

from components.metrics.mrr import reciprocal_rank
from tests.components.metrics.examples import RANKS


@pytest.mark.parametrize(
    ("k", "expected"), [(1, 1 / 4 * 1), (3, 1 / 4 * (1 + 1 / 2)), (10, 1 / 4 * (1 + 1 / 2 + 1 / 4))]
)
def test_reciprocal_rank(k: int, expected: float) -> None:
    assert reciprocal_rank(RANKS, k).mean() == expected
