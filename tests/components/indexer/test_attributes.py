"""What items can be filtered by, read from a catalogue."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components.indexer.attributes import read_attributes
from tests.components.indexer.catalogue import FEATURES, write_three
from tests.components.indexer.tiny import write_examples


def test_conditions_and_the_items_that_fulfil_each(tmp_path: Path) -> None:
    attributes = read_attributes(write_three(tmp_path), FEATURES)
    assert (attributes.categories, attributes.numbers) == (("tags", "brand"), ("price",))
    assert attributes.conditions.tolist() == [b"=", b"tags=new", b"tags=red", b"brand=x", b"brand=y"]
    assert attributes.splits.tolist() == [0, 0, 1, 3, 4, 5]
    assert attributes.rows.tolist() == [0, 0, 1, 0, 1]
    np.testing.assert_array_equal(attributes.amounts, np.array([[900, np.nan, 19.99]], np.float32))


def test_of_some_of_the_items(tmp_path: Path) -> None:
    """The boat has gone; the others are the rows 0 and 1."""
    attributes = read_attributes(write_three(tmp_path), FEATURES, np.array([False, True, True]))
    assert attributes.conditions.tolist() == [b"=", b"tags=red", b"brand=y"]
    assert attributes.splits.tolist() == [0, 0, 1, 2]
    assert attributes.rows.tolist() == [0, 0]
    np.testing.assert_array_equal(attributes.amounts, np.array([[np.nan, 19.99]], np.float32))


def test_of_a_range_of_the_items(tmp_path: Path) -> None:
    """Of those that fulfil no condition the conditions stay: they are no mistake."""
    attributes = read_attributes(write_three(tmp_path), FEATURES).among(1, 3)
    assert attributes.conditions.tolist() == [b"=", b"tags=new", b"tags=red", b"brand=x", b"brand=y"]
    assert attributes.splits.tolist() == [0, 0, 0, 1, 1, 2]
    assert attributes.rows.tolist() == [0, 0]
    np.testing.assert_array_equal(attributes.amounts, np.array([[np.nan, 19.99]], np.float32))


def test_line_breaks_are_escaped(tmp_path: Path) -> None:
    uri = write_examples(tmp_path, "catalogue", [{"item_id": "a", "brand": "x\ny\\\r"}])
    assert read_attributes(uri, {"brand": "category"}).conditions.tolist() == [b"=", rb"brand=x\ny\\\r"]


def test_without_features_nothing_is_read() -> None:
    assert read_attributes("nowhere", {}).conditions.tolist() == [b"="]
