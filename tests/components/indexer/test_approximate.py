"""The approximate index: exact where it falls back, nearly so elsewhere, measured, and refused outside its bounds."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compact import make_index, write_towers
from components.errors import InputError
from components.indexer.approximate import among
from components.indexer.index import Index
from components.indexer.measure import Query
from components.indexer.saving import save_servable
from components.indexer.settings import IndexerSettings, IndexSettings
from tests.components.indexer.tiny import ask, in_memory

ITEMS, USERS, DIM, STORED = 600, 20, 8, 5


@pytest.mark.slow
@pytest.mark.smoke
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=2, max_size=2),
    st.lists(st.lists(st.integers(-1, 9), min_size=3, max_size=3), min_size=2, max_size=2),
)
def test_among(rows: list[list[int]], listed: list[list[int]]) -> None:
    found = among(tf.constant(rows, tf.int32), tf.constant(listed, tf.int64)).numpy().tolist()
    assert found == [[row in others for row in line] for line, others in zip(rows, listed)]


def test_among_nothing() -> None:
    assert not among(tf.constant([[0, 1]]), tf.zeros([1, 0], tf.int64)).numpy().any()


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("towers") / "towers"
    write_towers(folder, DIM)
    return str(folder)


@pytest.fixture(scope="module")
def index() -> Index:
    return make_index(ITEMS, USERS, DIM, STORED)


def nearly(**settings: Any) -> IndexerSettings:
    return IndexerSettings(index=IndexSettings(type="scann", **{"leaves": 5, "searched": 1, **settings}))


QUERIES = [Query(str(user).encode(), [], []) for user in range(USERS)]


@pytest.fixture(scope="module")
def saved(towers: str, index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("scann", reason="there is none for this TensorFlow")
    path = tmp_path_factory.mktemp("servable") / "1"
    save_servable(towers, index, nearly(candidates=60), "near", str(path), QUERIES)
    return path


@pytest.fixture(scope="module")
def near(saved: Path) -> Any:
    return tf.saved_model.load(str(saved))


@pytest.fixture(scope="module")
def exact(towers: str, index: Index) -> Any:
    return in_memory(towers, index, IndexerSettings())


def asked(servable: Any, users: list[str], exclude: list[list[str]], k: int) -> tuple[list[list[bytes]], np.ndarray]:
    inputs = {"user_id": tf.constant(users), "history": tf.fill([len(users), 0], ""), "k": tf.constant(k)}
    found = ask(servable, "recommend", **inputs, exclude=tf.constant(exclude, tf.string, [len(users), len(exclude[0])]))
    return found["item_ids"].tolist(), found["scores"]


@pytest.mark.slow
@pytest.mark.smoke
def test_nearly_the_same_answers(near: Any, exact: Any, index: Index) -> None:
    users = [str(user) for user in range(USERS)]
    ids, scores = asked(near, [*users, "stranger"], [[]] * (USERS + 1), 10)
    wanted, best = asked(exact, [*users, "stranger"], [[]] * (USERS + 1), 10)
    shared = [len({*found} & {*right}) / 10 for found, right in zip(ids, wanted)]
    assert np.mean(shared) > 0.9
    assert shared[-1] == 1  # popular items are not searched for
    assert scores[-1] == pytest.approx(best[-1])
    # What is found has its exact score, comes in order, once, and is nothing that the user had.
    stored = np.split(index.item_ids[index.history_values], index.history_splits[1:-1])
    for found, score, right, top, had in zip(ids, scores, wanted, best, stored):
        assert len({*found} - {*had.tolist()}) == 10
        assert (np.diff(score) <= 0).all()
        exact_score = dict(zip(right, top))
        assert all(exact_score.get(item, value) == pytest.approx(value, abs=1e-5) for item, value in zip(found, score))


@pytest.mark.slow
@pytest.mark.smoke
def test_excluded_items_are_made_up_for(near: Any, exact: Any) -> None:
    [most], _ = asked(exact, ["3"], [[]], 40)
    [found], _ = asked(near, ["3"], [most], 10)
    [wanted], _ = asked(exact, ["3"], [most], 10)
    assert not {*found} & {*most}
    assert len({*found} & {*wanted}) >= 8


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("k", [200, ITEMS])
def test_a_great_part_of_the_catalogue_is_exact(near: Any, exact: Any, k: int) -> None:
    ids, scores = asked(near, ["3", "stranger"], [[], []], k)
    wanted, best = asked(exact, ["3", "stranger"], [[], []], k)
    assert ids == wanted
    assert scores == pytest.approx(best)


@pytest.mark.slow
@pytest.mark.smoke
def test_the_measurement_is_in_the_manifest(saved: Path) -> None:
    found = json.loads((saved / "assets.extra" / "recommender.json").read_text(encoding="utf-8"))["index"]
    assert (found["type"], found["k"], found["queries"]) == ("scann", 10, USERS)
    assert 0.9 < found["recall"] <= 1
    assert found["latency_ms"] > 0


@pytest.mark.slow
@pytest.mark.smoke
def test_what_is_retrieved_is_exact(saved: Path, near: Any, exact: Any) -> None:
    manifest = json.loads((saved / "assets.extra" / "recommender.json").read_text(encoding="utf-8"))
    assert manifest["beyond_vectors"] == ["approximate_index"]
    users = tf.constant([query.user_id for query in QUERIES])
    nothing = tf.zeros([USERS, 0], tf.string)
    who = {"user_id": users, "history": nothing, "exclude": nothing, "k": tf.constant(10)}
    found = ask(near, "retrieve", **who, context=tf.fill([USERS], ""))
    sought = ask(exact, "recommend", **who)
    assert found["item_ids"].tolist() == sought["item_ids"].tolist()
    assert found["scores"] == pytest.approx(sought["scores"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.smoke
def test_an_index_that_finds_too_little_is_not_saved(towers: str, index: Index, tmp_path: Path) -> None:
    pytest.importorskip("scann", reason="there is none for this TensorFlow")
    with pytest.raises(InputError, match=r"the scann index is refused on 20 queries.*below serving\.index\.min_recall"):
        save_servable(towers, index, nearly(searched=0.01, candidates=1), "near", str(tmp_path / "1"), QUERIES)
    assert not (tmp_path / "1").exists()


def test_too_few_items(towers: str, tmp_path: Path) -> None:
    pytest.importorskip("scann", reason="there is none for this TensorFlow")
    with pytest.raises(InputError, match="needs at least 16 items, not 15: set it to exact"):
        save_servable(towers, make_index(15, 2, DIM, 1), nearly(), "near", str(tmp_path / "1"))


def test_without_scann_one_message_says_what_fits(
    towers: str, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scann.scann_ops.py", None)
    with pytest.raises(InputError, match=r"fits TensorFlow 2\.16 .*set serving\.index\.type: exact"):
        save_servable(towers, index, nearly(), "near", str(tmp_path / "1"))
