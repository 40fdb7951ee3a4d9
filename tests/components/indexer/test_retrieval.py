"""The parts of the servable put together: what no signature shows alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from components.indexer.index import Index
from components.indexer.retrieval import Retrieval
from components.indexer.rules import Request
from components.indexer.settings import IndexerSettings
from serving import contract
from tests.components.indexer.tiny import ITEMS, MAX_HISTORY, SETTINGS, reference, strings

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def make_retrieval(towers: str, index: Index, folder: Path, settings: IndexerSettings) -> Retrieval:
    lists = {"items": index.item_ids, "users": index.user_ids, "conditions": index.attributes.conditions}
    for name, ids in lists.items():
        (folder / name).write_bytes(b"\n".join(ids.tolist()))
    files = {name: str(folder / name) for name in lists}
    return Retrieval(tf.saved_model.load(towers).query_part, MAX_HISTORY, index, files, settings, ranking=None)


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
