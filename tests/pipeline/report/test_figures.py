"""Which charts a page has, and how figures are written."""

from __future__ import annotations

import pytest

from pipeline.report import figures


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [("hit_rate@10", 0.21834, "0.2183"), ("average_popularity@10", 1187.58, "1,187.6"), ("novelty@10", 9.0168, "9.02")],
)
def test_figures_are_rounded_as_they_are_read(metric: str, value: float, text: str) -> None:
    assert figures.figure(metric, value) == text
