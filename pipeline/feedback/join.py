"""Which list an event is ascribed to: the latest one before it that showed its user its item, within a window."""

from __future__ import annotations

import numpy as np


def ascribe(
    shown: np.ndarray,
    shown_at: np.ndarray,
    place: np.ndarray,
    took: np.ndarray,
    took_at: np.ndarray,
    window: int,
    clock: int,
) -> np.ndarray:
    """Returns for each event the impression that it is ascribed to.

    That is the latest one of the same pair of user and item that is not later than the event; of several at the same
    time the one at the best place, and of these the first.

    Args:
        shown: The pair of user and item of each impression, numbered from 0, int64 [n].
        shown_at: Its time in microseconds, int64 [n].
        place: Its place in its list, int64 [n].
        took: The pair of each event, int64 [m].
        took_at: Its time, int64 [m].
        window: How many microseconds later an event may be.
        clock: How many microseconds earlier it may be and still count as not earlier.

    Returns:
        Rows of impressions, int64 [m], -1 for an event that is ascribed to none.
    """
    if not len(shown):
        return np.full(len(took), -1)
    # Reversed first, so that of equals the first row comes last in the stable sort.
    rows = np.arange(len(shown))[::-1]
    rows = rows[np.lexsort((-place[rows], shown_at[rows], shown[rows]))]
    times, rank = np.unique(np.concatenate([shown_at[rows], took_at + clock]), return_inverse=True)
    # Pair and time as one number: both are smaller than the number of rows, so that it doesn't overflow.
    sorted_keys = shown[rows] * len(times) + rank[: len(rows)]
    at = np.searchsorted(sorted_keys, took * len(times) + rank[len(rows) :], side="right") - 1
    found = rows[np.maximum(at, 0)]
    fits = (at >= 0) & (shown[found] == took) & (took_at - shown_at[found] <= window)
    return np.where(fits, found, -1)
