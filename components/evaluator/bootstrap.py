"""Bootstrap over users: how far a metric would move if other users like these had come.

A Poisson bootstrap: in each replicate a user counts as often as a draw from Poisson(1) says, with all of their queries,
because the queries of one user are alike. The draw is a hash of user and replicate, so replicates add up over batches
and machines, come out the same on every run, and are the same for all models, whose differences are therefore paired.

(Chamandy, Muralidharan, Najmi and Naidu, "Estimating uncertainty for massive data streams", 2012.)
"""

from __future__ import annotations

import math

import numpy as np

from components.hashing import hashes

# Beyond 12 a draw is as good as impossible (1 in 10^10).
_CUMULATIVE = np.cumsum([math.exp(-1) / math.factorial(count) for count in range(13)])


def user_weights(users: np.ndarray, replicates: int) -> np.ndarray:
    """Draws how often each query counts.

    Args:
        users: [N] bytes, the user of each query.
        replicates: R.

    Returns:
        [N, R + 1] uint8; the first column, the data as it is, is 1, and the others depend on user and column alone.
    """
    ids, user = np.unique(users, return_inverse=True)
    uniform = _mix(hashes(ids)[:, np.newaxis] + _mix(np.arange(1, replicates + 1, dtype=np.uint64))) / 2.0**64
    weights = np.ones((len(ids), replicates + 1), np.uint8)
    weights[:, 1:] = np.searchsorted(_CUMULATIVE, uniform, side="right")
    return weights[user]


def interval(replicates: np.ndarray, level: float) -> tuple[float, float]:
    """Returns the interval that holds the share `level` of the replicates [R], as much left out below as above.

    Replicates that are NaN, because no query counts in them, are passed over; one at least must be a number.
    """
    low, high = np.nanquantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer: uint64 to well-mixed uint64 (Steele, Lea and Flood, 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
