"""What scores come from, in the servable: worked out by hand, and added up for towers as the Trainer exports them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import InputError
from components.indexer.index import build_index
from components.indexer.saving import save_servable
from components.indexer.settings import IndexerSettings
from components.indexer.signatures import Servable
from pipeline.model.job import Transformed
from serving.contract import NO_SCORE
from tests.components.indexer.tiny import (
    EMBEDDING,
    ITEMS,
    SETTINGS,
    any_item,
    any_query,
    ask,
    in_memory,
    make_index,
    recommend,
    shift_of,
    strings,
    vectors,
    write_examples,
    write_towers,
)
from tests.pipeline.model import small_log
from tests.pipeline.model.conftest import transformed as transformed
from tests.pipeline.model.test_export import ALL, context, export

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

HOUR = small_log.HOUR


def explain(servable: Any, rows: list[tuple[str, list[str], list[str]]], contexts: Any = None) -> dict[str, np.ndarray]:
    """Explanations for rows of user, history and candidates, which are checked to add up to what `score` says."""
    users, histories, candidates = (list(column) for column in zip(*rows))
    asked: dict[str, tf.Tensor] = {"user_id": tf.constant(users), "history": strings(histories)}
    asked["candidates"] = strings(candidates)
    signatures = "explain", "score"
    if contexts is not None:
        asked["context"] = tf.constant(contexts)
        signatures = "explain_in_context", "score_in_context"
    found, scored = (ask(servable, signature, **asked) for signature in signatures)
    scores = scored["scores"]
    width, shape = found["history_ids"].shape[1], scores.shape
    assert found["contributions"].shape == (*shape, width)
    assert found["parts"].shape == (*shape, found["part_names"].shape[1])
    np.testing.assert_allclose(found["scores"], scores, rtol=1e-5, atol=1e-6)
    terms = np.concatenate([found["contributions"], found["parts"]], axis=2)
    known = scores > NO_SCORE
    assert not terms[~known].any()
    size = np.abs(terms).sum(axis=2)
    assert (np.abs(terms.sum(axis=2) - scores)[known] <= 1e-4 * size[known] + 1e-6).all()
    return found


def parts_of(found: dict[str, np.ndarray], row: int, candidate: int) -> dict[str, float]:
    names = [name.decode() for name in found["part_names"][row]]
    return dict(zip(names, found["parts"][row, candidate].tolist()))


def test_a_mean_of_the_history_worked_out(servable: Any) -> None:
    rows = [("ann", [], ["f", "nobody's"]), ("ann", ["f", "what?", "d e"], ["a", ""]), ("stranger", ["?"], ["a", "g"])]
    found = explain(servable, rows)
    embedding, bias = vectors()
    ids = [[item.decode() for item in row] for row in found["history_ids"]]
    # ann's stored history, the request's in its place, nobody's; an item that nobody knows keeps its place.
    assert ids == [["a", "b", ""], ["f", "", "d e"], ["", "", ""]]
    assert found["contributions"][0, 0] == pytest.approx([*(embedding[:2] @ embedding[5] / 2), 0], rel=1e-5)
    halves = [embedding[5] @ embedding[0] / 2, 0, embedding[3] @ embedding[0] / 2]
    assert found["contributions"][1, 0] == pytest.approx(halves, rel=1e-5)
    assert parts_of(found, 0, 0) == pytest.approx(
        {"user_id": 0, "feature:shift": 0, "bias": bias[5], "popularity": 0, "ranking": 0}
    )
    assert parts_of(found, 2, 0)["popularity"] == 3
    assert (found["scores"][[0, 1], [1, 1]] == np.float32(NO_SCORE)).all()
    assert set(found["method"].tolist()) == {b"exact"}


def test_features_and_the_second_stage_are_parts(tmp_path: Path) -> None:
    users = {"cleo": [0.5, 0.0, -1.0]}
    towers = write_towers(tmp_path / "towers", [{"name": "shift", "type": "number"}], ["shift"], users, candidates=2)
    plain = write_towers(tmp_path / "plain", [{"name": "shift", "type": "number"}], ["shift"], users)
    index = make_index(towers, tmp_path)
    both, first = in_memory(towers, index, SETTINGS), in_memory(plain, index, SETTINGS)
    rows = [("ann", ["f"], ITEMS), ("cleo", [], ITEMS)]
    contexts = [shift_of(7.0), shift_of(None)]
    found = explain(both, rows, contexts)
    embedding, _ = vectors()
    for row, shift in enumerate([7.0, -1.0]):  # cleo's is the stored one
        shifts = [parts_of(found, row, place)["feature:shift"] for place in range(7)]
        assert shifts == pytest.approx((shift * embedding.sum(axis=1)).tolist(), rel=1e-4)
    of_user = [parts_of(found, 1, place)["user_id"] for place in range(7)]
    assert of_user == pytest.approx((embedding @ [0.5, 0, -1]).tolist(), rel=1e-4, abs=1e-6)
    before, ranking = explain(first, rows, contexts)["scores"], found["parts"][:, :, -1]
    assert ranking == pytest.approx(found["scores"] - before, rel=1e-4, abs=1e-4)
    assert np.abs(ranking).min() > 0.1, "also those behind the candidates move"


@pytest.mark.parametrize("compact", ["float16", "int8"])
def test_small_tables_explain_the_scores_that_they_give(compact: Any, towers: str, index: Any) -> None:
    servable = in_memory(towers, index, SETTINGS.model_copy(update={"compact": compact}))
    explain(servable, [("ann", [], ITEMS), ("", ["g", "a"], ITEMS)])


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(any_query, st.lists(any_item, max_size=4)), min_size=1, max_size=4))
def test_any_request_adds_up(servable: Any, rows: Any) -> None:
    explain(servable, [(user, history, candidates) for (user, history, _), candidates in rows])


def test_what_is_recommended_is_explained(servable: Any) -> None:
    [ids], [scores], _ = recommend(servable, ["cleo"], [[]], [[]], 3)
    assert explain(servable, [("cleo", [], ids)])["scores"][0] == pytest.approx(scores, rel=1e-5)


KINDS = {
    "sum": {},
    "normalised": {"normalize": True},
    "attention": {"history": "attention"},
    "transformer": {"history": "transformer"},
}


@pytest.fixture(scope="module", params=KINDS)
def real(request: pytest.FixtureRequest, transformed: Transformed, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Towers as the Trainer exports them, and a servable of these and a small log."""
    root = tmp_path_factory.mktemp("real")
    export(transformed, root / "towers", ALL, **small_log.IN_CONTEXT, **KINDS[request.param])
    items = [{"item_id": item, "about": [0.0, 0.0]} for item in small_log.ITEMS]
    catalogue = write_examples(root / "catalogue", "catalogue", items)
    events = [
        {"user_id": row["user_id"][0], "item_id": row["item_id"][0], "timestamp": row["timestamp"][0]}
        for row in small_log.events()
    ]
    log = write_examples(root / "log", "train", events)
    index = build_index(str(root / "towers"), catalogue, log, stored_history=4, similar=EMBEDDING)
    return request.param, in_memory(str(root / "towers"), index, SETTINGS)


of_log = st.lists(st.sampled_from([*small_log.ITEMS, small_log.NEW, "unknown", ""]), max_size=7)
any_context = st.builds(
    context,
    device=st.none() | st.sampled_from(["tv", "fridge"]),
    age=st.none() | st.floats(-2, 2, width=32),
    timestamp=st.none() | st.integers(0, 300 * HOUR),
)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["user 3", "nobody", ""]), of_log, of_log, any_context), min_size=1, max_size=3
    )
)
def test_any_request_to_real_towers_adds_up(real: tuple[str, Servable], rows: Any) -> None:
    kind, servable = real
    found = explain(servable, [row[:3] for row in rows], [row[3] for row in rows])
    for row, (user, history, *_) in enumerate(rows):
        ids = {item.decode() for item in found["history_ids"][row]} - {""}
        known = {*history} & {*small_log.ITEMS}
        assert ids <= (known or {*small_log.ITEMS})
        personal = user == "user 3" or bool(known)
        by_sum = kind in ("sum", "normalised") or not personal
        assert found["method"][row] == (b"exact" if by_sum else b"attribution")


def test_towers_of_an_older_version_are_told(index: Any, tmp_path: Path) -> None:
    towers = tf.Module()
    towers.query_part = tf.Module()
    tf.saved_model.save(towers, str(tmp_path / "old"))
    (tmp_path / "old" / "assets.extra").mkdir()
    (tmp_path / "old" / "assets.extra" / "towers.json").write_text('{"context": [], "max_history": 3}')
    with pytest.raises(InputError, match="was of an older version: run the Trainer again"):
        save_servable(str(tmp_path / "old"), index, IndexerSettings(), "m", str(tmp_path / "servable"))
