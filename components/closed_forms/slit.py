"""SLIT: a linear model that predicts each event from the items before it, in closed form."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from components.closed_forms.ease import regularised

_PAIRS = 1 << 24
"""Pairs that are added up at a time."""


def slit(user: np.ndarray, item: np.ndarray, num_items: int, l2: float, half_life: float, window: int) -> np.ndarray:
    """Solves for the weights of items on what comes next.

    With a row of X [E, M] for each event, in which the item p places before it, at most `window`, counts
    2^((1 - p) / half_life), and a row of Y [E, M] that is 1 at the event's own item, the weights are
    B = (X^T X + l2 I)^-1 X^T Y. X is never made: what two items of a user have together in the rows of all later events
    is a geometric series. Time grows with M^3, memory with M^2.

    Source: Choi et al., "Session-aware linear item-item models for session-based recommendation", 2021, of which this
    is the part of transitions with the next item as what is predicted.

    Args:
        user: [E] int, of events in the order of time.
        item: [E] int, from 0; those from `num_items` on take their places, and have no weights.
        num_items: M.
        l2: the regularisation.
        half_life: after how many places an item counts half.
        window: how many places before an event are looked at.

    Returns:
        [M, M] float32, from the earlier item to the next one; its diagonal is 0.
    """
    by_user = np.argsort(user, kind="stable")
    user, item = user[by_user], item[by_user].astype(np.int64)
    ends = np.append(np.flatnonzero(user[1:] != user[:-1]) + 1, len(user))
    after = np.repeat(ends, np.diff(ends, prepend=0)) - 1 - np.arange(len(user))  # events of the same user
    fading = 0.5 ** (1 / half_life)
    together, following = _Sums(num_items), _Sums(num_items)
    for distance in range(min(window, len(user) - 1) + 1):
        last = len(user) - distance
        there = (user[distance:] == user[:last]) & (item[distance:] < num_items) & (item[:last] < num_items)
        first = np.flatnonzero(there)
        second = first + distance
        cell = item[first] * num_items + item[second]
        # Of the events after both, those that look as far back as the first.
        terms = np.minimum(after[second], window - distance)
        series = (1 - fading ** (2.0 * terms)) / (1 - fading**2)
        # An item with itself is there once, a pair is there both ways.
        together.add(cell, fading**distance * series * (1 if distance else 0.5))
        if distance:
            following.add(item[second] * num_items + item[first], np.full(len(first), fading ** (distance - 1)))
    gram = together.matrix()
    gram = regularised(gram + gram.T, l2)
    # In Fortran's order, in which LAPACK works in place: that of a symmetric matrix's transpose, and of Y^T X's.
    factor = linalg.cholesky(gram.T, lower=True, overwrite_a=True, check_finite=False)
    right = following.matrix().astype(gram.dtype, copy=False).T
    weights = linalg.cho_solve((factor, True), right, overwrite_b=True, check_finite=False)
    np.fill_diagonal(weights, 0)
    return weights.astype(np.float32, order="C")


class _Sums:
    """Sums of numbers by cells of a matrix [M, M]."""

    def __init__(self, num_items: int) -> None:
        self._shape = (num_items, num_items)
        self._sums = np.zeros(num_items**2)
        self._held: list[tuple[np.ndarray, np.ndarray]] = []
        self._size = 0

    def add(self, cell: np.ndarray, weight: np.ndarray) -> None:
        self._held.append((cell, weight))
        self._size += len(cell)
        if self._size >= _PAIRS:
            self._add_up()

    def matrix(self) -> np.ndarray:
        self._add_up()
        return self._sums.reshape(self._shape)

    def _add_up(self) -> None:
        if self._held:
            cells, weights = (np.concatenate(parts) for parts in zip(*self._held))
            self._sums += np.bincount(cells, weights, len(self._sums))
            self._held, self._size = [], 0
