"""What columns hold as a whole."""

import pyarrow as pa
import pytest

from components.tables.contents import Content, added, content, warnings


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", "a", None], Content(3, 1, "a", False)),
        (["a", "b"], Content(2, 0, "a", True)),
        (["NULL", "b", "NULL", "none"], Content(4, 0, "NULL", True, 2, "NULL")),
        (pa.array([None, None], pa.string()), Content(2, 2, None, False)),
        (["['a', 'b']", "[c]", None], Content(3, 1, "['a', 'b']", True, lists=1)),
        ([[], ["x", "x"], None], Content(3, 2, "x", False)),
        ([["x"], ["y"]], Content(2, 0, "x", True)),
        ([1.5, 1.5], Content(2, 0, 1.5, False)),
        (pa.array([], pa.string()), Content(0, 0, None, False)),
    ],
)
def test_what_a_column_holds(values, expected):
    assert content(values if isinstance(values, pa.Array) else pa.array(values)) == expected


def test_parts_are_added_up_in_any_order():
    parts = [Content(2, 2, None, False), Content(3, 0, "b", False), Content(1, 0, "a", False)]
    assert added(parts) == added(parts[::-1]) == Content(6, 2, "a", True)
    assert added([Content(1, 0, "a", False)] * 2) == Content(2, 0, "a", False)
    assert added([]) == Content(0, 0, None, False)


def test_what_says_nothing_is_named():
    columns = {
        "device": Content(192, 0, "ios", False),
        "plan": Content(192, 192, None, False),
        "city": Content(192, 3, "Rome", False),
        "price": Content(1000, 0, 1.5, False),
        "note": Content(2, 0, "x" * 100, False),
        "brand": Content(192, 0, "x", True, 20, "NULL"),
        "name": Content(192, 0, "x", True, 1, "NA"),
        "one": Content(1, 0, "row", False),
        "size": Content(20, 0, "-", False, 20, "-"),
        "tags": Content(20, 0, "['a', 'b']", True, lists=11),
        "few": Content(20, 0, "['a', 'b']", True, lists=10),
    }
    assert list(warnings(columns, "events")) == [
        "device is 'ios' in all 192 events",
        "plan is empty in all 192 events",
        "price is 1.5 in all 1,000 events",
        f"note is '{'x' * 38}… in all 2 events",
        "brand is a word such as 'NULL' in 20 of 192 events: if that stands for a missing value, set missing: ['NULL']",
        "size is a word such as '-' in 20 of 20 events: if that stands for a missing value, set missing: ['-']",
        "tags is a list in 11 of 20 events: set type: categories",
    ]


def test_vectors_are_there_or_not() -> None:
    vectors = pa.array([[1.0, 2.0], None, [1.0, 2.0]], pa.list_(pa.float32(), 2))
    assert list(warnings({"look": content(vectors)}, "items")) == []
    assert list(warnings({"look": content(vectors[1:2].take(pa.array([0, 0])))}, "items")) == [
        "look is empty in all 2 items"
    ]
