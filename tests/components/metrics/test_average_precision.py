"""Average precision against values worked out by hand."""

from __future__ import annotations

import pytest

from components.metrics.average_precision import average_precision
from tests.components.metrics.examples import RANKS


@pytest.mark.parametrize(
    ("k", "expected"), [(1, 1 / 4 * 1), (3, 1 / 4 * (1 + 1 / 2)), (10, 1 / 4 * (1 + 1 / 2 + 1 / 4))]
)
def test_average_precision(k: int, expected: float) -> None:
    """With one relevant item a query, the only precision is that at its rank."""
    assert average_precision(RANKS, k).mean() == expected
