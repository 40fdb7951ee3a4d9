"""Side features in the settings."""

import pydantic
import pytest

from components.tables.features import RESERVED_NAMES, Feature, Features, ItemFeature, ItemFeatures, column_of

CHECKED = pydantic.TypeAdapter(Features)
OF_ITEMS = pydantic.TypeAdapter(ItemFeatures)


def test_a_feature_is_read_from_its_column_or_the_one_of_its_name():
    assert column_of("year", Feature(type="number")) == "year"
    assert column_of("year", Feature(type="number", column="Year published")) == "Year published"


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"type": "flag"}, "'category', 'categories', 'number' or 'text'"),
        ({"type": "category", "max": 1}, "min and max are for features of type number, not category"),
        ({"type": "number", "min": 2, "max": 1}, "min 2 is above max 1"),
        ({"type": "number", "min": float("inf")}, "finite number"),
        ({"type": "text", "values": ["a"]}, "values is for features of type category, not text"),
        ({"type": "category", "values": []}, "at least 1 item"),
        ({"type": "categories", "separator": ""}, "at least 1 character"),
        ({"type": "number", "colum": "x"}, "Extra inputs"),
    ],
)
def test_what_does_not_fit_the_type(feature, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        Feature.model_validate(feature)


@pytest.mark.parametrize("name", ["2nd", "a-b", "", "é", *sorted(RESERVED_NAMES)])
def test_names_that_can_not_be_had(name):
    with pytest.raises(pydantic.ValidationError, match=r"must be a letter followed by|is reserved"):
        CHECKED.validate_python({name: {"type": "text"}})


def test_an_encoder_is_for_texts_of_items():
    assert ItemFeature(type="text", encoder="wordllama").kind == "vector"
    assert ItemFeature(type="text").kind == "text"
    with pytest.raises(pydantic.ValidationError, match="encoder is for features of type text, not category"):
        ItemFeature(type="category", encoder="wordllama")
    with pytest.raises(pydantic.ValidationError, match="'wordllama'"):
        ItemFeature(type="text", encoder="bert")
    with pytest.raises(pydantic.ValidationError, match="Extra inputs"):
        CHECKED.validate_python({"note": {"type": "text", "encoder": "wordllama"}})
    with pytest.raises(pydantic.ValidationError, match="is reserved"):
        OF_ITEMS.validate_python({"display": {"type": "text", "encoder": "wordllama"}})


def test_good_names():
    assert list(CHECKED.validate_python({"a": {"type": "text"}, "B_2": {"type": "number"}})) == ["a", "B_2"]


def test_a_vector_is_for_items():
    assert ItemFeature(type="vector").kind == "embedding"
    assert ItemFeature(type="vector", path="v.npy", ids="ids.txt", dim=3).dim == 3
    with pytest.raises(pydantic.ValidationError, match="dim is for features of type vector, not text"):
        ItemFeature(type="text", dim=3)
    with pytest.raises(pydantic.ValidationError, match="path and ids belong together"):
        ItemFeature(type="vector", path="v.npy")
    with pytest.raises(pydantic.ValidationError, match="encoder is for features of type text, not vector"):
        ItemFeature(type="vector", encoder="wordllama")
    with pytest.raises(pydantic.ValidationError, match="'category', 'categories', 'number' or 'text'"):
        CHECKED.validate_python({"look": {"type": "vector"}})
