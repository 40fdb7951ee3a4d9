"""The catalogue as the Evaluator sees it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from components.evaluator.baselines.base import TrainingEvents
from components.evaluator.items import Items, load_items, read_items
from tests.components.conftest import write_examples
from tests.components.evaluator.arrays import ids


def training_events(item: list[int], names: np.ndarray) -> TrainingEvents:
    rows = np.array(item, np.int32)
    counts = np.bincount(rows, minlength=len(names))
    return TrainingEvents(np.zeros(len(rows), np.int32), rows, names, 1, counts, counts)


def test_items_are_the_trained_ones_and_then_the_rest_of_the_catalogue(tmp_path: Path) -> None:
    catalogue = [
        {"item_id": "new", "genres": ["x", "y", "x"], "country": "x"},
        {"item_id": "b", "genres": ["y"]},
        {"item_id": "a"},
    ]
    write_examples(tmp_path, "catalogue", catalogue)
    items = read_items(str(tmp_path), ["genres", "country"], training_events([0, 0, 1], ids("a", "b")))
    assert items.ids.tolist() == [b"a", b"b", b"new"]
    assert items.events.tolist() == [2, 1, 0]
    assert items.num_trained == 2
    assert items.rows(np.array([[b"new", b""], [b"b", b"zzz"]], dtype=object)).tolist() == [[2, -1], [1, -1]]
    assert items.features is not None
    third = 1 / math.sqrt(3)  # the columns are genres x and y, country x: the same word in another feature is another
    assert items.features.toarray().tolist() == [[0, 0, 0], [0, 1, 0], pytest.approx([third] * 3)]
    items.save(str(tmp_path))
    assert load_items(str(tmp_path)).rows(ids("new")).tolist() == [2]


@pytest.mark.parametrize("names", [[], ["genres"]])
def test_items_without_features(tmp_path: Path, names: list[str]) -> None:
    write_examples(tmp_path, "catalogue", [{"item_id": "a"}])
    assert read_items(str(tmp_path), names, training_events([0], ids("a"))).features is None


def test_item_popularity_bands() -> None:
    items = Items(np.arange(30), np.array([1] * 20 + [0] * 10), None)
    rows = np.array([0, 1, 2, 9, 10, 19, 20, -1])
    assert items.bands(rows).tolist() == [b"head", b"head", b"mid", b"mid", b"tail", b"tail", b"new", b"new"]
