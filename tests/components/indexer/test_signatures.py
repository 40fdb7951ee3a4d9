"""Every signature against a reference in plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.indexer.signatures import Servable
from serving.contract import NO_SCORE
from tests.components.indexer.tiny import (
    DEFAULT_K,
    ITEMS,
    STORED,
    any_query,
    ask,
    recommend,
    reference,
    shift_of,
    signatures_of,
    strings,
    vectors,
)

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


@settings(max_examples=60, deadline=None)
@given(queries=st.lists(any_query, min_size=1, max_size=4), k=st.integers(1, 12))
def test_recommend_equals_the_reference(servable: Any, queries: list[tuple[str, list[str], list[str]]], k: int) -> None:
    users, histories, excludes = (list(column) for column in zip(*queries))
    ids, scores, sources = recommend(servable, users, histories, excludes, k)
    for row, (user, history, exclude) in enumerate(queries):
        expected_ids, expected_scores, source = reference(user, history, exclude, k)
        assert ids[row] == expected_ids
        assert scores[row] == pytest.approx(expected_scores, rel=1e-5, abs=1e-6)
        assert sources[row] == source


def example_of(query: tuple[str, list[str], list[str]], k: int | None) -> bytes:
    user, history, exclude = query
    example = tf.train.Example()
    for name, values in (("user_id", [user]), ("history", history), ("exclude", exclude)):
        example.features.feature[name].bytes_list.value.extend(value.encode() for value in values)
    if k is not None:
        example.features.feature["k"].int64_list.value.append(k)
    return example.SerializeToString()


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(any_query, st.none() | st.integers(-2, 12) | st.just(1_000) | st.just(1_001)), max_size=5)
)
def test_recommend_examples_gives_each_row_its_own_k(
    servable: Any, rows: list[tuple[tuple[str, list[str], list[str]], int | None]]
) -> None:
    examples = tf.constant([example_of(*row) for row in rows], tf.string)
    answer = ask(servable, "recommend_examples", examples=examples)
    counts = [DEFAULT_K if k is None else k if 1 <= k <= 1_000 else 0 for _, k in rows]
    width = max(counts, default=0)
    assert answer["item_ids"].shape == answer["scores"].shape == (len(rows), width)
    for row, ((query, _), count) in enumerate(zip(rows, counts)):
        expected_ids, expected_scores, source = reference(*query, count)
        padding = width - count
        assert [item.decode() for item in answer["item_ids"][row]] == expected_ids + [""] * padding
        assert answer["scores"][row] == pytest.approx(expected_scores + [NO_SCORE] * padding, rel=1e-5, abs=1e-6)
        assert answer["source"][row].decode() == (source if count else "")


def test_a_request_without_anything_gets_the_popular_items(servable: Any) -> None:
    answer = ask(servable, "recommend_examples", examples=tf.constant([b""]))
    expected_ids, _, source = reference("", [], [], DEFAULT_K)
    assert [item.decode() for item in answer["item_ids"][0]] == expected_ids
    assert answer["source"] == [source.encode()]


def test_a_batch_that_is_refused_as_a_whole_is_padding(servable: Any) -> None:
    """Also where it wants diversity, for which there is nothing to choose from."""
    example = tf.train.Example()
    example.features.feature["k"].int64_list.value.append(0)
    example.features.feature["diversity"].float_list.value.append(0.5)
    answer = ask(servable, "recommend_examples", examples=tf.constant([example.SerializeToString()] * 2))
    assert answer["item_ids"].shape == answer["scores"].shape == (2, 0)
    assert answer["source"].tolist() == [b"", b""]


def test_no_k_below_one_or_above_the_limit(servable: Any) -> None:
    for k, message in ((0, "at least 1"), (-1, "at least 1"), (1001, "at most 1000")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            recommend(servable, ["ann"], [[]], [[]], k)


def test_everything_excluded_leaves_padding(servable: Any) -> None:
    ids, scores, _ = recommend(servable, ["ann", "stranger"], [[], []], [ITEMS, ITEMS], 3)
    assert ids == [["", "", ""]] * 2
    assert (np.array(scores) == np.float32(NO_SCORE)).all()


def test_no_requests_at_all(servable: Any) -> None:
    answer = ask(
        servable,
        "recommend",
        user_id=tf.constant([], tf.string),
        history=tf.zeros([0, 0], tf.string),
        exclude=tf.zeros([0, 0], tf.string),
        k=tf.constant(2),
    )
    assert answer["item_ids"].shape == (0, 2)


def test_similar_items_is_the_cosine_without_the_item_itself(servable: Any) -> None:
    answer = ask(
        servable, "similar_items", item_id=tf.constant(["a", "unknown"]), exclude=strings([["b"], []]), k=tf.constant(7)
    )
    embedding, _ = vectors()
    direction = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    cosine = direction @ direction[0]
    expected = sorted((r for r in range(len(ITEMS)) if ITEMS[r] not in ("a", "b")), key=lambda r: -cosine[r])
    ids = [[item.decode() for item in row] for row in answer["item_ids"]]
    assert ids[0] == [ITEMS[row] for row in expected] + ["", ""]
    assert answer["scores"][0, :5] == pytest.approx(cosine[expected], rel=1e-5)
    assert answer["known"].tolist() == [True, False]
    assert ids[1] == [""] * 7


def test_score_ranks_as_recommend_does(servable: Any) -> None:
    answer = ask(
        servable,
        "score",
        user_id=tf.constant(["ann", "stranger"]),
        history=strings([[], []]),
        candidates=strings([["f", "a", "unknown"], ["a", "g", ""]]),
    )["scores"]
    embedding, bias = vectors()
    query = (embedding[0] + embedding[1]) / 2
    assert answer[0] == pytest.approx(
        [embedding[5] @ query + bias[5], embedding[0] @ query + bias[0], NO_SCORE], rel=1e-5
    )
    assert answer[1].tolist() == [3, 0, NO_SCORE]


def test_context_of_the_request_counts_more_than_what_is_stored(in_context: Servable) -> None:
    users = ["ann", "ann", "cleo", "bob, jr", "stranger", "stranger"]
    answer = ask(
        in_context,
        "recommend_in_context",
        user_id=tf.constant(users),
        history=strings([["f"]] * 6),
        exclude=strings([[]] * 6),
        context=tf.constant([shift_of(value) for value in (None, 7.0, None, None, 0.5, None)]),
        k=tf.constant(1),
    )
    embedding, bias = vectors()
    for row, shift in enumerate([2, 7, -1, 0, 0.5, 0]):
        scores = embedding @ (embedding[5] + shift) + bias
        left_out = {"f", *STORED.get(users[row], [])}
        assert answer["scores"][row, 0] == pytest.approx(
            max(score for item, score in zip(ITEMS, scores) if item not in left_out), rel=1e-5
        )


def test_other_signatures_use_the_stored_context(in_context: Servable) -> None:
    embedding, bias = vectors()
    expected = embedding[4] @ ((embedding[0] + embedding[1]) / 2 + 2) + bias[4]
    score = ask(
        in_context, "score", user_id=tf.constant(["ann"]), history=strings([[]]), candidates=strings([["e🙂"]])
    )["scores"]
    assert score[0, 0] == pytest.approx(expected, rel=1e-5)
    other = ask(
        in_context,
        "score_in_context",
        user_id=tf.constant(["ann"]),
        history=strings([[]]),
        candidates=strings([["e🙂"]]),
        context=tf.constant([shift_of(4.0)]),
    )["scores"]
    assert other[0, 0] - score[0, 0] == pytest.approx(2 * embedding[4].sum(), rel=1e-4)
    [ids], [scores], _ = recommend(in_context, ["ann"], [[]], [[]], 7)
    assert scores[ids.index("e🙂")] == pytest.approx(expected, rel=1e-5)
    example = tf.train.Example.FromString(shift_of(3.0))
    example.features.feature["user_id"].bytes_list.value.append(b"ann")
    answer = ask(in_context, "serving_default", examples=tf.constant([example.SerializeToString()]))
    asked = ask(
        in_context,
        "recommend_in_context",
        user_id=tf.constant(["ann"]),
        history=strings([[]]),
        exclude=strings([[]]),
        context=tf.constant([shift_of(3.0)]),
        k=tf.constant(DEFAULT_K),
    )
    assert answer["scores"] == pytest.approx(asked["scores"])
    batched = ask(in_context, "recommend_examples", examples=tf.constant([example.SerializeToString()] * 2))
    assert batched["scores"] == pytest.approx(np.repeat(asked["scores"], 2, axis=0))


def test_towers_without_context_have_no_such_signature(servable: Any) -> None:
    assert not [name for name in signatures_of(servable) if "context" in name]


def test_by_user_and_serving_default_equal_recommend(servable: Any) -> None:
    users = ["ann", "stranger"]
    expected, _, _ = recommend(servable, users, [[], []], [[], []], DEFAULT_K)
    by_user = ask(servable, "by_user", user_id=tf.constant(users))["item_ids"]
    assert [[item.decode() for item in row] for row in by_user] == expected

    example = tf.train.Example()
    example.features.feature["user_id"].bytes_list.value.append(b"stranger")
    example.features.feature["history"].bytes_list.value.extend([b"f", b"a"])
    example.features.feature["seen"].bytes_list.value.extend([b"b"])
    empty = tf.train.Example()
    answer = ask(
        servable, "serving_default", examples=tf.constant([example.SerializeToString(), empty.SerializeToString()])
    )["item_ids"]
    expected, _, _ = recommend(servable, ["stranger", ""], [["f", "a"], []], [["b"], []], DEFAULT_K)
    assert [[item.decode() for item in row] for row in answer] == expected


def test_describe(servable: Any) -> None:
    answer = ask(servable, "describe", item_id=tf.constant(["e🙂", "unknown", ""]))
    assert [text.decode() for text in answer["display"]] == ["Title e🙂", "", ""]
    assert answer["known"].tolist() == [True, False, False]


def test_vectors_of_items(servable: Any) -> None:
    answer = ask(servable, "embed_items", item_id=tf.constant(["f", "unknown", "a", ""]))
    embedding, bias = vectors()
    assert answer["embedding"].tolist() == [embedding[5].tolist(), [0] * 3, embedding[0].tolist(), [0] * 3]
    assert answer["bias"].tolist() == [bias[5], 0, bias[0], 0]
    assert answer["known"].tolist() == [True, False, True, False]


@settings(max_examples=30, deadline=None)
@given(queries=st.lists(any_query, max_size=4), k=st.integers(1, 12))
def test_vectors_find_what_recommend_answers(
    servable: Any, queries: list[tuple[str, list[str], list[str]]], k: int
) -> None:
    """Where there is nothing but vectors: search by the product and the bias, without what was seen."""
    users, histories = ([query[part] for query in queries] for part in range(2))
    who = {"user_id": tf.constant(users, tf.string), "history": strings(histories)}
    answer = ask(servable, "embed_queries", **who, context=tf.constant([""] * len(users), tf.string))
    assert answer["embedding"].shape == (len(users), 3)
    embedding, bias = vectors()
    for row, (user, history, exclude) in enumerate(queries):
        ids, scores, source = reference(user, history, exclude, k)
        assert answer["known"][row] == (source != "popular")
        seen = {item.decode() for item in answer["seen"][row]} - {""}
        assert seen == {*history, *STORED.get(user, [])} & {*ITEMS}
        if answer["known"][row]:
            products = embedding @ answer["embedding"][row] + bias
            left = [n for n in np.argsort(-products, kind="stable") if ITEMS[n] not in {*seen, *exclude}][:k]
            assert [ITEMS[n] for n in left] == [item for item in ids if item]
            assert products[left] == pytest.approx(scores[: len(left)], rel=1e-5, abs=1e-6)
        else:
            assert not answer["embedding"][row].any()


@settings(max_examples=20, deadline=None)
@given(queries=st.lists(any_query, min_size=1, max_size=4), k=st.integers(1, 12))
def test_retrieve_is_recommend_where_there_are_the_towers_alone(
    servable: Any, queries: list[tuple[str, list[str], list[str]]], k: int
) -> None:
    users, histories, excludes = (list(column) for column in zip(*queries))
    who = {"user_id": tf.constant(users), "history": strings(histories), "exclude": strings(excludes)}
    answer = ask(servable, "retrieve", **who, context=tf.constant([""] * len(users)), k=tf.constant(k))
    ids, scores, sources = recommend(servable, users, histories, excludes, k)
    assert [[item.decode() for item in row] for row in answer["item_ids"]] == ids
    assert answer["scores"] == pytest.approx(scores, rel=1e-6)
    assert [source.decode() for source in answer["source"]] == sources


def test_a_retrieve_has_a_k_within_the_limits(servable: Any) -> None:
    who = {"user_id": tf.constant(["ann"]), "history": strings([[]]), "exclude": strings([[]])}
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 1000"):
        ask(servable, "retrieve", **who, context=tf.constant([""]), k=tf.constant(1001))


def test_a_context_moves_the_vector_of_a_query(in_context: Servable) -> None:
    users = ["ann", "ann", "stranger"]
    contexts = tf.constant([shift_of(value) for value in (None, 7.0, 0.5)])
    answer = ask(
        in_context, "embed_queries", user_id=tf.constant(users), history=strings([["f"]] * 3), context=contexts
    )
    embedding, _ = vectors()
    assert answer["embedding"] == pytest.approx(np.stack([embedding[5] + shift for shift in (2, 7, 0.5)]), rel=1e-6)
