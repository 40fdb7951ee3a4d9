"""What the items of a history count, by their places in it: the newest is at place 0."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

Ragged = tuple[np.ndarray, np.ndarray]
"""Values of all rows one after the other, and offsets [B + 1]: row i has values[offsets[i]:offsets[i + 1]]."""


def history_matrix(
    histories: Ragged, num_items: int, weight: Callable[[np.ndarray], np.ndarray] | None = None
) -> sparse.csr_array:
    """Which query has which item in its history, [B, N] float32.

    Args:
        histories: B histories of item rows, newest first and distinct.
        num_items: N.
        weight: what an item at a place counts, of places from 0 for the newest; by default 1.
    """
    values, offsets = histories
    place = np.arange(len(values)) - np.repeat(offsets[:-1], np.diff(offsets))
    counts = np.ones(len(values)) if weight is None else weight(place)
    return sparse.csr_array((counts.astype(np.float32), values, offsets), (len(offsets) - 1, num_items))


def power(exponent: np.ndarray | float) -> Callable[[np.ndarray], np.ndarray]:
    """Weights of places p: (p + 1)^-exponent."""
    return lambda place: (place + 1.0) ** -np.float64(exponent)


def half_life(places: np.ndarray | float) -> Callable[[np.ndarray], np.ndarray]:
    """Weights of places p: 2^(-p / places)."""
    return lambda place: np.exp2(-place / np.float64(places))
