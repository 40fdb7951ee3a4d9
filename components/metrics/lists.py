"""Means over the items of each answer, which novelty and average popularity are."""

from __future__ import annotations

import numpy as np


def mean_over_list(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns the mean of its items' values for each answer.

    Args:
        rows: [B, K] rows of recommended items; negative ones are padding.
        values: [N] a value an item.

    Returns:
        [B] float64; NaN where an answer has no item.

    Example:
        >>> mean_over_list(np.array([[0, 2], [1, -1]]), np.array([4.0, 5.0, 6.0])).tolist()
        [5.0, 5.0]
    """
    there = rows >= 0
    count = there.sum(axis=1)
    total = np.where(there, values[rows], 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(rows), np.nan), where=count > 0)
