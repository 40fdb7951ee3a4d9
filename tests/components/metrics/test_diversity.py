"""Diversity against values worked out by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from components.metrics.diversity import diversity


def test_diversity() -> None:
    half = math.sqrt(1 / 2)
    features = sparse.csr_array(np.array([[1, 0, 0], [half, half, 0], [0, 0, 1], [0, 0, 0]]))
    lists = np.array([[0, 1, 2], [0, 1, -1], [0, 3, 2], [0, 3, -1], [-1, -1, -1]])
    # Cosines: 0 and 1 half of the root of 2, all others 0. Item 3 has no features, so nothing is known of its distance.
    expected = [((1 - half) + 1 + 1) / 3, 1 - half, 1, math.nan, math.nan]
    assert diversity(lists, features).tolist() == pytest.approx(expected, nan_ok=True)


@pytest.mark.slow
@pytest.mark.smoke
@given(
    st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=2, max_size=6),
    st.integers(2, 6),
)
def test_diversity_is_the_mean_over_pairs(raw: list[list[bool]], k: int) -> None:
    dense = np.array(raw, float)
    length = np.linalg.norm(dense, axis=1, keepdims=True)
    dense /= np.where(length > 0, length, 1)
    rows = np.arange(len(raw))[:k]
    described = [row for row in rows if dense[row].any()]
    distances = [1 - dense[i] @ dense[j] for i, j in itertools.combinations(described, 2)]
    expected = np.mean(distances) if distances else math.nan
    assert diversity(rows[None], sparse.csr_array(dense)).tolist() == pytest.approx([expected], abs=1e-9, nan_ok=True)
