"""Votes of the items of a history, against what they come to by hand and one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from components.closed_forms.linear import Part, from_bytes, strongest, to_bytes, to_rows

WEIGHTS = np.array([[0.0, 2.0, -1.0], [4.0, 0.0, 0.0], [0.0, 0.0, 0.0]], np.float32)


def part(name: str = "ease", share: float = 1.0) -> Part:
    return Part(name, sparse.csr_array(WEIGHTS), np.array([1.0, 0.5], np.float32), share)


def test_items_vote_by_their_place() -> None:
    # The second request's newest item is none, but takes the first place; a third place counts nothing.
    history = np.array([[0, 1, 1], [-1, 0, 1], [2, -1, -1]])
    assert part().votes(history).tolist() == [[2, 2, -1], [0, 1, -0.5], [0, 0, 0]]


def test_votes_count_by_the_share() -> None:
    assert part(share=0.5).votes(np.array([[0, 1]])).tolist() == [[1, 1, -0.5]]


def test_the_strongest_weights_are_kept_whatever_their_sign() -> None:
    weights = np.array([[0.0, 3.0, -4.0, 1.0], [0.5, 0.0, 0.1, -0.2], [0, 0, 0, 0], [1, 1, 1, 0]], np.float32)
    kept = strongest(weights, 2)
    assert kept.toarray()[:3].tolist() == [[0, 3, -4, 0], np.float32([0.5, 0, 0, -0.2]).tolist(), [0, 0, 0, 0]]
    assert kept.nnz == 6
    assert strongest(weights, 9).toarray().tolist() == weights.tolist()


@pytest.mark.slow
@pytest.mark.smoke
@given(
    arrays.arrays(np.float32, st.tuples(*[st.shared(st.integers(1, 9), key="size")] * 2), elements=st.integers(-9, 9)),
    st.integers(1, 10),
)
def test_no_weight_that_is_left_out_is_stronger(weights: np.ndarray, neighbours: int) -> None:
    kept = strongest(weights, neighbours).toarray()
    assert ((kept == weights) | (kept == 0)).all()
    for row, own in zip(weights, kept):
        least = np.sort(np.abs(row))[::-1][:neighbours]
        assert np.sort(np.abs(own))[::-1][:neighbours].tolist() == least.tolist()


def test_rows_of_items_can_change() -> None:
    # Item 0 goes to row 3, item 1 to row 0, and item 2 is not there any more.
    moved = to_rows(part(), np.array([3, 0, -1]), 4)
    expected = np.zeros((4, 4))
    expected[3, 0], expected[0, 3] = 2, 4
    assert moved.weights.toarray().tolist() == expected.tolist()
    assert moved.weights.has_canonical_format


def test_what_is_written_is_read() -> None:
    ids = [b"a", b"b\0", "c🙂 ".encode()]
    [again], item_ids = from_bytes(to_bytes([part("sequential", 0.25)], ids))
    assert item_ids == ids
    assert (again.name, again.share) == ("sequential", 0.25)
    assert again.weights.toarray().tolist() == WEIGHTS.tolist()
    assert again.places.tolist() == [1, 0.5]
