"""What models answer to queries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.components.evaluator.arrays import ragged


class FakeBaseline:
    """Scores an item by its row, and those in the history's first place higher."""

    def __init__(self, scores: list[float]):
        self._scores = np.array(scores, np.float32)

    def scores(self, histories: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return np.tile(self._scores, (len(histories[1]) - 1, 1))


@pytest.mark.slow
@pytest.mark.smoke
@given(
    scores=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    known=st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=4),
    depth=st.integers(1, 8),
    left_out=st.lists(st.sets(st.integers(0, 5)), min_size=4, max_size=4),
)
def test_popular_items_are_answered_as_if_each_query_had_scores_of_its_own(
    scores: list[int], known: list[set[int]], depth: int, left_out: list[set[int]]
) -> None:
    from components.evaluator.answers import answer
    from components.evaluator.baselines.popularity import Popularity

    past = ragged(*([row for row in rows if row < len(scores)] for rows in known))
    excluded = ragged(*([row for row in rows if row < len(scores)] for rows in left_out[: len(known)]))
    popularity = Popularity(np.array(scores, np.float32))
    expected = answer(FakeBaseline(list(map(float, scores))), past, excluded, depth)
    assert answer(popularity, past, excluded, depth).tolist() == expected.tolist()


def test_a_baselines_answer() -> None:
    from components.evaluator.answers import answer

    baseline = FakeBaseline([1, 3, 3, 2])
    past = ragged([], [2], [3, 1, 0, 2])
    assert answer(baseline, past, past, 2).tolist() == [[1, 2], [1, 3], [-1, -1]]
    assert answer(baseline, past, past, 5).tolist() == [[1, 2, 3, 0, -1], [1, 3, 0, -1, -1], [-1] * 5]
    assert answer(baseline, past, ragged([], [], []), 2).tolist() == [[1, 2]] * 3
    assert answer(baseline, past, ragged([1], [2, 0], []), 2).tolist() == [[2, 3], [1, 3], [1, 2]]


@pytest.mark.slow
@pytest.mark.smoke
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=4),
    st.integers(1, 10),
)
@settings(max_examples=40, deadline=None)
def test_a_baselines_answer_is_the_sorted_catalogue(scores: list[int], histories: list[set[int]], depth: int) -> None:
    from components.evaluator.answers import answer

    known = [[item for item in history if item < len(scores)] for history in histories]
    ranked = sorted(range(len(scores)), key=lambda item: (-scores[item], item))
    expected = []
    for history in known:
        left = [item for item in ranked if item not in history][:depth]
        expected.append(left + [-1] * (depth - len(left)))
    assert answer(FakeBaseline(list(map(float, scores))), ragged(*known), ragged(*known), depth).tolist() == expected


def test_distinct_keeps_the_first_of_each_known_item_in_its_order() -> None:
    from components.evaluator.answers import distinct

    query = np.array([0, 0, 2, 2, 0, 0, 2, 2])
    rows = np.array([3, 1, 0, 5, 1, 2, 0, -1])
    values, offsets = distinct(query, rows, num_queries=4, num_items=5)
    assert values.tolist() == [3, 1, 2, 0]
    assert offsets.tolist() == [0, 3, 3, 4, 4]
