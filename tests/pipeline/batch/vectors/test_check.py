"""The check: searches worked out by hand, and errors of all kinds that it must find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.batch.vectors import check
from pipeline.batch.vectors.asking import Lists, Towers, ids_of
from pipeline.batch.vectors.check import Agreement, Report, compare, explain, products, tolerances
from pipeline.batch.vectors.files import ITEMS, USERS, Vectors, write_vectors
from serving import contract as names
from tests.serving.wire import contract

INF = np.inf
SCORES = np.array([[3.0, 2.0, 1.0, 2.0]], np.float32)
"""Of items 0 to 3."""
SEEN_FIRST = np.array([[-INF, 2.0, 1.0, 2.0]], np.float32)


@pytest.mark.parametrize(
    ("rows", "scores", "equal", "difference"),
    [
        ([1, 3], [2.0, 2.0], True, 0),
        ([3, 1], [2.0, 2.0], True, 0),  # a tie
        ([1, 3, 2, -1], [2.0, 2.0, 1.0, -INF], True, 0),  # all there are, and padding
        ([1, 3], [2.0, 2.000_5], True, 0.000_5),  # within the tolerance
        ([1, 3], [2.0, 2.5], False, 0.5),  # another score
        ([1, 2], [2.0, 1.0], False, 0),  # another item, with its own score
        ([0, 1], [3.0, 2.0], False, 0),  # one that was seen
        ([1, 3, 2, -1, -1], [2.0, 2.0, 1.0, -INF, -INF], True, 0),  # k beyond the items
        ([1, 3, -1], [2.0, 2.0, -INF], False, 0),  # one is missing
        ([1, -1], [2.0, 2.0], False, 0),  # one that the files lack
    ],
)
def test_lists_by_hand(rows: list[int], scores: list[float], equal: bool, difference: float) -> None:
    lists = Lists([], np.array([scores], np.float32))
    same, apart = compare(SCORES, SEEN_FIRST, np.array([rows]), lists, np.array([0.001]))
    assert same.tolist() == [equal]
    assert apart == pytest.approx(difference, abs=1e-6)


def test_numbers_that_are_none_are_not_equal() -> None:
    lists = Lists([], np.array([[np.nan]], np.float32))
    assert compare(SCORES, SCORES, np.array([[0]]), lists, np.array([0.001]))[0].tolist() == [False]


def test_products_and_tolerances_are_the_same_with_the_bias_apart_or_in() -> None:
    apart = Vectors([b"a", b"b"], np.array([[1, 2], [3, 4]], np.float32), np.array([12, 0.5], np.float32))
    folded = Vectors([b"a", b"b"], np.array([[1, 2, 12], [3, 4, 0.5]], np.float32), None)
    user = Vectors([b"u"], np.array([[2, 2]], np.float32), None)
    with_one = Vectors([b"u"], np.array([[2, 2, 1]], np.float32), None)
    for items, users in ((apart, user), (folded, with_one)):
        assert products(items, users).tolist() == [[18, 14.5]]
        # The longest item has 1 + 4 + 144, the query 4 + 4 + 1.
        assert tolerances(items, users) == pytest.approx([1e-5 * 149**0.5 * 3])


REPORT = Report(3, 10, Agreement(1.0, 1e-7), Agreement(1.0, 2e-7))


def test_what_is_said() -> None:
    assert explain(REPORT, []) == (
        "3 users, the best 10: the vectors give 100 % of the lists of the model (largest difference of a score 1e-07)"
    )
    ranked = REPORT._replace(servable=Agreement(0.99999, 0.5))
    assert explain(ranked, ["second_stage", "diversity"]) == (
        "3 users, the best 10: the vectors give 99.9 % of the lists of the model (largest difference of a score 0.5),"
        " for the model has more than vectors: a second stage, which ranks what the vectors find; diversity"
        " (serving.diversity). They give 100 % of the lists of the towers alone (largest difference of a score 2e-07)"
    )
    assert "more than vectors" not in explain(ranked, [])
    assert "something new" in explain(ranked, ["something new"])


@pytest.fixture(scope="module")
def towers(contract_servable: Path) -> Towers:
    return Towers(contract_servable, fold_bias=False)


@pytest.fixture
def right(towers: Towers, contract_servable: Path) -> tuple[Vectors, Vectors]:
    [items] = towers.items(ids_of(contract_servable / names.ITEMS))
    [users] = towers.users(ids_of(contract_servable / names.USERS))
    return items, users


def checked(folder: Path, towers: Towers, items: Vectors, users: Vectors, most: int = 100, k: int = 5) -> Report:
    write_vectors(folder, ITEMS, "npy", [items], len(items.ids))
    write_vectors(folder, USERS, "npy", [users], len(users.ids))
    return check.check(folder, towers, len(items.ids), len(users.ids), most, k)


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("size", [1 << 24, 1])
def test_right_vectors(
    towers: Towers, right: tuple[Vectors, Vectors], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(check, "_SCORES", size)
    report = checked(tmp_path, towers, *right, k=50)
    assert (report.users, report.k, report.servable.equal, report.towers.equal) == (5, 50, 1, 1)
    assert report.servable.largest_difference < 1e-5
    assert report.facts()["towers"] == {
        "equal": 1,
        "largest_difference": report.towers.largest_difference,
    }


@pytest.mark.slow
@pytest.mark.smoke
def test_users_are_spread_evenly(
    towers: Towers, right: tuple[Vectors, Vectors], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    monkeypatch.setattr(towers, "retrieve", lambda users, k: (asked.extend(users), towers.recommend(users, k))[1])
    assert checked(tmp_path, towers, *right, most=3).users == 3
    assert [user.decode() for user in asked] == [contract.USERS[row] for row in (0, 2, 4)]


def wrong(name: str, items: Vectors, users: Vectors) -> tuple[Vectors, Vectors]:
    assert items.bias is not None
    changes: dict[str, Any] = {
        "items in another order": (items._replace(ids=items.ids[::-1]), users),
        "users in another order": (items, users._replace(ids=users.ids[::-1])),
        "no bias": (items._replace(bias=np.zeros_like(items.bias)), users),
        "all twice as long": (items._replace(vectors=2 * items.vectors, bias=2 * items.bias), users),
        "an item of another name": (items._replace(ids=[b"new", *items.ids[1:]]), users),
        "a bias a little off": (items._replace(bias=items.bias + np.float32(0.01)), users),
        "a number that is none": (items._replace(vectors=np.where(items.vectors > 1, np.nan, items.vectors)), users),
    }
    return changes[name]


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(
    "name",
    [
        "items in another order",
        "users in another order",
        "no bias",
        "all twice as long",
        "an item of another name",
        "a bias a little off",
        "a number that is none",
    ],
)
def test_wrong_vectors(towers: Towers, right: tuple[Vectors, Vectors], tmp_path: Path, name: str) -> None:
    report = checked(tmp_path, towers, *wrong(name, *right), k=50)
    assert report.servable.equal < 1
    assert report.towers.equal < 1
