"""What a person is shown of an item, and texts as vectors."""

import numpy as np
import pyarrow as pa
import pytest

from components.catalogue_gen.catalogue import displays, encoded, tidy


@pytest.mark.parametrize(
    ("title", "year", "shown"),
    [
        ("Toy Story", "1995", "Toy Story (1995)"),
        ("Toy Story", "", "Toy Story"),
        ("", "1995", "(1995)"),
        ("", "", "7"),
        ("Say: \n no -", "1995", "Say: no - (1995)"),
        ("Say, - ", "", "Say"),
        ("Empty ()", "1995", "Empty () (1995)"),
    ],
)
def test_displays(title, year, shown):
    columns = {"title": pa.array([title]), "year": pa.array([year])}
    assert displays(columns, pa.array(["7"]), "{title} ({year})").to_pylist() == [shown]


def test_displays_of_parquet_numbers_and_literal_braces():
    columns = {"year": pa.array([1995.0, None, 1.5]), "id": pa.array([1, 2, 3])}
    shown = displays(columns, pa.array(["a", "b", "c"]), "{{{id}}} {year}")
    assert shown.to_pylist() == ["{1} 1995", "{2}", "{3} 1.5"]


def test_tidy_leaves_complete_texts_alone():
    assert tidy("a - (b),", missing=False) == "a - (b),"


def test_a_text_becomes_a_list_of_numbers_and_a_missing_one_that_of_an_empty_text():
    columns = {"item_id": pa.array(["a", "b", "c"]), "about": pa.array(["food", None, "xyz"])[1:], "n": pa.array([1.0])}
    found = encoded(columns, {"about": lambda texts: np.array([[len(t), -1] for t in texts], np.float32)})
    assert found["about"].to_pylist() == [[0, -1], [3, -1]]
    assert found["about"].type == pa.list_(pa.float32())
    assert (found["item_id"], found["n"]) == (columns["item_id"], columns["n"])
    assert encoded(columns, {}) == columns
