"""What settings may say of files."""

import pydantic
import pytest

from components.tables.formats import Delimiter, Encoding, Format, Mark, TableSettings, TimeForm, TimeZone


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " ", "::", "é", "\x01", "||"])
def test_delimiters(delimiter):
    assert pydantic.TypeAdapter(Delimiter).validate_python(delimiter) == delimiter


@pytest.mark.parametrize("delimiter", ["", '"', "\n", "\r", ':"'])
def test_what_is_no_delimiter(delimiter):
    with pytest.raises(pydantic.ValidationError, match="one character or more, no quote and no line break"):
        pydantic.TypeAdapter(Delimiter).validate_python(delimiter)


@pytest.mark.parametrize("mark", ["", "é", "\n", "''"])
def test_what_is_no_quote_and_no_escape(mark):
    with pytest.raises(pydantic.ValidationError, match="one ASCII character"):
        pydantic.TypeAdapter(Mark).validate_python(mark)


def test_formats():
    for name in ("auto", "csv", "jsonl", "parquet", "tfrecord"):
        assert pydantic.TypeAdapter(Format).validate_python(name) == name
    with pytest.raises(pydantic.ValidationError, match="'auto', 'csv'"):
        pydantic.TypeAdapter(Format).validate_python("xlsx")


def test_encodings_have_one_name_each():
    for name, known in (("latin-1", "iso8859-1"), ("UTF8", "utf-8"), ("cp1252", "cp1252"), ("utf-16", "utf-16")):
        assert pydantic.TypeAdapter(Encoding).validate_python(name) == known
    for name in ("klingon", "base64"):  # base64 is no encoding of text
        with pytest.raises(pydantic.ValidationError, match=f"'{name}' is no encoding that Python knows, such as utf-8"):
            pydantic.TypeAdapter(Encoding).validate_python(name)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("%d.%m.%Y %H:%M", None),
        ("%Y-%j", None),
        ("%a %b %d %H:%M:%S %z %Y", None),
        ("%H:%M", "tells no day"),
        ("%d.%m. %H:%M", "tells no day"),  # of the year 1900
        ("%Y-%m", "tells no day"),
        ("%x", "write out %c and %x"),
        ("%Y-%m-%d %H:%M %Z", None),
        ("%H:%M %Z", "tells no day"),
        ("%Y-%m-%d %Q", "no form that Python's strptime knows"),
        ("%%Y-%m-%d", "tells no day"),
    ],
)
def test_forms_of_times_tell_the_day(form, message):
    if message is None:
        assert pydantic.TypeAdapter(TimeForm).validate_python(form) == form
    else:
        with pytest.raises(pydantic.ValidationError, match=message):
            pydantic.TypeAdapter(TimeForm).validate_python(form)


def test_time_zones():
    assert pydantic.TypeAdapter(TimeZone).validate_python("Europe/Berlin") == "Europe/Berlin"
    for zone in ("Berlin", "../etc/passwd", ""):
        with pytest.raises(pydantic.ValidationError, match="there is no time zone"):
            pydantic.TypeAdapter(TimeZone).validate_python(zone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quote": ","}, "must differ"),
        ({"escape": '"'}, "must differ"),
        ({"decimal": ",", "thousands": ","}, "decimal and thousands are both ','"),
        ({"names": ["a", "b", "a"]}, "names has 'a' more than once"),
        ({"names": []}, "at least 1 item"),
    ],
)
def test_what_can_not_be_told_apart(options, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        TableSettings(**options)
