"""Average popularity against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from components.metrics.average_popularity import average_popularity
from tests.components.metrics.examples import EVENTS, LISTS


def test_average_popularity() -> None:
    expected = [(6 + 1) / 2, 0, math.nan, (0 + 6) / 2]
    assert average_popularity(LISTS, EVENTS).tolist() == pytest.approx(expected, nan_ok=True)
