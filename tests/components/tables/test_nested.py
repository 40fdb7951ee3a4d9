"""What lies deeper in a column."""

import pyarrow as pa
import pytest

from components.errors import InputError
from components.tables import nested


def test_a_column_begins_with_the_longest_name_that_there_is():
    assert nested.split("a.b.c", ["a", "a.b"]) == ("a.b", ["c"])
    assert nested.split("a", ["a"]) == ("a", [])
    assert nested.split("x.y", ["a"]) == ("x.y", [])


def test_paths_of_objects_and_of_lists_of_them():
    row = {"style": {"color": "red", "size": {"eu": 40}}, "genres": [{"id": 1}, {"name": "Art"}], "tags": ["x"]}
    names = [path for name, value in row.items() for path in nested.names_below(value, name)]
    assert names == [
        "style",
        "style.color",
        "style.size",
        "style.size.eu",
        "genres",
        "genres.id",
        "genres.name",
        "tags",
    ]
    kind = pa.struct([("color", pa.string()), ("sizes", pa.list_(pa.struct([("eu", pa.int64())])))])
    assert list(nested.fields_below(kind, "style")) == ["style", "style.color", "style.sizes", "style.sizes.eu"]


def test_values_at_paths():
    row = {"style": {"color": "red", "shoe.size": "40"}, "genres": [{"name": "Art"}, {"id": 2}, "odd", {"name": "Pop"}]}
    assert nested.value_at(row, ["style", "color"]) == "red"
    assert nested.value_at(row, ["style", "shoe", "size"]) == "40", "a key with a dot"
    assert nested.value_at(row, ["genres", "name"]) == ["Art", "Pop"]
    assert nested.value_at(row, ["style", "weight"]) is None
    assert nested.value_at(row, ["style", "color", "deeper"]) is None


def test_json_is_told_from_python():
    assert nested.parsed('{"a": 1.50, "b": null, "c": true}') == {"a": "1.50", "b": None, "c": True}
    assert nested.parsed("{'a': 1, 'b': None, 'c': True, 'd': (\"it's\",)}") == {
        "a": "1",
        "b": None,
        "c": True,
        "d": ["it's"],
    }
    for text in ("{'a': {1, 2}}", "{a: 1}", "__import__('os')", "[" * 100_000, ""):
        with pytest.raises(ValueError, match="neither JSON nor a Python literal"):
            nested.parsed(text)


def test_texts_that_hold_objects():
    array = pa.array(
        ["[{'id': 16, 'name': 'Animation'}, {'id': 35, 'name': 'Comedy'}]", '[{"name": "Art"}]', "[]", "x", None]
    )
    assert nested.text_values(array, ["name"]) == [["Animation", "Comedy"], ["Art"], [], None, None]


def test_what_is_in_texts_is_told_by_its_paths():
    array = pa.array(["{'a': {'b': 1.5, 'c': ['x', 'y']}}", '{"a": {"b": 2}, "d": null}', "no object", None])
    found = nested.opened(array, "top", 3)
    assert {path: values.to_pylist() for path, values in found.items()} == {
        "top.a.b": ["1.5", "2", None, None],
        "top.a.c": [["x", "y"], None, None, None],
        "top.d": [None, None, None, None],
    }
    assert nested.opened(array, "top", 2) == {}, "there are three"
    assert nested.opened(pa.array(["{}", "[]"]), "top", 3) == {}


def test_fields_of_structs_lists_and_maps():
    styles = pa.array([{"color": "red"}, None, {"color": None}])
    assert nested.field_at(styles, ["color"], "style.color").to_pylist() == ["red", None, None]
    genres = pa.array([[{"name": "Art"}, {"name": "Pop"}], [], None])
    assert nested.field_at(genres, ["name"], "genres.name").to_pylist() == [["Art", "Pop"], [], []]
    tags = pa.array([[("size", "7 oz")], [], None], pa.map_(pa.string(), pa.string()))
    assert nested.field_at(tags, ["size"], "tags.size").to_pylist() == ["7 oz", None, None]
    with pytest.raises(InputError, match=r"'style.size' is not there: size is no field of a column of type struct"):
        nested.field_at(styles, ["size"], "style.size")


def test_what_can_not_stand_in_a_column():
    assert nested.reason_against({"a": 1}, "x") == "x is a JSON object: name one of its keys, as x.key"
    assert (
        nested.reason_against(["p", {"a": 1}], "x") == "x is a list of JSON objects: name one of their keys, as x.key"
    )
    assert nested.reason_against([["p"]], "x") == "x is a list of lists, where one value or one list is needed"
    assert nested.reason_against(["p"], "x") == nested.reason_against("p", "x") == ""


def test_json_as_arrow():
    assert nested.json_array(["a", None, True, "4.50"]).to_pylist() == ["a", None, "true", "4.50"]
    assert nested.json_array([["a", None], "b", None, []]).to_pylist() == [["a", None], ["b"], None, []]
