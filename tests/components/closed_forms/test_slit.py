"""SLIT against values worked out by hand, and against the rows that it never makes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.closed_forms import slit as module
from components.closed_forms.slit import slit


def test_what_comes_next_is_solved_for() -> None:
    # u: 0 1 2, and v in between: 1 0. Rows of X: u (1, 0, 0) before 1 and (1/2, 1, 0) before 2; v (0, 1, 0) before 0.
    user, item = np.array([0, 1, 0, 1, 0]), np.array([0, 1, 1, 0, 2])
    gram = np.array([[1 + 1 / 4, 1 / 2, 0], [1 / 2, 1 + 1, 0], [0, 0, 0]]) + 2 * np.eye(3)
    following = np.array([[0, 1, 1 / 2], [1, 0, 1], [0, 0, 0]])
    expected = np.linalg.solve(gram, following)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(slit(user, item, 3, 2.0, 1.0, 9), expected, rtol=1e-5)


def test_items_without_weights_take_their_places() -> None:
    # 0, then one without, then 1: what 0 counts for 1 is a half.
    found = slit(np.zeros(3, int), np.array([0, 5, 1]), 2, 1.0, 1.0, 9)
    np.testing.assert_allclose(found, [[0, 0.5 / (1 + 1 / 4 + 1)], [0, 0]], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.smoke
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=40),
    st.floats(0.5, 30),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_any_log(events: list[tuple[int, int]], half_life: float, window: int, at_a_time: int) -> None:
    size = 4  # of six items
    gram, following = np.eye(size), np.zeros((size, size))
    for user in range(4):
        own = [item for whose, item in events if whose == user]
        for place, target in enumerate(own):
            row = np.zeros(6)
            for ago, item in enumerate(own[:place][::-1][:window]):
                row[item] += 0.5 ** (ago / half_life)
            gram += np.outer(row[:size], row[:size])
            if target < size:
                following[:, target] += row[:size]
    expected = np.linalg.solve(gram, following)
    np.fill_diagonal(expected, 0)
    user, item = np.array(events).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PAIRS", at_a_time)
        np.testing.assert_allclose(slit(user, item, size, 1.0, half_life, window), expected, atol=1e-3)
