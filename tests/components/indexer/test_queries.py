"""Who asks, and what their query is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.indexer.index import Index
from components.indexer.settings import IndexerSettings
from components.indexer.signatures import Servable
from tests.components.indexer.tiny import (
    DEFAULT_K,
    ITEMS,
    SETTINGS,
    ask,
    in_memory,
    make_index,
    recommend,
    reference,
    strings,
    vectors,
    write_towers,
)

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def test_a_cold_start_by_the_model(towers: str, index: Index) -> None:
    settings = IndexerSettings(default_k=DEFAULT_K, cold_start="model")
    servable = in_memory(towers, index, settings)
    users, histories = ["stranger", "", "ann"], [[], ["unknown"], []]
    ids, scores, sources = recommend(servable, users, histories, [["a"], [], []], 7)
    assert sources == ["popular", "popular", "user"]
    # An empty history is the query 0, so the biases alone decide.
    _, bias = vectors()
    best = [ITEMS[row] for row in np.argsort(-bias)]
    assert ids[0] == [item for item in best if item != "a"] + [""]
    assert ids[1] == best
    assert scores[1] == pytest.approx(np.sort(bias)[::-1])
    expected, _, _ = reference("ann", [], [], 7)
    assert ids[2] == expected
    # So a vector is to be searched with, which it is not where the popular items are answered.
    who = {"user_id": tf.constant(users), "history": strings(histories), "context": tf.constant([""] * 3)}
    assert ask(servable, "embed_queries", **who)["known"].tolist() == [True, True, True]
    popular = in_memory(towers, index, SETTINGS)
    assert ask(popular, "embed_queries", **who)["known"].tolist() == [False, False, True]


@pytest.mark.parametrize("compact", ["float32", "float16", "int8"])
def test_what_the_users_ids_add(compact: Any, index: Index, seven: Servable, tmp_path: Path) -> None:
    towers = write_towers(tmp_path / "towers", [], [], users={"cleo": [0.5, 0.0, -1.0]})
    own = make_index(towers, tmp_path / "data")
    assert len(index.user_embedding) == 0
    assert own.user_embedding.tolist() == [[0, 0, 0], [0, 0, 0], [0.5, 0, -1]]
    with_ids = in_memory(towers, own, SETTINGS.model_copy(update={"compact": compact}))
    users = ["ann", "cleo", "nobody"]
    asked = {"user_id": tf.constant(users), "history": strings([["a"]] * 3), "candidates": strings([ITEMS] * 3)}
    found, without = (ask(model, "score", **asked)["scores"] for model in (with_ids, seven))
    embedding, _ = vectors()
    expected = without + np.array([[0, 0, 0], [0.5, 0, -1], [0, 0, 0]]) @ embedding.T
    assert found == pytest.approx(expected, abs={"float32": 1e-5, "float16": 0.01, "int8": 0.1}[compact])
