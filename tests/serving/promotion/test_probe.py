"""What the probe finds wrong with an answer."""

from __future__ import annotations

import math
from typing import Optional

import pytest

from serving import contract
from serving.client import Recommendation, RecommendationList, SimilarItems
from serving.promotion.errors import PromotionFailed
from serving.promotion.probe import known_users, list_faults


def answer(*items: tuple[str, float], source: str = "user") -> RecommendationList:
    return RecommendationList(tuple(Recommendation(*item) for item in items), source)


GOOD = answer(("a", 2.0), ("b", 2.0), ("c", -1.0))


@pytest.mark.parametrize(
    ("found", "k", "forbidden", "source", "fault"),
    [
        (GOOD, 2, [], None, "3 items where k was 2"),
        (answer(("a", 2.0), ("a", 1.0)), 3, [], None, "item 'a' twice"),
        (GOOD, 3, ["c", "b"], None, "item 'b', which was seen or excluded"),
        (answer(("a", 1.0), ("b", 2.0)), 3, [], None, "scores that are not sorted"),
        (answer(("a", math.nan)), 3, [], None, "a score that is not a number"),
        (answer(("a", math.inf)), 3, [], None, "a score that is not a number"),
        (GOOD, 3, [], "history", "source 'user', not 'history'"),
    ],
)
def test_faults(found: RecommendationList, k: int, forbidden: list[str], source: Optional[str], fault: str) -> None:
    assert list_faults(found, k, forbidden, source) == [fault]


def test_none() -> None:
    assert list_faults(GOOD, 3, ["d"], "user") == []
    assert list_faults(SimilarItems((), known=True), 3, ["d"]) == []


def test_the_users_that_a_version_knows(tmp_path) -> None:
    assert known_users(tmp_path) == []
    path = tmp_path / contract.USERS
    path.parent.mkdir()
    path.write_text("\n".join(f"ü{number}" for number in range(20)), encoding="utf-8")
    assert known_users(tmp_path, 3) == ["ü0", "ü1", "ü2"]
    assert len(known_users(tmp_path)) == 8
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(PromotionFailed, match="can't be read: 'utf-8' codec can't decode byte 0xe9"):
        known_users(tmp_path)
