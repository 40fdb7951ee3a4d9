"""Recall against values worked out by hand."""

from __future__ import annotations

import pytest

from components.metrics.recall import recall
from tests.components.metrics.examples import RANKS


@pytest.mark.parametrize(("k", "expected"), [(1, 1 / 4), (2, 2 / 4), (3, 2 / 4), (4, 3 / 4), (10, 3 / 4)])
def test_recall(k: int, expected: float) -> None:
    """With one relevant item a query, it is found or not."""
    assert recall(RANKS, k).mean() == expected
