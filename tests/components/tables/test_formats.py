"""What settings may say of files."""

import pydantic
import pytest

from components.tables.formats import Delimiter, Format


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " "])
def test_delimiters(delimiter):
    assert pydantic.TypeAdapter(Delimiter).validate_python(delimiter) == delimiter


@pytest.mark.parametrize("delimiter", ["", "::", "é", '"', "\n", "\r"])
def test_what_is_no_delimiter(delimiter):
    with pytest.raises(pydantic.ValidationError, match="one ASCII character and no quote"):
        pydantic.TypeAdapter(Delimiter).validate_python(delimiter)


def test_formats():
    for name in ("auto", "csv", "jsonl", "parquet", "tfrecord"):
        assert pydantic.TypeAdapter(Format).validate_python(name) == name
    with pytest.raises(pydantic.ValidationError, match="'auto', 'csv'"):
        pydantic.TypeAdapter(Format).validate_python("xlsx")
