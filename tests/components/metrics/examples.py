"""What the metrics' worked examples are about."""

from __future__ import annotations

import numpy as np

RANKS = np.array([0, 1, 3, 10])
"""First, second and fourth place, and missed where 10 items are asked for."""
EVENTS = np.array([6, 1, 0, 0])
"""Training events of four items: 7, so that with one more each an item's probability is (events + 1) / 11."""
LISTS = np.array([[0, 1], [2, -1], [-1, -1], [3, 0]])
