"""What users go on to within a few steps, in the order of time: item-kNN on ordered pairs."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from components.closed_forms.cooccurrence import nearest

_PAIRS = 1 << 24
"""Pairs that are added up at a time."""


def sequential(
    user: np.ndarray,
    item: np.ndarray,
    num_items: int,
    window: int,
    source_power: float,
    target_power: float,
    neighbours: int,
) -> sparse.csr_array:
    """Counts how often items follow one another, the nearer the more, and less for items that do with everything.

    A pair of a user's events d places apart, at most `window`, counts 1 / d. With n_ij the sum over the pairs of i and
    j, and n_i and n_j the sums of the row and of the column, the weight is n_ij / (n_i^source_power n_j^target_power).

    Args:
        user: [E] int, of events in the order of time.
        item: [E] int, from 0 to `num_items` - 1.
        num_items: N.
        window: the most places between two events of a pair.
        source_power: how much is taken off for items after which much comes.
        target_power: how much is taken off for items that come after much.
        neighbours: of each row the highest so many weights are kept.

    Returns:
        [N, N] float32, from the earlier item to the later one; its diagonal is 0.
    """
    by_user = np.argsort(user, kind="stable")
    user, item = user[by_user], item[by_user].astype(np.int64)
    counts = sparse.csr_array((num_items, num_items), dtype=np.float64)
    for distance in range(1, window + 1):
        there = (user[distance:] == user[:-distance]) & (item[distance:] != item[:-distance])
        pairs = np.flatnonzero(there)
        for start in range(0, len(pairs), _PAIRS):
            first = pairs[start : start + _PAIRS]
            weight = np.full(len(first), 1 / distance)
            counts = counts + sparse.coo_array((weight, (item[first], item[first + distance])), counts.shape).tocsr()
    source, target = counts.sum(axis=1), counts.sum(axis=0)
    row = np.repeat(np.arange(num_items), np.diff(counts.indptr))
    counts.data /= source[row] ** source_power * target[counts.indices] ** target_power
    return nearest(counts.astype(np.float32), neighbours)
