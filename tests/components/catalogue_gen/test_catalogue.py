"""What a person is shown of an item."""

import pyarrow as pa
import pytest

from components.catalogue_gen.catalogue import displays, tidy


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
