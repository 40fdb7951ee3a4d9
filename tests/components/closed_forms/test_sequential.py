"""What follows within some places, against values worked out by hand and pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.closed_forms import sequential as module
from components.closed_forms.sequential import sequential


def test_pairs_count_one_over_their_distance() -> None:
    # u: 0 1 2, and v in between: 1 0. After 0: 1 at distance 1, 2 at distance 2; after 1: 2 and 0.
    user, item = np.array([0, 1, 0, 1, 0]), np.array([0, 1, 1, 0, 2])
    counts = [[0, 1, 1 / 2], [1, 0, 1], [0, 0, 0]]
    np.testing.assert_allclose(sequential(user, item, 3, 2, 0, 0, 9).toarray(), counts)
    # Rows add up to 1.5, 2 and 0, columns to 1, 1 and 1.5.
    expected = [[0, 1 / 1.5**0.5, 0.5 / (1.5**0.5 * 1.5)], [1 / 2**0.5, 0, 1 / (2**0.5 * 1.5)], [0, 0, 0]]
    np.testing.assert_allclose(sequential(user, item, 3, 2, 0.5, 1, 9).toarray(), expected, rtol=1e-6)
    kept = sequential(user, item, 3, 2, 0.5, 1, 1).toarray()
    np.testing.assert_allclose(kept, [[0, 1 / 1.5**0.5, 0], [1 / 2**0.5, 0, 0], [0, 0, 0]], rtol=1e-6)


def test_an_item_does_not_follow_itself() -> None:
    assert sequential(np.zeros(3, int), np.array([1, 1, 1]), 2, 5, 0.5, 0.5, 9).nnz == 0


@pytest.mark.slow
@pytest.mark.smoke
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=40), st.integers(1, 5), st.integers(1, 3))
def test_any_log(events: list[tuple[int, int]], window: int, at_a_time: int) -> None:
    expected = np.zeros((6, 6))
    for user in range(4):
        own = [item for whose, item in events if whose == user]
        for first, source in enumerate(own):
            for distance, target in enumerate(own[first + 1 : first + 1 + window], 1):
                if source != target:
                    expected[source, target] += 1 / distance
    user, item = np.array(events, int).reshape(-1, 2).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PAIRS", at_a_time)
        found = sequential(user, item, 6, window, 0, 0, 6)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-6)
