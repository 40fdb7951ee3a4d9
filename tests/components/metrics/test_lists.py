"""Means over answers."""

from __future__ import annotations

import numpy as np

from components.metrics.lists import mean_over_list
from tests.components.metrics.examples import EVENTS, LISTS


def test_mean_over_list() -> None:
    assert mean_over_list(LISTS, np.array([1.0, 2.0, 3.0, 4.0])).tolist()[:2] == [1.5, 3.0]
    assert np.isnan(mean_over_list(LISTS, EVENTS)).tolist() == [False, False, True, False]
