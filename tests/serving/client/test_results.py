"""What the client returns behaves as sequences and says what it is."""

from __future__ import annotations

import pytest

from serving.client import (
    Contribution,
    Explanation,
    Recommendation,
    RecommendationList,
    ScoredUser,
    ServerUnavailable,
    SimilarItems,
    UserList,
    VersionStatus,
)

ITEMS = (Recommendation("b", 2.0), Recommendation("a", 1.0))


@pytest.mark.parametrize("found", [RecommendationList(ITEMS, "user"), SimilarItems(ITEMS, known=True)])
def test_lists_are_sequences(found):
    assert found.item_ids == ["b", "a"]
    assert (len(found), list(found), found[0], found[-1].score) == (2, list(ITEMS), ITEMS[0], 1.0)


def test_users_are_a_sequence():
    users = (ScoredUser("b", -1.0), ScoredUser("a", -2.0))
    found = UserList(users, known=True)
    assert found.user_ids == ["b", "a"]
    assert (len(found), list(found), found[0], found[-1].score) == (2, list(users), users[0], -2.0)


def test_a_fall_back_list_has_its_reason_which_is_no_part_of_it():
    found = RecommendationList(ITEMS, "fallback", error=ServerUnavailable("down"))
    assert found.fallback
    assert found == RecommendationList(ITEMS, "fallback")
    assert not RecommendationList(ITEMS, "user").fallback


def test_an_explanation_has_what_adds_most_first():
    history = tuple(Contribution(*pair) for pair in (("a", 0.5), ("b", -2.0), ("c", 1.0), ("d", 0.0), ("e", 0.5)))
    found = Explanation("x", 1.25, history, {"user_id": 0.0, "empty_history": 0.25, "bias": 1.0}, "exact")
    assert [item.item_id for item in found.top()] == ["c", "a", "e"]
    assert found.top(1) == (Contribution("c", 1.0),)
    assert [item.item_id for item in found.top(9)] == ["c", "a", "e"]
    assert str(found) == ("x: 1.250 (exact: b -2.000, c +1.000, bias +1.000, a +0.500, e +0.500, empty history +0.250)")
    assert str(Explanation("x", float("-inf"), (), {"bias": 0.0}, "exact")) == "x: -inf (exact: nothing)"


@pytest.mark.parametrize(("state", "available"), [("AVAILABLE", True), ("LOADING", False), ("END", False)])
def test_only_one_state_answers(state, available):
    assert VersionStatus(1, state).available is available
