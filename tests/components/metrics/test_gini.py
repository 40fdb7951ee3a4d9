"""The Gini index against values worked out by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.metrics.gini import gini


@pytest.mark.parametrize(
    ("exposure", "expected"),
    [
        ([2, 2, 2], 0),
        ([0, 0, 0, 8], 1 - 1 / 4),
        ([4, 0, 2], (-2 * 0 + 0 * 2 + 2 * 4) / (3 * 6)),
        ([1, 3], (-1 * 1 + 1 * 3) / (2 * 4)),
    ],
)
def test_gini(exposure: list[int], expected: float) -> None:
    assert gini(np.array(exposure)) == pytest.approx(expected, abs=1e-15)


def test_gini_where_nothing_was_recommended() -> None:
    assert math.isnan(gini(np.zeros(3)))


@pytest.mark.slow
@pytest.mark.smoke
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any))
def test_gini_is_half_the_relative_mean_difference(exposure: list[int]) -> None:
    differences = [abs(x - y) for x, y in itertools.product(exposure, exposure)]
    relative = np.mean(differences) / np.mean(exposure)
    assert gini(np.array(exposure)) == pytest.approx(relative / 2, abs=1e-12)
