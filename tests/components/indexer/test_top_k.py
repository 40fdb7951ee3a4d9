"""From scores to lists by hand: exclusions, padding, diversity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.indexer import blocks
from components.indexer.top_k import TopK
from tests.components.indexer.three import make_items

INF = float("inf")


def ids_of(found: tf.Tensor) -> list[list[str]]:
    return [[item.decode() for item in row] for row in found.numpy()]


@pytest.mark.parametrize("in_blocks", [False, True])
def test_the_best_that_are_left_and_then_padding(
    tmp_path: Path, in_blocks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_blocks:
        monkeypatch.setattr(blocks, "_BLOCKS_FROM", 3)
        monkeypatch.setattr(blocks, "_BLOCK", 2)  # a fourth row, of no item
    items = make_items(tmp_path)
    scores = tf.constant([[1.0, 3, 2], [1, 3, 2]])
    if in_blocks:
        scores = tf.pad(scores, [[0, 0], [0, 1]], constant_values=99.0)
    excluded = tf.constant([[-1, 1], [-1, -1]], tf.int64)
    ids, values = TopK(items, 100).top_k(scores, excluded, tf.constant(4))
    assert ids_of(ids) == [["c", "a", "", ""], ["b", "c", "a", ""]]
    assert values.numpy().tolist() == [[2, 1, -INF, -INF], [3, 2, 1, -INF]]
    ids, _ = TopK(items, 100).top_k(scores, excluded, tf.constant(1))
    assert ids_of(ids) == [["c"], ["b"]]


def test_diversity_chooses_among_the_candidates_alone(tmp_path: Path) -> None:
    """The directions are a (.6, .8), b (1, 0) and c (0, -1): b is nearer to a than c is."""
    items = make_items(tmp_path)
    scores, excluded = tf.constant([[3.0, 2.0, 1.0]] * 3), tf.zeros([3, 0], tf.int64)
    diversity = tf.constant([0.0, 0.9, 0.9])
    # Second place after a: b with 0.1 * 0.5 - 0.9 * 0.6, c with 0.1 * 0 + 0.9 * 0.8.
    ids, values = TopK(items, 3).top_k(scores, excluded, tf.constant(2), diversity)
    assert ids_of(ids) == [["a", "b"], ["a", "c"], ["a", "c"]]
    assert values.numpy().tolist() == [[3, 2], [3, 1], [3, 1]], "scores stay what they are"
    # With two candidates c is none; a row that needs all three has three.
    ids, _ = TopK(items, 2).top_k(scores, excluded, tf.constant(3), diversity, tf.constant([2, 2, 3]))
    assert ids_of(ids)[1][:2] == ["a", "b"]
    assert ids_of(ids)[2][:2] == ["a", "c"]


def test_a_k_is_from_1_to_the_most(tmp_path: Path) -> None:
    top_k = TopK(make_items(tmp_path), 100)
    assert [int(top_k.checked_k(tf.constant(k))) for k in (1, 1_000)] == [1, 1_000]
    for k, message in ((0, "at least 1"), (1_001, "at most 1000")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            top_k.checked_k(tf.constant(k))


def test_left_takes_out_rows(tmp_path: Path) -> None:
    left = TopK(make_items(tmp_path), 100).left(tf.zeros([2, 3]), tf.constant([[0, 0], [2, -1]], tf.int64))
    assert np.isneginf(left.numpy()).tolist() == [[True, False, False], [False, False, True]]
