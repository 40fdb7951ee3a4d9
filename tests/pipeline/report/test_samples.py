"""Whom and what the report asks about, and what it counts of the answers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipeline.report.samples import BANDS, Bands, _carriers, overlap_of, spread_places, spread_users

IDS = [f"i{number}".encode() for number in range(10)]


def test_bands_are_those_of_the_slices() -> None:
    bands = Bands(IDS)  # head: the first; mid: down to the fifth; tail: the rest
    assert BANDS == ("head", "mid", "tail", "new")
    assert bands.shares([b"i0", b"i0", b"i4", b"i5", b"nobody", b""]) == pytest.approx([0.4, 0.2, 0.2, 0.2])
    assert bands.shares(IDS, np.array([90, 2, 2, 2, 2, 2, 0, 0, 0, 0])) == pytest.approx([0.9, 0.08, 0.02, 0])
    assert bands.catalogue(20) == pytest.approx([0.05, 0.2, 0.25, 0.5])
    assert bands.shares([b""]) == [0, 0, 0, 0]


def test_overlap_is_the_mean_share_of_the_second_answers_items() -> None:
    first = np.array([[b"a", b"b"], [b"a", b"b"], [b"a", b"b"]], object)
    second = np.array([[b"b", b"a"], [b"a", b"c"], [b"a", b""]], object)
    assert overlap_of(first, second) == pytest.approx((1 + 0.5 + 1) / 3)
    assert overlap_of(first[:1], np.array([[b""]], object)) == 0


def test_what_carries_an_item_comes_by_how_much_it_adds() -> None:
    explained = {
        "history_ids": np.array([[b"a", b"b", b"c"], [b"d", b"", b""]], object),
        "contributions": np.array([[[0.1, -1.0, 0.2], [-1, -2, -3]], [[0.5, 0, 0], [0, 0, 0]]], np.float32),
    }
    assert _carriers(explained).tolist() == [[[b"c", b"a"], [b"", b""]], [[b"d", b""], [b"", b""]]]
    explained = {"history_ids": np.zeros([2, 0], object), "contributions": np.zeros([2, 3, 0], np.float32)}
    assert _carriers(explained).shape == (2, 3, 0)
    assert len(_carriers(None)) == 0


def test_users_are_shown_once_from_the_shortest_history_to_the_longest() -> None:
    users = [f"ü{number % 30}".encode() for number in range(90)]
    history = [[b"x"] * (number % 30) for number in range(90)]
    queries = pa.table(
        {
            "user_id": pa.array([[user] for user in users], pa.large_list(pa.large_binary())),
            "history": pa.array(history, pa.large_list(pa.large_binary())),
        }
    )
    rows = spread_users(queries)
    assert len(rows) == 10
    assert len({users[row] for row in rows}) == 10
    lengths = [len(history[row]) for row in rows]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (0, 29)
    assert rows.tolist() == spread_users(queries).tolist()
    assert len(spread_users(queries.slice(0, 3))) == 3


@pytest.mark.parametrize(("size", "places"), [(0, []), (1, [0]), (3, [0, 1, 2]), (10, list(range(10)))])
def test_few_items_are_all_shown(size: int, places: list[int]) -> None:
    assert spread_places(size) == places


def test_items_are_shown_from_the_head_to_the_tail() -> None:
    for size in (11, 60, 1_616, 100_000):
        places = spread_places(size)
        assert (len(set(places)), places[0], places[-1]) == (10, 0, size - 1)
        assert places == sorted(places)
