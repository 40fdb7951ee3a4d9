"""What tasks count: by default, by a request's weights, and which weights are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.indexer.fingerprint import fingerprint
from components.indexer.saving import save_servable
from components.indexer.signatures import Servable
from components.indexer.tasks import Tasks
from serving import contract
from tests.components.indexer.tiny import (
    DEFAULT_K,
    ITEMS,
    SETTINGS,
    STORED,
    ask,
    in_memory,
    make_index,
    recommend,
    signatures_of,
    strings,
    vectors,
    write_towers,
)

SHARES = {"purchase": 0.75, "view": 0.25}
TASKS = Tasks(SHARES)
NOBODY = tf.constant([""])

any_weights = st.lists(
    st.tuples(st.sampled_from(["purchase", "view", ""]), st.sampled_from([0.0, 0.125, 1.0, 3.0, 1e6])), max_size=4
)


def given_weights(rows: list[list[tuple[str, float]]]) -> tuple[tf.Tensor, tf.Tensor]:
    """Names and weights [B, W]; padding has a weight that would be refused elsewhere."""
    width = max((len(row) for row in rows), default=0)
    weights = [[*(weight for _, weight in row), *[-7.0] * (width - len(row))] for row in rows]
    names = strings([[name for name, _ in row] for row in rows])
    return names, tf.reshape(tf.constant(weights, tf.float32), names.shape)


@pytest.mark.slow
@pytest.mark.smoke
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(any_weights, min_size=1, max_size=4))
def test_shares_are_weights_of_one_in_all(rows: list[list[tuple[str, float]]]) -> None:
    names, weights = given_weights(rows)
    shares, refused = TASKS.shares(names, weights).numpy(), TASKS.refused(names, weights).numpy()
    for row, own in enumerate(rows):
        totals = [sum(weight for name, weight in own if name == task) for task in SHARES]
        if not any(name for name, _ in own):
            assert shares[row].tolist() == [0.75, 0.25]
        elif sum(totals):
            assert shares[row] == pytest.approx([total / sum(totals) for total in totals], rel=1e-6)
        assert refused[row] == (any(name for name, _ in own) and not sum(totals))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([("buy", 1.0), ("view", 1.0)], "tasks are purchase, view; not.*buy"),
        ([("view", -0.5), ("purchase", 1.0)], "task_weights are from 0 to 1000000, not.*-0.5"),
        ([("view", np.nan)], "task_weights are from 0 to 1000000, not.*nan"),
        ([("view", np.inf)], "task_weights are from 0 to 1000000, not.*inf"),
        ([("view", 0.0), ("purchase", 0.0)], "task_weights must not all be 0, but are for.*view.*purchase"),
    ],
)
def test_what_is_refused(weights: list[tuple[str, float]], message: str) -> None:
    asked = given_weights([[("view", 1.0)], weights])
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"(?s){message}"):
        TASKS.checked(*asked)
    assert TASKS.refused(*asked).numpy().tolist() == [False, True]


def test_names_and_weights_go_together() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have the same shape"):
        TASKS.checked(strings([["view", "purchase"]]), tf.constant([[1.0]]))


@pytest.fixture(scope="module")
def two_tasks(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_towers(tmp_path_factory.mktemp("tasks") / "towers", [], [], tasks=SHARES)


@pytest.fixture(scope="module")
def servable(two_tasks: str, tmp_path_factory: pytest.TempPathFactory) -> Servable:
    """Its first task's scores are those of the servable without tasks; the second's query is the opposite."""
    return in_memory(two_tasks, make_index(two_tasks, tmp_path_factory.mktemp("data")), SETTINGS)


def expected(share: float, history: list[str]) -> np.ndarray:
    """Scores of all items where the first task counts `share`."""
    embedding, bias = vectors()
    query = np.mean([embedding[ITEMS.index(item)] for item in history], axis=0)
    return embedding @ query * (2 * share - 1) + bias


def best(share: float, history: list[str], left_out: set[str]) -> list[str]:
    scores = expected(share, history)
    return [ITEMS[row] for row in np.argsort(-scores) if ITEMS[row] not in left_out]


def weighed(servable: Any, rows: list[list[tuple[str, float]]], k: int) -> tuple[list[list[str]], np.ndarray]:
    """What cleo is recommended with these weights."""
    count, (names, weights) = len(rows), given_weights(rows)
    none = strings([[]] * count)
    answer = ask(
        servable,
        contract.RECOMMEND_FOR_TASKS,
        user_id=tf.constant(["cleo"] * count),
        history=none,
        exclude=none,
        context=tf.constant([""] * count),
        allow=none,
        filter=none,
        boost=none,
        boost_by=tf.zeros([count, 0]),
        diversity=tf.zeros([count]),
        tasks=names,
        task_weights=weights,
        k=tf.constant(k),
    )
    assert answer["source"].tolist() == [b"user"] * count
    return [[item.decode() for item in row] for row in answer["item_ids"]], answer["scores"]


@pytest.mark.slow
@pytest.mark.smoke
def test_a_request_weighs_the_tasks(servable: Servable) -> None:
    seen = STORED["cleo"]
    rows = [[("purchase", 7.0)], [("view", 0.2)], [("view", 1.0), ("purchase", 4.0)], []]
    ids, scores = weighed(servable, rows, 4)
    for row, share in enumerate([1, 0, 0.8, 0.75]):
        assert ids[row] == best(share, seen, {*seen})
        own = expected(share, seen)
        assert scores[row] == pytest.approx([own[ITEMS.index(item)] for item in ids[row]], rel=1e-5)
    assert ids[0] != ids[1]
    # Others have the default weights.
    [plain], [plain_scores], _ = recommend(servable, ["cleo"], [[]], [[]], 4)
    assert plain == ids[3]
    assert plain_scores == pytest.approx(scores[3], rel=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"tasks are purchase, view; not.*buy"):
        weighed(servable, [[("buy", 1.0)]], 4)


@pytest.mark.slow
@pytest.mark.smoke
def test_requests_that_share_a_batch_weigh_the_tasks_too(servable: Servable) -> None:
    def example(**weights: float) -> bytes:
        feature = (made := tf.train.Example()).features.feature
        feature["user_id"].bytes_list.value.append(b"cleo")
        if weights:
            feature["tasks"].bytes_list.value.extend(name.encode() for name in weights)
            feature["task_weights"].float_list.value.extend(weights.values())
        return made.SerializeToString()

    lacking = tf.train.Example.FromString(example(view=1.0))
    lacking.features.feature["tasks"].bytes_list.value.append(b"purchase")
    rows = [example(view=2.0), example(buy=1.0), example(), example(view=0.0), lacking.SerializeToString()]
    answer = ask(servable, contract.RECOMMEND_EXAMPLES_FOR_TASKS, examples=tf.constant(rows))
    assert answer["source"].tolist() == [b"user", b"", b"user", b"", b""]
    seen = STORED["cleo"]
    for row, share in ((0, 0), (2, 0.75)):
        assert [item.decode() for item in answer["item_ids"][row]] == best(share, seen, {*seen})[:DEFAULT_K]
    assert not any(answer["item_ids"][[1, 3, 4]].ravel())
    # Without the weights nobody asks there.
    plain = ask(servable, contract.RECOMMEND_EXAMPLES, examples=tf.constant([rows[0], rows[2]]))
    assert np.array_equal(plain["item_ids"], answer["item_ids"][[2, 2]])


@pytest.mark.slow
@pytest.mark.smoke
def test_an_explanation_adds_up_for_the_weights(servable: Servable) -> None:
    names, weights = given_weights([[("view", 1.0)]])
    who = {"user_id": tf.constant(["cleo"]), "history": strings([["f", "a"]]), "candidates": strings([["g", "b"]])}
    asked = {**who, "context": NOBODY, "tasks": names, "task_weights": weights}
    found = ask(servable, contract.EXPLAIN_FOR_TASKS, **asked)
    embedding, _ = vectors()
    own = expected(0, ["f", "a"])[[ITEMS.index("g"), ITEMS.index("b")]]
    assert found["scores"][0] == pytest.approx(own, rel=1e-5)
    # The history has as many places as the stored one, which is longer.
    assert found["contributions"][0, 0] == pytest.approx([*(-embedding[[5, 0]] @ embedding[6] / 2), 0], rel=1e-5)
    total = found["contributions"].sum(2) + found["parts"].sum(2)
    assert total[0] == pytest.approx(own, rel=1e-5)
    scores = ask(servable, contract.EXPLAIN, **who)["scores"]
    assert scores[0] == pytest.approx(expected(0.75, ["f", "a"])[[6, 1]], rel=1e-5)


@pytest.mark.slow
@pytest.mark.smoke
def test_vectors_and_what_is_saved_are_by_the_default_weights(two_tasks: str, tmp_path: Path) -> None:
    index = make_index(two_tasks, tmp_path / "data")
    manifest = save_servable(two_tasks, index, SETTINGS, "tiny", str(tmp_path / "servable"))
    noted = [{"name": "purchase", "weight": 0.75}, {"name": "view", "weight": 0.25}]
    assert manifest["tasks"] == contract.read_manifest(tmp_path / "servable")["tasks"] == noted
    saved = tf.saved_model.load(str(tmp_path / "servable"))
    assert set(contract.FOR_TASKS) <= set(signatures_of(saved))
    ids, _ = weighed(saved, [[("view", 1.0)], []], 4)
    assert ids == [best(share, STORED["cleo"], {*STORED["cleo"]}) for share in (0, 0.75)]
    vector = ask(saved, "embed_queries", user_id=tf.constant(["ann"]), history=strings([["f"]]), context=NOBODY)
    assert vector["embedding"][0] == pytest.approx(vectors()[0][5] / 2, rel=1e-5)
    # What tasks count by default, or are called, decides an answer.
    marks = {manifest["fingerprint"], fingerprint(two_tasks, index, SETTINGS)}
    assert len(marks) == 1
    path = Path(two_tasks, "assets.extra", "towers.json")
    before = path.read_text()
    for change in ({"name": "buy"}, {"weight": 0.5}):
        path.write_text(json.dumps({**json.loads(before), "tasks": [{**noted[0], **change}, noted[1]]}))
        marks.add(fingerprint(two_tasks, index, SETTINGS))
    path.write_text(before)
    assert len(marks) == 3


def test_a_model_without_tasks_has_no_such_signatures(seven: Servable) -> None:
    assert not set(contract.FOR_TASKS) & set(signatures_of(seven))
