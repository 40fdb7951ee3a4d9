"""What the model is asked for a batch of users, no more and no less than for each alone, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import InputError
from pipeline.batch.answers import Wish
from pipeline.batch.asking import Audiences, Recommender, padded, refusal
from pipeline.batch.queries import ITEM_SCHEMA, SCHEMA
from tests.serving.wire import contract

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


@pytest.fixture(scope="module")
def asked(contract_servable: Path) -> Recommender:
    return Recommender(contract_servable)


any_item = st.sampled_from([*contract.ITEMS, "no such item"])


any_query = st.tuples(
    st.sampled_from([*contract.USERS, "stranger", ""]), st.lists(any_item, max_size=4), st.lists(any_item, max_size=4)
)


@settings(max_examples=60)
@given(
    queries=st.lists(any_query, min_size=1, max_size=6),
    rules=contract.any_rules(),
    exclude=st.lists(any_item, max_size=3),
    k=st.integers(1, 40),
    size=st.integers(1, 4),
)
def test_batches_are_answered_as_single_requests_are(
    asked: Recommender, queries: list[Any], rules: contract.Rules, exclude: list[str], k: int, size: int
) -> None:
    """Whatever is asked beside, and however the queries are cut into requests."""
    asked.most = size
    wish = Wish(k, tuple(exclude), tuple(rules.allow), tuple(rules.filter), tuple(rules.boosts), rules.diversity)
    table = pa.table([*(list(column) for column in zip(*queries)), [b""] * len(queries)], schema=SCHEMA)
    answers = asked.answer(table, wish)
    assert answers.asked["user_id"].to_pylist() == [user for user, _, _ in queries]
    signature = asked._model.signatures["recommend_with_rules"]
    for row, (user, history, own) in enumerate(queries):
        single = signature(
            user_id=tf.constant([user]),
            history=tf.constant([history], tf.string, [1, len(history)]),
            exclude=tf.constant([[*own, *exclude]], tf.string, [1, len(own) + len(exclude)]),
            context=tf.constant([""]),
            allow=tf.constant([list(rules.allow)], tf.string, [1, len(rules.allow)]),
            filter=tf.constant([list(rules.filter)], tf.string, [1, len(rules.filter)]),
            boost=tf.constant([[condition for condition, _ in rules.boosts]], tf.string, [1, len(rules.boosts)]),
            boost_by=tf.constant([[by for _, by in rules.boosts]], tf.float32, [1, len(rules.boosts)]),
            diversity=tf.constant([rules.diversity]),
            k=tf.constant(k),
        )
        items = [asked.found["item_id"][place].as_py() if place >= 0 else "" for place in answers.rows[row].tolist()]
        assert items == [item.decode() for item in single["item_ids"].numpy()[0]]
        assert answers.scores[row] == pytest.approx(single["scores"].numpy()[0], rel=1e-5, abs=1e-6)
        assert answers.sources[row].as_py() == single["source"].numpy()[0].decode()


@pytest.fixture(scope="module")
def of_users(contract_servable: Path) -> Audiences:
    return Audiences(contract_servable)


@settings(max_examples=40, deadline=None)
@given(
    items=st.lists(any_item, min_size=1, max_size=6),
    rules=contract.any_rules_of_users(),
    exclude=st.lists(st.sampled_from([*contract.USERS, "nobody"]), max_size=2),
    exclude_owners=st.booleans(),
    k=st.integers(1, 7),
    size=st.integers(1, 4),
)
def test_audiences_are_those_of_the_contract(
    of_users: Audiences,
    items: list[str],
    rules: contract.Rules,
    exclude: list[str],
    exclude_owners: bool,
    k: int,
    size: int,
) -> None:
    of_users.most = size
    wish = Wish(k, tuple(exclude), tuple(rules.allow), tuple(rules.filter), exclude_owners=exclude_owners)
    answers = of_users.answer(pa.table([items], schema=ITEM_SCHEMA), wish)
    assert answers.asked["item_id"].to_pylist() == items
    titles = [f"Title of {item}" if item in contract.ITEMS else "" for item in items]
    assert answers.asked["title"].to_pylist() == titles
    assert answers.sources is None
    for row, item in enumerate(items):
        users, scores = contract.world().audience(item, exclude, exclude_owners, rules)
        found = [of_users.found["user_id"][place].as_py() for place in answers.rows[row].tolist() if place >= 0]
        assert found == users[:k]
        assert answers.scores[row, : len(found)] == pytest.approx(scores[:k], rel=1e-4, abs=1e-5)


def test_lists_are_as_wide_as_the_longest() -> None:
    texts = pa.array([["a", "b"], [], ["ä"]], pa.list_(pa.string()))
    assert padded(texts).numpy().tolist() == [[b"a", b"b"], [b"", b""], ["ä".encode(), b""]]
    assert padded(texts.slice(1, 1)).shape == (1, 0)
    assert padded(texts.slice(2)).numpy().tolist() == [["ä".encode()]]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("assertion failed: [k must be at most 9]\n\t [[{{node Assert/Assert}}]]", "k must be at most 9"),
        ("x: assertion failed: [filter is NAME=VALUE; not] [colour=red]", "filter is NAME=VALUE; not colour=red"),
        ("Shapes differ\n\t [[{{node a}}]] [Op:b]", "Shapes differ"),
    ],
)
def test_what_the_graph_says_is_a_line_without_its_nodes(message: str, text: str) -> None:
    assert refusal(message) == text


class Model:
    """A SavedModel with these signatures, each of which notes what it is given."""

    def __init__(self, *names: str) -> None:
        self.given: list[tuple[str, dict[str, Any]]] = []
        self.signatures = {name: lambda _name=name, **inputs: self._answer(_name, inputs) for name in names}

    def _answer(self, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
        self.given.append((name, {key: tensor.numpy().tolist() for key, tensor in inputs.items()}))
        rows = len(inputs["user_id"])
        return {
            "item_ids": tf.constant([["b", ""]] * rows),
            "scores": tf.constant([[1.5, -np.inf]] * rows),
            "source": tf.constant(["popular"] * rows),
        }


def recommender_of(model: Model) -> Recommender:
    made = Recommender.__new__(Recommender)
    made._ids = pa.array(["a", "b"])
    made._model, made.found, made.most = model, {"item_id": pa.array(["a", "b"]), "title": pa.array(["A", "B"])}, 2
    rows = tf.lookup.KeyValueTensorInitializer(tf.constant(["a", "b"]), tf.constant([0, 1], tf.int64))
    made._row_of = tf.lookup.StaticHashTable(rows, -1)
    return made


def queries(*users: str, context: bytes = b"") -> pa.Table:
    return pa.table([users, [["a"]] * len(users), [[]] * len(users), [context] * len(users)], schema=SCHEMA)


def test_the_plainest_signature_that_does_is_asked() -> None:
    names = (
        "recommend",
        "recommend_in_context",
        "recommend_with_rules",
        "recommend_for_tasks",
        "recommend_leaving_out",
    )
    model = Model(*names)
    asked = recommender_of(model)
    asked.answer(queries("ann"), Wish(2, exclude=("b",)))
    asked.answer(queries("ann", context=b"\n\x00"), Wish(2))
    asked.answer(queries("ann"), Wish(2, filters=("brand=x",)))
    asked.answer(queries("ann", "bob"), Wish(2, tasks=(("view", 0.25), ("buy", 2))))
    asked.answer(queries("ann", "bob"), Wish(2, leave_out="nothing"))
    assert [name for name, _ in model.given] == list(model.signatures)
    plain, _, ruled, weighed, leaving_out = (inputs for _, inputs in model.given)
    assert leaving_out["leave_out"] == [b"nothing"] * 2
    assert (leaving_out["tasks"], leaving_out["task_weights"]) == ([[], []], [[], []])
    assert set(leaving_out) == {*weighed, "leave_out"}
    assert weighed["tasks"] == [[b"view", b"buy"]] * 2
    assert weighed["task_weights"] == [[0.25, 2]] * 2
    assert set(weighed) == {*ruled, "tasks", "task_weights"}
    assert plain == {"user_id": [b"ann"], "history": [[b"a"]], "exclude": [[b"b"]], "k": 2}
    assert (ruled["context"], ruled["filter"], ruled["allow"], ruled["boost_by"]) == ([b""], [[b"brand=x"]], [[]], [[]])
    assert ruled["diversity"] == [-1.0], "as the model has it"


def test_answers_of_several_requests_are_put_together_in_order() -> None:
    model = Model("recommend")
    answers = recommender_of(model).answer(queries("ann", "bob", "cy"), Wish(2))
    assert [inputs["user_id"] for _, inputs in model.given] == [[b"ann", b"bob"], [b"cy"]]
    assert answers.asked["user_id"].to_pylist() == ["ann", "bob", "cy"]
    assert answers.rows.tolist() == [[1, -1]] * 3
    assert answers.rows.dtype == np.int32
    assert answers.scores.tolist() == [[1.5, -np.inf]] * 3
    assert answers.sources.to_pylist() == ["popular"] * 3


def test_a_model_without_the_signature_that_is_wanted_is_to_be_made_anew() -> None:
    with pytest.raises(InputError, match=r"^the model has no signature 'recommend_with_rules': make a new one with"):
        recommender_of(Model("recommend")).answer(queries("ann"), Wish(2, diversity=0.5))


def test_a_model_without_tasks_takes_no_weights_of_them() -> None:
    with pytest.raises(InputError, match=r"^the model has no tasks \(model\.tasks\): leave out --task$"):
        recommender_of(Model("recommend")).answer(queries("ann"), Wish(2, tasks=(("buy", 1),)))
