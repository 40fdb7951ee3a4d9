"""History overlap against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from components.metrics.history_overlap import categories_of, history_overlap


def test_history_overlap() -> None:
    # Categories of the items: {0, 1}, {1, 2}, {3} and none, in vectors of length 1.
    half = math.sqrt(1 / 2)
    features = sparse.csr_array(np.array([[half, half, 0, 0], [0, half, half, 0], [0, 0, 0, 1], [0, 0, 0, 0]]))
    past = categories_of(np.array([0, 0, 3, 2, 2, 3]), np.array([0, 0, 0, 1, 2, 3]), 5, features)
    assert past.toarray().tolist() == [[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    lists = np.array([[1, 3], [0, 2], [3, -1], [0, 1], [1, -1]])
    # {1, 2} with {0, 1}; {0, 1, 3} with {3}; an answer without categories; histories without.
    expected = [1 / 3, 1 / 3, math.nan, math.nan, math.nan]
    assert history_overlap(lists, past, features).tolist() == pytest.approx(expected, nan_ok=True)


@pytest.mark.slow
@pytest.mark.smoke
@given(
    st.lists(st.sets(st.integers(0, 4), max_size=3), min_size=2, max_size=5),
    st.lists(st.integers(0, 1), max_size=4),
    st.lists(st.integers(-1, 1), min_size=1, max_size=4),
)
def test_history_overlap_is_the_jaccard_index_of_sets(
    categories: list[set[int]], history: list[int], answer: list[int]
) -> None:
    features = sparse.csr_array(np.array([[float(c in own) for c in range(5)] for own in categories]))
    past = categories_of(np.array(history, int), np.zeros(len(history), int), 1, features)
    had = set().union(*(categories[item] for item in history))
    got = set().union(*(categories[item] for item in answer if item >= 0))
    expected = len(had & got) / len(had | got) if had and got else math.nan
    assert history_overlap(np.array([answer]), past, features).tolist() == pytest.approx([expected], nan_ok=True)
