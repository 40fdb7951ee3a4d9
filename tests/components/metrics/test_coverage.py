"""Coverage against values worked out by hand."""

from __future__ import annotations

import numpy as np

from components.metrics.coverage import coverage


def test_coverage() -> None:
    assert coverage(np.array([3, 0, 1, 0, 0])) == 2 / 5
    assert coverage(np.zeros(3)) == 0
