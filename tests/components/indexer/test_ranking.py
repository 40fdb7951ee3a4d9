"""The second stage in the servable: the best get the ranker's scores, everything else of the contract stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.indexer.fingerprint import fingerprint
from components.indexer.index import Index
from components.indexer.ranking import ranked
from serving.contract import NO_SCORE
from tests.components.indexer.tiny import (
    ITEMS,
    SETTINGS,
    ask,
    in_memory,
    make_index,
    recommend,
    strings,
    write_towers,
)

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

CANDIDATES = 3


def test_candidates_move_and_the_others_stay_behind_them() -> None:
    inf = np.inf
    moved = ranked(
        scores=tf.constant([[5.0, 4.0, 3.0, 2.0, -inf], [1.0, -inf, -inf, -inf, -inf]]),
        best=tf.constant([[5.0, 4.0], [1.0, -inf]]),
        rows=tf.constant([[0, 1], [0, 3]]),
        correction=tf.constant([[-4.0, 2.5], [7.0, 100.0]]),
    ).numpy()
    # The lowest candidate had 4 and has 1 now, so those behind move by -3.
    assert moved.tolist() == [[1.0, 6.5, 0.0, -1.0, -inf], [8.0, -inf, -inf, -inf, -inf]]


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_towers(tmp_path_factory.mktemp("towers"), [], [], candidates=CANDIDATES)


@pytest.fixture(scope="module")
def index(towers: str, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_index(towers, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def both(towers: str, index: Index, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The servable without and with the second stage."""
    root = tmp_path_factory.mktemp("servables")
    plain = write_towers(root / "plain", [], [])
    return in_memory(plain, index, SETTINGS), in_memory(towers, index, SETTINGS)


WHO = [
    ("ann", [], []),
    ("", ["b", "f"], []),
    ("bob, jr", ["f"], ["b", "e🙂"]),
    ("cleo", ["nothing known"], [item for item in ITEMS if item != "b"]),
]


def expected(
    both: tuple[Any, Any], index: Index, who: tuple[str, list[str], list[str]], length: int
) -> dict[str, float]:
    """Scores of all items that are left, from those of the retrieval."""
    ids, scores, _ = recommend(both[0], [who[0]], [who[1]], [who[2]], len(ITEMS))
    found = {item: float(score) for item, score in zip(ids[0], scores[0]) if item}
    popularity = dict(zip((item.decode() for item in index.item_ids), index.popularity.tolist()))
    best = list(found)[:CANDIDATES]
    moved = {item: -found[item] + popularity[item] + length for item in best}
    shift = min(moved.values()) - found[best[-1]]
    return {item: moved.get(item, score + shift) for item, score in found.items()}


@pytest.mark.parametrize(("number", "length"), [(0, 2), (1, 2), (2, 1), (3, 3)])
@pytest.mark.parametrize("k", [1, 2, 5, 50])
def test_recommend_is_ranked(both: tuple[Any, Any], index: Index, number: int, length: int, k: int) -> None:
    want = expected(both, index, WHO[number], length)
    order = sorted(want, key=lambda item: -want[item])[:k]
    ids, scores, _ = recommend(both[1], [WHO[number][0]], [WHO[number][1]], [WHO[number][2]], k)
    assert [item for item in ids[0] if item] == order
    np.testing.assert_allclose(scores[0][: len(order)], [want[item] for item in order], rtol=1e-4, atol=1e-5)
    assert (scores[0][len(order) :] == np.float32(NO_SCORE)).all()


def test_a_batch_answers_as_each_alone(both: tuple[Any, Any]) -> None:
    users, histories, excludes = (list(column) for column in zip(*WHO))
    together, scores, _ = recommend(both[1], users, histories, excludes, 4)
    for row, (user, history, exclude) in enumerate(WHO):
        alone, own, _ = recommend(both[1], [user], [history], [exclude], 4)
        assert alone[0] == together[row]
        np.testing.assert_allclose(own[0], scores[row], rtol=1e-5)


def test_popular_items_are_not_ranked(both: tuple[Any, Any]) -> None:
    answers = [recommend(model, ["nobody"], [[]], [[]], 5) for model in both]
    assert answers[0][0] == answers[1][0]
    assert np.array_equal(answers[0][1], answers[1][1])


def test_score_is_what_recommend_ranks_by(both: tuple[Any, Any]) -> None:
    ids, scores, _ = recommend(both[1], ["ann"], [[]], [[]], 4)
    asked = {"user_id": tf.constant(["ann"]), "history": strings([[]]), "candidates": strings([ids[0]])}
    scored = ask(both[1], "score", **asked)["scores"]
    np.testing.assert_allclose(scored[0], scores[0], rtol=1e-5)


def test_the_fingerprint_knows_the_second_stage(
    towers: str, index: Index, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("other")
    plain = write_towers(root, [], [])
    assert fingerprint(towers, index, SETTINGS) == fingerprint(towers, index, SETTINGS)
    assert fingerprint(towers, index, SETTINGS) != fingerprint(plain, index, SETTINGS)


def test_what_is_retrieved_is_not_ranked(both: tuple[Any, Any]) -> None:
    plain, ranked = both
    assert (plain.beyond_vectors, ranked.beyond_vectors) == ([], ["second_stage"])
    users, histories, excludes = (list(column) for column in zip(*WHO))
    who = {"user_id": tf.constant(users), "history": strings(histories), "exclude": strings(excludes)}
    answer = ask(ranked, "retrieve", **who, context=tf.constant([""] * len(users)), k=tf.constant(5))
    ids, scores, _ = recommend(plain, users, histories, excludes, 5)
    assert [[item.decode() for item in row] for row in answer["item_ids"]] == ids
    assert answer["scores"] == pytest.approx(scores, rel=1e-6)
    assert recommend(ranked, users, histories, excludes, 5)[0] != ids
