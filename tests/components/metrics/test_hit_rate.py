"""Hit rate against values worked out by hand."""

from __future__ import annotations

import pytest

from components.metrics.hit_rate import hit_rate
from tests.components.metrics.examples import RANKS


@pytest.mark.parametrize(("k", "expected"), [(1, 1 / 4), (2, 2 / 4), (3, 2 / 4), (4, 3 / 4), (10, 3 / 4)])
def test_hit_rate(k: int, expected: float) -> None:
    assert hit_rate(RANKS, k).mean() == expected
