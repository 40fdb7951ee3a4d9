"""Novelty against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from components.metrics.novelty import novelty, self_information
from tests.components.metrics.examples import EVENTS, LISTS


def test_novelty() -> None:
    bits = [-math.log2(7 / 11), -math.log2(2 / 11), -math.log2(1 / 11), -math.log2(1 / 11)]
    assert self_information(EVENTS).tolist() == pytest.approx(bits)
    expected = [(bits[0] + bits[1]) / 2, bits[2], math.nan, (bits[3] + bits[0]) / 2]
    assert novelty(LISTS, EVENTS).tolist() == pytest.approx(expected, nan_ok=True)
