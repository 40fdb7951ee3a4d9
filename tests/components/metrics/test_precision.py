"""Precision against values worked out by hand."""

from __future__ import annotations

import pytest

from components.metrics.precision import precision
from tests.components.metrics.examples import RANKS


@pytest.mark.parametrize(("k", "expected"), [(1, 1 / 4), (4, 3 / 4 / 4), (10, 3 / 4 / 10)])
def test_precision(k: int, expected: float) -> None:
    assert precision(RANKS, k).mean() == pytest.approx(expected, abs=1e-15)
