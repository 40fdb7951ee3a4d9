"""The linear part in the graph, against its NumPy twin, and in the servable's answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from benchmarks import compact
from components.closed_forms.linear import FILE, Part, to_bytes
from components.indexer import linear as module
from components.indexer.fingerprint import fingerprint
from components.indexer.index import Index
from components.indexer.linear import Linear
from components.indexer.settings import IndexerSettings, IndexSettings
from tests.components.indexer.tiny import ITEMS, SETTINGS, ask, in_memory, make_index, recommend, strings, write_towers

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

# d e is followed by b, b by a; e🙂 speaks against a.
WEIGHTS = np.zeros((len(ITEMS), len(ITEMS)), np.float32)
WEIGHTS[3, 1], WEIGHTS[1, 0], WEIGHTS[4, 0], WEIGHTS[4, 5] = 20, 30, -40, 10
PLACES = np.array([1, 0.5], np.float32)


def part(name: str = "ease", share: float = 0.5) -> Part:
    return Part(name, sparse.csr_array(WEIGHTS), PLACES, share)


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_towers(tmp_path_factory.mktemp("towers"), [], [])


@pytest.fixture(scope="module")
def index(towers: str, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_index(towers, tmp_path_factory.mktemp("data"))


@given(
    st.lists(st.lists(st.integers(-1, len(ITEMS) - 1), min_size=3, max_size=3), min_size=1, max_size=4),
    st.sampled_from(["float32", "float16", "int8"]),
)
def test_votes_are_those_of_numpy(history: list[list[int]], stored: Any) -> None:
    found = Linear([part()], 10, stored)
    votes = found.votes(tf.constant(history, tf.int64))["ease"].numpy()
    assert type(found._parts["ease"]) is (module._Dense if stored == "float32" else module._Sparse)
    assert votes[:, len(ITEMS) :].tolist() == np.zeros((len(history), 3)).tolist()
    assert votes[:, : len(ITEMS)].tolist() == part().votes(np.array(history)).tolist()


@given(
    st.lists(st.lists(st.integers(-1, len(ITEMS) - 1), min_size=3, max_size=3), min_size=1, max_size=4),
    st.lists(st.integers(0, len(ITEMS) - 1), min_size=1, max_size=5),
    st.sampled_from(["float32", "float16"]),
)
def test_votes_are_the_sum_of_what_the_places_add(history: list[list[int]], rows: list[int], stored: Any) -> None:
    linear = Linear([part(), part("sequential", 0.25)], 10, stored)
    shares = linear.shares(tf.constant(history, tf.int64), tf.constant([rows] * len(history), tf.int64)).numpy()
    votes = part(share=0.75).votes(np.array(history))[:, rows]
    np.testing.assert_allclose(shares.sum(axis=2), votes, rtol=1e-5, atol=1e-5)
    assert not shares[:, :, 2].any()  # beyond the places
    for request, own in enumerate(history):
        for place, item in enumerate(own[:2]):
            expected = 0.75 * PLACES[place] * WEIGHTS[item, rows] if item >= 0 else np.zeros(len(rows))
            np.testing.assert_allclose(shares[request, :, place], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dense_up_to", [0, 10])
def test_no_history_and_no_weights_are_no_votes(monkeypatch: pytest.MonkeyPatch, dense_up_to: int) -> None:
    monkeypatch.setattr(module, "DENSE_UP_TO", dense_up_to)
    linear = Linear([replace(part(), weights=sparse.csr_array((7, 7), dtype=np.float32))], 7, "float32")
    assert not linear.votes(tf.constant([[0, 3]], tf.int64))["ease"].numpy().any()
    assert linear.votes(tf.zeros([2, 0], tf.int64))["ease"].shape == (2, 7)
    assert linear.shares(tf.zeros([2, 0], tf.int64), tf.zeros([2, 3], tf.int64)).shape == (2, 3, 0)
    assert Linear([], 7, "float32").votes(tf.zeros([2, 0], tf.int64)) == {}


@pytest.fixture(scope="module")
def both(towers: str, index: Index) -> tuple[Any, Any]:
    """The servable without and with a linear part of two."""
    mixed = replace(index, linear=(part(), part("sequential", 0.25)))
    return in_memory(towers, index, SETTINGS), in_memory(towers, mixed, SETTINGS)


WHO = [("", ["b", "e🙂"]), ("ann", []), ("", ["unknown", "b"]), ("nobody", [])]
# Of the two shares together, 0.75: by the history, the stored one (a, then b), with b in the second place, and none.
VOTES = [{"a": 0.75 * (30 - 20), "f": 0.75 * 5}, {"a": 0.75 * 15}, {"a": 0.75 * 15}, {}]


@pytest.mark.parametrize("number", range(4))
def test_scores_are_the_towers_and_the_votes(both: tuple[Any, Any], number: int) -> None:
    user, history = WHO[number]
    asked = {"user_id": tf.constant([user]), "history": strings([history]), "candidates": strings([ITEMS])}
    before, after = (ask(model, "score", **asked)["scores"][0] for model in both)
    expected = [VOTES[number].get(item, 0.0) for item in ITEMS]
    np.testing.assert_allclose(after - before, expected, atol=1e-4)
    ids, scores, _ = recommend(both[1], [user], [history], [[]], 4)
    own = dict(zip(ITEMS, after))
    for item, score in zip(ids[0], scores[0]):
        assert score == pytest.approx(own[item], abs=1e-4)
    had = {*history, *(["a", "b"] if user == "ann" else [])}
    left = [item for item in sorted(ITEMS, key=lambda item: -own[item]) if item not in had]
    assert ids[0] == left[:4]


@pytest.mark.parametrize("number", range(4))
def test_explanations_have_the_votes_by_item(both: tuple[Any, Any], number: int) -> None:
    user, history = WHO[number]
    asked = {"user_id": tf.constant([user]), "history": strings([history]), "candidates": strings([ITEMS])}
    before, after = (ask(model, "explain", **asked) for model in both)
    votes = [VOTES[number].get(item, 0.0) for item in ITEMS]
    added = (after["contributions"] - before["contributions"])[0]
    np.testing.assert_allclose(added.sum(axis=1), votes, atol=1e-4)
    np.testing.assert_allclose(after["parts"], before["parts"], atol=1e-4)
    total = after["contributions"].sum(axis=2) + after["parts"].sum(axis=2)
    np.testing.assert_allclose(total, after["scores"], atol=1e-4)


def test_retrieve_goes_by_the_towers_alone(both: tuple[Any, Any]) -> None:
    answers = [
        ask(
            model,
            "retrieve",
            user_id=tf.constant([""]),
            history=strings([["b", "e🙂"]]),
            exclude=strings([[]]),
            context=tf.constant([""]),
            k=tf.constant(5),
        )
        for model in both
    ]
    assert answers[0]["item_ids"].tolist() == answers[1]["item_ids"].tolist()
    assert np.array_equal(answers[0]["scores"], answers[1]["scores"])
    assert [model.beyond_vectors for model in both] == [[], ["linear_part"]]


def test_the_index_takes_over_what_the_trainer_wrote(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("trained")
    towers = write_towers(folder / "towers", [], [])
    # Of training's items, in another order, one is gone.
    order = [4, 1, 0]
    weights = sparse.csr_array(WEIGHTS[np.ix_(order, order)].copy())
    bare = np.zeros((4, 4), np.float32)
    bare[:3, :3] = weights.toarray()
    ids = [*(ITEMS[number].encode() for number in order), b"gone"]
    file = folder / "towers" / "assets.extra" / FILE
    file.write_bytes(to_bytes([replace(part(), weights=sparse.csr_array(bare))], ids))
    index = make_index(towers, folder / "data")
    [found] = index.linear
    row = [index.item_ids.tolist().index(ITEMS[number].encode()) for number in order]
    assert found.weights.toarray()[np.ix_(row, row)].tolist() == WEIGHTS[np.ix_(order, order)].tolist()
    assert found.weights.nnz == 2
    assert fingerprint(towers, index, SETTINGS) != fingerprint(towers, replace(index, linear=()), SETTINGS)


def test_an_approximate_index_finds_what_is_voted_for(tmp_path: Path) -> None:
    pytest.importorskip("scann", reason="there is none for this TensorFlow")
    items = 600
    weights = sparse.lil_array((items, items), dtype=np.float32)
    index = compact.make_index(items, 5, 8, 3)
    newest = index.history_values[index.history_splits[2]]
    worst = int(np.argmin(index.embedding @ index.history_embedding[newest] + index.bias))
    weights[newest, worst] = 1_000
    index = replace(index, linear=(Part("sequential", sparse.csr_array(weights), PLACES),))
    compact.write_towers(tmp_path / "towers", 8)
    settings = IndexerSettings(index=IndexSettings(type="scann", leaves=5, searched=1, candidates=20))
    near = in_memory(str(tmp_path / "towers"), index, settings)
    none = tf.fill([2, 0], "")
    answer = ask(
        near, "recommend", user_id=tf.constant(["2", "stranger"]), history=none, exclude=none, k=tf.constant(5)
    )
    assert answer["item_ids"][0, 0] == index.item_ids[worst]
    assert len({*answer["item_ids"][0].tolist()}) == 5
