"""The parts of the servable put together: what no signature shows alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from components.closed_forms.linear import Part
from components.indexer import blocks
from components.indexer.attributes import Attributes
from components.indexer.gather import Stored
from components.indexer.index import Index
from components.indexer.retrieval import Retrieval
from components.indexer.rules import Request
from components.indexer.settings import IndexerSettings
from serving import contract
from serving.client.sharded import best_of
from serving.client.tensors import Tensor
from tests.components.indexer.tiny import DIM, ITEMS, MAX_HISTORY, SETTINGS, TinyQueryPart, reference, strings

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def make_retrieval(
    towers: str, index: Index, folder: Path, settings: IndexerSettings, query_part: Any = None
) -> Retrieval:
    lists = {"items": index.item_ids, "users": index.user_ids, "conditions": index.attributes.conditions}
    for name, ids in lists.items():
        (folder / name).write_bytes(b"\n".join(ids.tolist()))
    files = {name: str(folder / name) for name in lists}
    query_part = query_part or tf.saved_model.load(towers).query_part
    return Retrieval(query_part, MAX_HISTORY, index, files, settings, ranking=None)


def wish(diversity: float) -> Request:
    none = strings([[]])
    return Request(none, none, none, tf.zeros([1, 0]), tf.constant([diversity]))


def items_of(answer: dict[str, tf.Tensor]) -> list[str]:
    return [item.decode() for item in answer["item_ids"].numpy()[0]]


def test_no_context_is_an_empty_one(towers: str, index: Index, tmp_path: Path) -> None:
    retrieval = make_retrieval(towers, index, tmp_path, SETTINGS)
    asked = tf.constant(["ann"]), strings([["f"]]), strings([["b"]])
    for context in (None, tf.constant([""])):
        for exactly in (False, True):
            answer = retrieval.recommend(*asked, context, tf.constant(3), exactly=exactly)
            assert items_of(answer) == reference("ann", ["f"], ["b"], 3)[0]
    alone = retrieval.score(tf.constant(["ann"]), strings([["f"]]), strings([ITEMS]))["scores"].numpy()
    in_context = retrieval.score(tf.constant(["ann"]), strings([["f"]]), strings([ITEMS]), tf.constant([""]))
    assert in_context["scores"].numpy().tolist() == alone.tolist()


def test_diversity_is_the_requests_or_else_that_of_the_settings(towers: str, index: Index, tmp_path: Path) -> None:
    retrieval = make_retrieval(towers, index, tmp_path, SETTINGS.model_copy(update={"diversity": 0.9}))
    asked = tf.constant(["ann"]), strings([["f"]]), strings([[]]), None, tf.constant(5)
    by_wish = {wanted: items_of(retrieval.recommend(*asked, wish(wanted))) for wanted in (0.0, 0.9)}
    assert by_wish[0.0] == reference("ann", ["f"], [], 5)[0]
    assert by_wish[0.9] != by_wish[0.0], "the test would show nothing"
    assert items_of(retrieval.recommend(*asked, wish(contract.AS_CONFIGURED))) == by_wish[0.9]
    assert items_of(retrieval.recommend(*asked)) == by_wish[0.9]


def test_similar_items_are_as_diverse_as_asked_for_whatever_the_settings_say(
    towers: str, index: Index, tmp_path: Path
) -> None:
    retrieval = make_retrieval(towers, index, tmp_path, SETTINGS.model_copy(update={"diversity": 0.9}))
    asked = tf.constant(["a"]), strings([[]]), tf.constant(6)
    plain = items_of(retrieval.similar(*asked))
    assert items_of(retrieval.similar(*asked, wish(contract.AS_CONFIGURED))) == plain
    assert items_of(retrieval.similar(*asked, wish(0.9))) != plain


def test_what_is_retrieved_is_not_diverse(towers: str, index: Index, tmp_path: Path) -> None:
    plain = make_retrieval(towers, index, tmp_path, SETTINGS)
    diverse = make_retrieval(towers, index, tmp_path, SETTINGS.model_copy(update={"diversity": 0.9}))
    assert (plain.beyond_vectors, diverse.beyond_vectors) == ([], ["diversity"])
    asked = tf.constant(["ann"]), strings([["f"]]), strings([[]]), tf.constant([""]), tf.constant(5)
    expected = reference("ann", ["f"], [], 5)[0]
    assert items_of(diverse.retrieve(*asked)) == expected
    assert items_of(diverse.recommend(*asked)) != expected


def test_a_k_is_from_1_to_the_most(towers: str, index: Index, tmp_path: Path) -> None:
    retrieval = make_retrieval(towers, index, tmp_path, SETTINGS)
    assert retrieval.max_k == 1_000
    assert [int(retrieval.checked_k(tf.constant(k))) for k in (1, 1_000)] == [1, 1_000]
    for k, message in ((0, "at least 1"), (1_001, "at most 1000")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            retrieval.checked_k(tf.constant(k))


USERS = ["one", "two", "four", "none"]
LENGTHS = [1, 2, 4, 0]
"""Of histories: means of so many whole numbers are exact in float32, in whatever order they are added up."""


def any_index(seed: int) -> Index:
    """Items with few different whole numbers, so that many scores are equal."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(6, 40))

    def lists(lengths: list[int]) -> Stored:
        rows = [rng.permutation(count)[:length] for length in lengths]
        return Stored(np.concatenate(rows).astype(np.int32), np.cumsum([0, *map(len, rows)]).astype(np.int64))

    def numbers(*shape: int) -> np.ndarray:
        return rng.integers(-2, 3, shape).astype(np.float32)

    ids = np.array([f"item {number}".encode() for number in range(count)], object)
    history = lists(LENGTHS)
    brand = np.split(rng.permutation(count), [count // 3, count // 2])[:2]
    return Index(
        item_ids=ids,
        display=ids,
        embedding=numbers(count, DIM),
        bias=numbers(count),
        history_embedding=numbers(count, DIM),
        history_known=np.ones(count, bool),
        popularity=np.abs(numbers(count)),
        user_ids=np.array([user.encode() for user in USERS], object),
        user_embedding=numbers(len(USERS), DIM),
        user_context=np.array([b""] * len(USERS), object),
        history_values=history.values,
        history_splits=history.splits,
        excluded=lists([0, 1, 3, 0]),
        rejected=lists([2, 0, 1, 0]),
        linear=(Part("ease", sparse.csr_array(numbers(count, count)), np.array([1, 0.5], np.float32)),),
        attributes=Attributes(
            ("brand",),
            ("price",),
            np.array([b"=", b"brand=x", b"brand=y"], object),
            np.array([0, 0, len(brand[0]), len(brand[0]) + len(brand[1])]),
            np.concatenate(brand).astype(np.int32),
            np.abs(numbers(1, count)),
        ),
    )


def test_shards_answer_together_what_the_whole_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids, scores to the last bit and the order of equal ones, whatever a request leaves out, allows, filters and
    boosts."""
    monkeypatch.setattr(blocks, "_BLOCKS_FROM", 3)
    monkeypatch.setattr(blocks, "_BLOCK", 2)
    index, of = any_index(seed=2), 3
    names = [name.decode() for name in index.item_ids]
    indexes = [index, *(index.shard(number, of) for number in range(1, of + 1))]
    retrievals = []
    for number, each in enumerate(indexes):
        folder = tmp_path / str(number)
        folder.mkdir()
        by_types = SETTINGS.model_copy(update={"exclude": ("purchase",)})
        retrievals.append(make_retrieval("", each, folder, by_types, TinyQueryPart()))
    askers = [asker_of(retrieval) for retrieval in retrievals]
    any_items = st.lists(st.sampled_from([*names, "unknown", ""]), max_size=8)
    histories = st.sampled_from(LENGTHS).flatmap(
        lambda length: st.lists(st.sampled_from(names), min_size=length, max_size=length, unique=True)
    )
    conditions = st.sampled_from(["brand=x", "brand=y", "brand=z", "price<=1", "price=2", ""])

    @settings(max_examples=60, deadline=None)
    @given(
        user=st.sampled_from([*USERS, "stranger"]),
        history=histories,
        exclude=any_items,
        allow=st.one_of(st.just([]), any_items),
        filters=st.lists(conditions, max_size=2),
        boosts=st.lists(st.tuples(conditions, st.sampled_from([-1.0, 0.5])), max_size=2),
        leave_out=st.sampled_from(["", contract.ALL, contract.NOTHING]),
        k=st.integers(1, len(names) + 3),
    )
    def check(
        user: str,
        history: list[str],
        exclude: list[str],
        allow: list[str],
        filters: list[str],
        boosts: list[tuple[str, float]],
        leave_out: str,
        k: int,
    ) -> None:
        by = tf.constant([[by for _, by in boosts]], tf.float32, [1, len(boosts)])
        lists = (history, exclude, allow, filters, [condition for condition, _ in boosts])
        asked = *(strings([each]) for each in lists), by, tf.constant([user]), tf.constant([leave_out]), tf.constant(k)
        whole, *shards = ({name: value.numpy() for name, value in ask(*asked).items()} for ask in askers)
        merged = best_of([{name: as_tensor(value) for name, value in answer.items()} for answer in shards])
        assert merged["item_ids"].values == [item.decode() for item in whole["item_ids"][0]]
        found = [max(score, contract.NO_SCORE) for score in whole["scores"][0].tolist()]
        assert merged["scores"].values == found
        assert {answer["source"][0] for answer in shards} == {whole["source"][0]}

    check()


def asker_of(retrieval: Retrieval) -> Any:
    """`recommend` with rules but diversity, traced once."""

    def ask(*asked: tf.Tensor) -> dict[str, tf.Tensor]:
        history, exclude, allow, filters, boost, by, user, leave_out, k = asked
        request = Request(allow, filters, boost, by, tf.zeros(tf.shape(user)))
        return retrieval.recommend(user, history, exclude, None, k, request, leave_out=leave_out)

    texts, ids = tf.TensorSpec([None, None], tf.string), tf.TensorSpec([None], tf.string)
    rest = [tf.TensorSpec([None, None]), ids, ids, tf.TensorSpec([], tf.int32)]
    return tf.function(ask, [*[texts] * 5, *rest], autograph=False)


def as_tensor(value: np.ndarray) -> Tensor:
    """As the client has it."""
    if value.dtype == object:
        return Tensor("string", value.shape, [text.decode() for text in value.ravel().tolist()])
    return Tensor("float32", value.shape, value.ravel().tolist())
