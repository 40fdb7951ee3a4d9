"""Whom an item is for and who is like whom, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.indexer import audience, blocks
from components.indexer.attributes import user_attributes
from components.indexer.audience import owners_of
from components.indexer.gather import Stored
from components.indexer.index import Index
from components.indexer.settings import Compact
from serving.contract import NO_SCORE
from tests.components.indexer.tiny import (
    ITEMS,
    SETTINGS,
    STORED,
    ask,
    in_memory,
    make_index,
    shift_of,
    signatures_of,
    strings,
    vectors,
    write_towers,
)

USERS = list(STORED)

AUDIENCE = SETTINGS.model_copy(update={"audience": True})


def queries() -> np.ndarray:
    """The vectors of the users: the means of what they had, [U, D]."""
    embedding, _ = vectors()
    return np.array([embedding[[ITEMS.index(item) for item in STORED[user]]].mean(axis=0) for user in USERS])


def log_probabilities() -> np.ndarray:
    """log p(item | user), [U, N]."""
    embedding, bias = vectors()
    scores = queries() @ embedding.T + bias
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def best(scores: np.ndarray, left_out: set[str], k: int) -> tuple[list[str], list[float]]:
    """Of scores [U] the k best users and their scores, padded."""
    kept = [row for row in np.argsort(-scores, kind="stable") if USERS[row] not in left_out][:k]
    padding = k - len(kept)
    return [USERS[row] for row in kept] + [""] * padding, [float(scores[row]) for row in kept] + [NO_SCORE] * padding


def owners(item: str) -> set[str]:
    return {user for user in USERS if item in STORED[user]}


def asked(
    servable: Any, items: list[str], excludes: list[list[str]], without_owners: list[bool], k: int, **rules: Any
) -> tuple[list[list[str]], np.ndarray, list[bool]]:
    answer = ask(
        servable,
        "audience_with_rules" if rules else "audience",
        item_id=tf.constant(items),
        exclude=strings(excludes),
        exclude_owners=tf.constant(without_owners),
        k=tf.constant(k),
        **rules,
    )
    return named(answer), answer["scores"], answer["known"].tolist()


def named(answer: dict[str, np.ndarray]) -> list[list[str]]:
    return [[user.decode() for user in row] for row in answer["user_ids"]]


any_user = st.sampled_from([*USERS, "stranger", ""])
any_request = st.tuples(st.sampled_from([*ITEMS, "unknown"]), st.lists(any_user, max_size=3), st.booleans())


@pytest.mark.slow
@pytest.mark.smoke
@settings(max_examples=60, deadline=None)
@given(requests=st.lists(any_request, min_size=1, max_size=4), k=st.integers(1, 6))
def test_an_audience_is_those_who_would_most_probably_take_the_item_next(
    of_users: Any, requests: list[tuple[str, list[str], bool]], k: int
) -> None:
    items, excludes, without_owners = (list(column) for column in zip(*requests))
    users, scores, known = asked(of_users, items, excludes, without_owners, k)
    for row, (item, exclude, without) in enumerate(requests):
        if item not in ITEMS:
            assert (users[row], scores[row].tolist(), known[row]) == ([""] * k, [NO_SCORE] * k, False)
            continue
        wanted = best(log_probabilities()[:, ITEMS.index(item)], {*exclude, *(owners(item) if without else ())}, k)
        assert (users[row], known[row]) == (wanted[0], True)
        assert scores[row] == pytest.approx(wanted[1], rel=1e-4, abs=1e-5)


def test_the_probabilities_of_a_user_add_up_to_one(of_users: Any) -> None:
    users, scores, _ = asked(of_users, ITEMS, [[]] * len(ITEMS), [False] * len(ITEMS), len(USERS))
    for user in USERS:
        own = [scores[row, users[row].index(user)] for row in range(len(ITEMS))]
        assert np.exp(own).sum() == pytest.approx(1, rel=1e-4)


def test_it_is_the_score_that_recommend_ranks_by_less_a_number_of_the_users_own(of_users: Any) -> None:
    users, scores, _ = asked(of_users, ITEMS, [[]] * len(ITEMS), [False] * len(ITEMS), len(USERS))
    plain = ask(
        of_users,
        "score",
        user_id=tf.constant(USERS),
        history=strings([[]] * len(USERS)),
        candidates=strings([ITEMS] * len(USERS)),
    )["scores"]
    own = np.array([[scores[row, users[row].index(user)] for row in range(len(ITEMS))] for user in USERS])
    less = plain - own
    assert less == pytest.approx(np.repeat(less[:, :1], len(ITEMS), axis=1), abs=1e-4)
    # Which it must be: by the plain scores others would come first.
    assert [int(row) for row in plain.argmax(axis=0)] != [int(row) for row in own.argmax(axis=0)]


@pytest.mark.slow
@pytest.mark.smoke
@settings(max_examples=30, deadline=None)
@given(users=st.lists(any_user, min_size=1, max_size=4), exclude=st.lists(any_user, max_size=2), k=st.integers(1, 5))
def test_similar_users_are_by_the_cosine_of_their_vectors(
    of_users: Any, users: list[str], exclude: list[str], k: int
) -> None:
    excludes = [exclude] * len(users)
    answer = ask(of_users, "similar_users", user_id=tf.constant(users), exclude=strings(excludes), k=tf.constant(k))
    directions = queries() / np.linalg.norm(queries(), axis=1, keepdims=True)
    for row, user in enumerate(users):
        known = user in USERS
        assert answer["known"][row] == known
        cosines = directions @ directions[USERS.index(user)] if known else np.zeros(len(USERS))
        wanted = best(cosines, {user, *exclude} if known else set(USERS), k)
        assert named(answer)[row] == wanted[0]
        assert answer["scores"][row] == pytest.approx(wanted[1], rel=1e-4, abs=1e-5)


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("compact", ["float16", "int8"])
def test_vectors_of_less_precision(
    towers: str, index: Index, compact: Compact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the users in blocks, one more row than there are users, and asked one at a time."""
    monkeypatch.setattr(blocks, "_BLOCKS_FROM", 3)
    monkeypatch.setattr(blocks, "_BLOCK", 2)
    monkeypatch.setattr(audience, "_MOST_USERS", 1)
    servable = in_memory(towers, index, AUDIENCE.model_copy(update={"compact": compact}))
    users, scores, _ = asked(servable, ["f", "a"], [[], ["cleo"]], [True, False], 4)
    for row, (item, left_out) in enumerate((("f", {"cleo"}), ("a", {"cleo"}))):
        wanted = best(log_probabilities()[:, ITEMS.index(item)], left_out, 4)
        assert users[row] == wanted[0]
        assert scores[row] == pytest.approx(wanted[1], abs=0.1)
    answer = ask(servable, "similar_users", user_id=tf.constant(["ann"]), exclude=strings([[]]), k=tf.constant(4))
    assert sorted(named(answer)[0]) == ["", "", "bob, jr", "cleo"]


@pytest.mark.slow
@pytest.mark.smoke
def test_features_and_ids_of_users_count_and_features_filter(tmp_path: Path) -> None:
    """The feature `shift` is stored of ann (2) and cleo (-1)."""
    shift = [{"name": "shift", "type": "number"}]
    towers = write_towers(tmp_path / "towers", shift, ["shift"], users={"cleo": [0.5, 0.0, -1.0]})
    servable = in_memory(towers, make_index(towers, tmp_path / "data"), AUDIENCE)
    embedding, bias = vectors()
    moved = queries() + np.array([[2.0, 2.0, 2.0], [0, 0, 0], [-1 + 0.5, -1, -1 - 1]])
    scores = moved @ embedding.T + bias
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    none = strings([[]])
    for conditions, allow, left in (
        ([], [], set()),
        (["shift>=0"], [], {"bob, jr", "cleo"}),
        (["shift=-1", "shift=2"], [], {"bob, jr"}),
        (["shift<=5"], ["cleo", "bob, jr"], {"ann", "bob, jr"}),
        ([], ["bob, jr", "no such user"], {"ann", "cleo"}),
    ):
        rules = {"allow": strings([allow]) if allow else none, "filter": strings([conditions])}
        users, found, _ = asked(servable, ["g"], [[]], [True], 3, **rules)
        wanted = best(scores[:, ITEMS.index("g")], left, 3)
        assert users == [wanted[0]]
        assert found[0] == pytest.approx(wanted[1], rel=1e-4, abs=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"one of: shift \(features of users in model\.query_f"):
        asked(servable, ["g"], [[]], [True], 3, allow=none, filter=strings([["price<=3"]]))


def test_a_k_that_there_can_not_be(of_users: Any) -> None:
    for k, message in ((0, "at least 1"), (1_001, "at most 1000")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"k must be {message}"):
            asked(of_users, ["a"], [[]], [True], k)
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"k must be {message}"):
            ask(of_users, "similar_users", user_id=tf.constant(["ann"]), exclude=strings([[]]), k=tf.constant(k))


def test_a_servable_has_no_vectors_of_users_unless_told(seven: Any, of_users: Any) -> None:
    assert set(signatures_of(of_users)) - set(signatures_of(seven)) == {
        "audience",
        "audience_with_rules",
        "similar_users",
    }
    named_variables = {variable.name for variable in seven.variables}
    assert {variable.name for variable in of_users.variables} - named_variables >= {"audience:0", "owners_values:0"}


def test_owners_by_item(index: Index) -> None:
    found_of = owners_of(Stored(index.history_values, index.history_splits), len(ITEMS))
    splits, users = found_of.splits, found_of.values
    found = {item: {USERS[row] for row in users[splits[place] : splits[place + 1]]} for place, item in enumerate(ITEMS)}
    assert found == {item: owners(item) for item in ITEMS}
    nobody = owners_of(Stored(np.zeros(0, np.int32), np.zeros(4, np.int64)), len(ITEMS))
    assert (nobody.splits.tolist(), nobody.values.tolist()) == ([0] * (len(ITEMS) + 1), [])


def test_attributes_of_users() -> None:
    def person(**values: str) -> bytes:
        example = tf.train.Example()
        for name, value in values.items():
            example.features.feature[name].bytes_list.value.append(value.encode())
        return example.SerializeToString() + shift_of(3.0)

    contexts = np.array([person(city="x", about="me"), b"", person(city="y=z")], object)
    found = user_attributes(contexts, {"city": "category", "about": "text", "shift": "number"})
    assert (found.categories, found.numbers) == (("city",), ("shift",))
    assert found.conditions.tolist() == [b"=", b"city=x", b"city=y=z"]
    assert found.rows.tolist() == [0, 2]
    np.testing.assert_array_equal(found.amounts, np.array([[3, np.nan, 3]], np.float32))
    assert user_attributes(contexts, {"about": "text"}).conditions.tolist() == [b"="]
