"""Which impression an event is ascribed to: cases by hand, and any others against every pair looked at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.feedback.join import ascribe


def ascribed(shown, took, window=10, clock=0):
    """Of (pair, time, place) and (pair, time)."""
    columns = [np.array(column, np.int64) for column in zip(*shown)] or [np.empty(0, np.int64)] * 3
    others = [np.array(column, np.int64) for column in zip(*took)] or [np.empty(0, np.int64)] * 2
    return ascribe(*columns, *others, window, clock).tolist()


def test_the_latest_before_it_gets_an_event():
    shown = [(0, 5, 1), (0, 9, 3), (1, 6, 2)]
    assert ascribed(shown, [(0, 8), (0, 9), (0, 12), (1, 5), (1, 16), (1, 17), (2, 7)]) == [0, 1, 1, -1, 2, -1, -1]


def test_of_one_time_the_best_place_does_and_then_the_first():
    assert ascribed([(0, 5, 2), (0, 5, 1), (0, 5, 1)], [(0, 6)]) == [1]


def test_a_log_that_is_behind():
    assert ascribed([(0, 5, 1)], [(0, 4), (0, 3), (0, 15), (0, 16)], clock=1) == [0, -1, 0, -1]


def test_nothing_was_shown_or_taken():
    assert ascribed([], [(0, 1)]) == [-1]
    assert ascribed([(0, 1, 1)], []) == []


@pytest.mark.slow
@pytest.mark.smoke
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(1, 3)), max_size=12),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=12),
    st.integers(0, 8),
    st.integers(0, 2),
)
def test_as_every_pair_looked_at(shown, took, window, clock):
    def by_force(pair, at):
        fitting = [
            (time, -place, -row)
            for row, (other, time, place) in enumerate(shown)
            if other == pair and time <= at + clock
        ]
        time, _, row = max(fitting, default=(0, 0, 1))
        return -row if row <= 0 and at - time <= window else -1

    assert ascribed(shown, took, window, clock) == [by_force(*event) for event in took]
