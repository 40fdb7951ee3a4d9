"""The best of many scores, by blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.indexer import blocks
from components.indexer.index import Index
from tests.components.indexer.tiny import (
    ITEMS,
    SETTINGS,
    STORED,
    ask,
    in_memory,
    recommend,
    strings,
)


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 1.0, 2.0]), min_size=12, max_size=12), max_size=3),
    count=st.integers(0, 12),
)
def test_the_best_of_blocks_are_the_best(scores: list[list[float]], count: int) -> None:
    """Also of equal scores: the earlier row comes first, as without blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_BLOCK", 3)
        found, rows = blocks.best_in_blocks(tf.constant(scores, tf.float32, [len(scores), 12]), tf.constant(count))
    for line, own_scores, own_rows in zip(scores, found.numpy().tolist(), rows.numpy().tolist()):
        expected = sorted(range(12), key=lambda row: (-line[row], row))[:count]
        assert own_rows == expected
        assert own_scores == [line[row] for row in expected]


def test_a_large_catalogue_is_answered_like_a_small_one(
    servable: Any, towers: str, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_BLOCKS_FROM", 5)
    monkeypatch.setattr(blocks, "_BLOCK", 3)  # the 7 items fill 3 blocks but for 2 rows
    large = in_memory(towers, index, SETTINGS)
    users = [*STORED, "stranger", "stranger", ""]
    histories, excludes = [[], ["f"], [], ["d e", "a"], [], []], [["g"], [], ITEMS, ["b"], ["a"], []]
    for k in (1, 3, 7, 9):
        ids, scores, sources = recommend(servable, users, histories, excludes, k)
        other_ids, other_scores, other_sources = recommend(large, users, histories, excludes, k)
        assert (other_ids, other_sources) == (ids, sources)
        assert other_scores == pytest.approx(scores, rel=1e-6)
        inputs = {"item_id": tf.constant(["a", "g", "no"]), "exclude": strings([["b"], [], []]), "k": tf.constant(k)}
        similar, other = (ask(model, "similar_items", **inputs) for model in (servable, large))
        for name in ("item_ids", "known"):
            assert other[name].tolist() == similar[name].tolist()
        assert other["scores"] == pytest.approx(similar["scores"], rel=1e-6)
