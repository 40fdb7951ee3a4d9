"""What the client returns behaves as sequences and says what it is."""

from __future__ import annotations

import pytest

from serving.client import (
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


@pytest.mark.parametrize(("state", "available"), [("AVAILABLE", True), ("LOADING", False), ("END", False)])
def test_only_one_state_answers(state, available):
    assert VersionStatus(1, state).available is available
