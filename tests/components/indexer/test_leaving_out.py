"""What is left out of answers: as configured, as a request says, and what was rejected."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.indexer.fingerprint import fingerprint
from components.indexer.gather import Stored
from components.indexer.index import Index
from components.indexer.settings import Exclude
from components.indexer.signatures import Servable
from tests.components.indexer.tiny import (
    DEFAULT_K,
    ITEMS,
    SETTINGS,
    STORED,
    any_query,
    ask,
    in_memory,
    recommend,
    reference,
    strings,
)

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

BOUGHT = {"ann": ["b"], "cleo": ["f", "a"]}
"""An item that the newest of a history don't have is among them."""
REJECTED = {"ann": ["g"], "bob, jr": ["d e", "f"]}


def lists(of_users: dict[str, list[str]]) -> Stored:
    rows = [[ITEMS.index(item) for item in of_users.get(user, [])] for user in STORED]
    splits = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Stored(np.array(list(itertools.chain(*rows)), np.int32), splits)


@pytest.fixture(scope="module")
def full(index: Index) -> Index:
    return dataclasses.replace(index, excluded=lists(BOUGHT), rejected=lists(REJECTED))


@pytest.fixture(scope="module", params=["all", "nothing", ("purchase",)], ids=str)
def servable(request: pytest.FixtureRequest, towers: str, full: Index) -> tuple[Exclude, Servable]:
    """What is configured, and a servable that does it."""
    exclude = request.param
    index = full if isinstance(exclude, tuple) else dataclasses.replace(full, excluded=None)
    return exclude, in_memory(towers, index, SETTINGS.model_copy(update={"exclude": exclude, "audience": True}))


def had(exclude: Exclude, wish: str, user: str, history: list[str]) -> set[str]:
    """What is left out beside the request's exclusions."""
    bought = BOUGHT.get(user, []) if isinstance(exclude, tuple) else []
    everything = {*history, *STORED.get(user, []), *bought}
    configured = {"all": everything, "nothing": set()}.get(exclude if isinstance(exclude, str) else "", {*bought})
    return {"": configured, "all": everything, "nothing": set()}[wish] | {*REJECTED.get(user, [])}


def asked(queries: list[tuple[str, list[str], list[str]]], wishes: list[str], k: int) -> dict[str, tf.Tensor]:
    """Inputs of `recommend_leaving_out` without rules."""
    users, histories, excludes = (list(column) for column in zip(*queries))
    none = strings([[]] * len(queries))
    return {
        "user_id": tf.constant(users),
        "history": strings(histories),
        "exclude": strings(excludes),
        "context": tf.fill([len(queries)], ""),
        **dict.fromkeys(("allow", "filter", "boost", "tasks"), none),
        **dict.fromkeys(("boost_by", "task_weights"), tf.zeros([len(queries), 0])),
        "diversity": tf.fill([len(queries)], -1.0),
        "leave_out": tf.constant(wishes),
        "k": tf.constant(k),
    }


@settings(max_examples=25, deadline=None)
@given(
    queries=st.lists(st.tuples(any_query, st.sampled_from(["", "all", "nothing"])), min_size=1, max_size=4),
    k=st.integers(1, 8),
)
def test_answers_are_without_what_is_configured_or_asked(
    servable: tuple[Exclude, Servable], queries: list[tuple[tuple[str, list[str], list[str]], str]], k: int
) -> None:
    exclude, model = servable
    rows, wishes = [query for query, _ in queries], [wish for _, wish in queries]
    ids, scores, _ = recommend(model, *(list(column) for column in zip(*rows)), k)
    own = ask(model, "recommend_leaving_out", **asked(rows, wishes, k))
    for number, (user, history, excluded) in enumerate(rows):
        expected, expected_scores, source = reference(user, history, excluded, k, had(exclude, "", user, history))
        assert (ids[number], own["source"][number].decode()) == (expected, source)
        assert scores[number] == pytest.approx(expected_scores, rel=1e-5, abs=1e-6)
        expected, expected_scores, _ = reference(
            user, history, excluded, k, had(exclude, wishes[number], user, history)
        )
        assert [item.decode() for item in own["item_ids"][number]] == expected
        assert own["scores"][number] == pytest.approx(expected_scores, rel=1e-5, abs=1e-6)


def test_the_other_signatures_leave_out_what_is_configured(servable: tuple[Exclude, Servable]) -> None:
    exclude, model = servable
    left = had(exclude, "", "ann", [])
    expected, _, _ = reference("ann", [], [], DEFAULT_K, left)
    for name, inputs in (
        ("by_user", {"user_id": tf.constant(["ann"])}),
        ("serving_default", {"examples": tf.constant([example("ann")])}),
        ("recommend_examples", {"examples": tf.constant([example("ann")])}),
    ):
        assert [item.decode() for item in ask(model, name, **inputs)["item_ids"][0]] == expected, name
    who = {"user_id": tf.constant(["ann"]), "history": strings([["f"]]), "context": tf.constant([""])}
    seen = ask(model, "embed_queries", **who)["seen"][0]
    assert {item.decode() for item in seen} - {""} == had(exclude, "", "ann", ["f"])
    found = ask(model, "retrieve", **who, exclude=strings([[]]), k=tf.constant(7))["item_ids"][0]
    assert {item.decode() for item in found} - {""} == {*ITEMS} - had(exclude, "", "ann", ["f"])


def test_examples_say_for_themselves_and_a_wrong_wish_costs_nobody_else_an_answer(
    servable: tuple[Exclude, Servable],
) -> None:
    exclude, model = servable
    wishes = ["", "all", "everything", "nothing"]
    examples = tf.constant([example("ann", wish) for wish in wishes])
    answer = ask(model, "recommend_examples_leaving_out", examples=examples)
    for row, wish in enumerate(wishes):
        if wish == "everything":
            assert not any(answer["item_ids"][row])
            assert answer["source"][row] == b""
        else:
            expected, _, _ = reference("ann", [], [], DEFAULT_K, had(exclude, wish, "ann", []))
            assert [item.decode() for item in answer["item_ids"][row]] == expected


def test_what_is_refused(servable: tuple[Exclude, Servable]) -> None:
    _, model = servable
    inputs = asked([("ann", [], [])] * 2, ["all", "everything"], 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)leave_out is all or nothing.*everything"):
        ask(model, "recommend_leaving_out", **inputs)
    inputs |= {"leave_out": tf.constant(["", ""]), "tasks": strings([["buy"]] * 2), "task_weights": tf.ones([2, 1])}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)tasks are none; not.*buy"):
        ask(model, "recommend_leaving_out", **inputs)


def test_an_audience_is_without_those_who_rejected_the_item(servable: tuple[Exclude, Servable]) -> None:
    _, model = servable
    for exclude_owners, expected in ((False, {"ann", "cleo"}), (True, {"ann"})):  # cleo had f, bob rejected it
        answer = ask(
            model,
            "audience",
            item_id=tf.constant(["f"]),
            exclude=strings([[]]),
            exclude_owners=tf.constant([exclude_owners]),
            k=tf.constant(3),
        )
        assert {user.decode() for user in answer["user_ids"][0]} - {""} == expected


def test_what_decides_answers_is_in_the_fingerprint(towers: str, index: Index, full: Index) -> None:
    prints = {
        fingerprint(towers, index, SETTINGS),
        fingerprint(towers, index, SETTINGS.model_copy(update={"exclude": "nothing"})),
        fingerprint(towers, dataclasses.replace(index, excluded=full.excluded), SETTINGS),
        fingerprint(towers, dataclasses.replace(index, rejected=full.rejected), SETTINGS),
    }
    assert len(prints) == 4


def example(user: str, wish: str | None = None) -> bytes:
    made: Any = tf.train.Example()
    made.features.feature["user_id"].bytes_list.value.append(user.encode())
    if wish:
        made.features.feature["leave_out"].bytes_list.value.append(wish.encode())
    return made.SerializeToString()
