"""Items by hand: ids, scores, directions."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from components.indexer import blocks
from tests.components.indexer.three import asked, make_items


@pytest.mark.parametrize("in_blocks", [False, True])
def test_scores_are_products_and_biases_or_the_popularity(
    tmp_path: Path, in_blocks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_blocks:
        monkeypatch.setattr(blocks, "_BLOCKS_FROM", 3)
        monkeypatch.setattr(blocks, "_BLOCK", 2)
    items = make_items(tmp_path)
    assert (items.count, items.num_rows) == (3, 4 if in_blocks else 3)
    spare = [0.0] * (items.num_rows - 3)
    who = asked([2.0, 1.0], None)
    assert items.scores(who).numpy().tolist() == [[10.5, 2, -3, *spare], [7, 0, 2, *spare]]
    assert items.scores_of(who, tf.constant([[2, 0], [0, 1]])).numpy().tolist() == [[-3, 10.5], [7, 0]]
    votes = {
        "ease": tf.constant([[1.0, 0, 2, *spare], [0.0, 0, 0, *spare]]),
        "sequential": tf.ones([2, len(spare) + 3]),
    }
    voted = who._replace(votes=votes)
    assert items.scores(voted).numpy()[:, :3].tolist() == [[12.5, 3, 0], [8, 1, 3]]
    assert items.scores_of(voted, tf.constant([[2, 0], [0, 1]])).numpy().tolist() == [[0, 12.5], [8, 1]]


def test_biases(tmp_path: Path) -> None:
    assert make_items(tmp_path).biases(tf.constant([[2, 0], [1, 1]])).numpy().tolist() == [[-1, 0.5], [0, 0]]
