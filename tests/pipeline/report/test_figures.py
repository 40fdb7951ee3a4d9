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


def test_a_difference_has_its_sign_unless_it_rounds_to_zero() -> None:
    assert [figures.signed(value) for value in (0.01234, -0.01236, 0.00005, -0.00006)] == [
        "+0.0123",
        "−0.0124",
        "+0.0001",
        "−0.0001",
    ]
    assert {figures.signed(value) for value in (0.0, -0.0, 0.00004, -0.00004)} == {"0.0000"}
    assert figures.between((-0.00001, 0.5)) == "0.0000 to +0.5000"
