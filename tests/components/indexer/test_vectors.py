"""Vectors by hand: ids, rows, directions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.indexer import blocks
from tests.components.indexer.three import make_items


def test_ids_and_rows(tmp_path: Path) -> None:
    items = make_items(tmp_path)
    assert items.rows(tf.constant([["c", "no"], ["", "a"]])).numpy().tolist() == [[2, -1], [-1, 0]]
    assert items.ids(tf.constant([[2], [0]])).numpy().tolist() == [[b"c"], [b"a"]]
    assert items.ids(tf.constant([3])).numpy().tolist() == [b""]


def test_directions_have_length_one(tmp_path: Path) -> None:
    items = make_items(tmp_path)
    found = items.directions(tf.constant([[0, 2], [1, 1]])).numpy()
    assert found == pytest.approx(np.array([[[0.6, 0.8], [0, -1]], [[1, 0], [1, 0]]]))
    assert items.cosines(tf.constant([0, 2])).numpy() == pytest.approx(np.array([[1, 0.6, -0.8], [-0.8, 0, 1]]))


def test_rows_of_none_are_like_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_BLOCKS_FROM", 3)
    monkeypatch.setattr(blocks, "_BLOCK", 2)
    items = make_items(tmp_path)
    assert (items.count, items.num_rows, items.dim) == (3, 4, 2)
    assert items.cosines(tf.constant([0])).numpy() == pytest.approx(np.array([[1, 0.6, -0.8, 0]]))
