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
from components.indexer.signatures import Servable
from tests.components.indexer.tiny import (
    ITEMS,
    SETTINGS,
    STORED,
    ask,
    in_memory,
    recommend,
    strings,
)

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


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
    seven: Servable, towers: str, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [*STORED, "stranger", "stranger", ""]
    histories, excludes = [[], ["f"], [], ["d e", "a"], [], []], [["g"], [], ITEMS, ["b"], ["a"], []]
    liked = {"item_id": tf.constant(["a", "g", "no"]), "exclude": strings([["b"], [], []])}

    def answers(servable: Servable) -> list[Any]:
        return [
            (
                recommend(servable, users, histories, excludes, k),
                ask(servable, "similar_items", **liked, k=tf.constant(k)),
            )
            for k in (1, 3, 7, 9)
        ]

    small = answers(seven)
    monkeypatch.setattr(blocks, "_BLOCKS_FROM", 5)
    monkeypatch.setattr(blocks, "_BLOCK", 3)  # the 7 items fill 3 blocks but for 2 rows
    for ((ids, scores, sources), similar), (other, other_similar) in zip(
        small, answers(in_memory(towers, index, SETTINGS))
    ):
        assert (other[0], other[2]) == (ids, sources)
        assert other[1] == pytest.approx(scores, rel=1e-6)
        for name in ("item_ids", "known"):
            assert other_similar[name].tolist() == similar[name].tolist()
        assert other_similar["scores"] == pytest.approx(similar["scores"], rel=1e-6)
