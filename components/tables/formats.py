"""What the settings say of a table's files; apart from the reading, so that a config is read without Beam."""

import codecs
import datetime
import zoneinfo
from typing import Annotated, Literal, Optional

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from components.settings import Settings

Format = Literal["auto", "csv", "jsonl", "parquet", "tfrecord"]


def _check_delimiter(delimiter: str) -> str:
    if not delimiter or any(mark in delimiter for mark in '"\r\n'):
        raise ValueError(f"the delimiter must be one character or more, no quote and no line break, not {delimiter!r}")
    return delimiter


def _check_mark(mark: str) -> str:
    if len(mark.encode()) != 1 or mark in "\r\n":
        raise ValueError(f"it must be one ASCII character and no line break, not {mark!r}")
    return mark


def _check_encoding(encoding: str) -> str:
    try:
        "".encode(encoding)
        return codecs.lookup(encoding).name
    except LookupError:
        raise ValueError(
            f"{encoding!r} is no encoding that Python knows, such as utf-8, cp1252, latin-1, utf-16, gb18030, shift_jis"
        ) from None


def _check_form(form: str) -> str:
    has = {letter for letter in "YymbBdjcx" if f"%{letter}" in form.replace("%%", "")}
    if has & set("cx"):
        raise ValueError(f"{form!r}: write out %c and %x")
    if not has & set("Yy") or not ("j" in has or ("d" in has and has & set("mbB"))):
        raise ValueError(f"{form!r} tells no day: it needs %Y, %m and %d, or their like")
    try:
        datetime.datetime.strptime("", form)
    except ValueError as error:
        if "does not match" not in str(error):
            raise ValueError(f"{form!r} is no form that Python's strptime knows: {error}") from None
    return form


def _check_zone(zone: str) -> str:
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {zone!r}; write it such as Europe/Berlin, or UTC") from None
    return zone


Delimiter = Annotated[
    str,
    AfterValidator(_check_delimiter),
    WithJsonSchema({"type": "string", "pattern": r'^[^"\r\n]+$'}),
]
"""What may stand between the columns of a CSV file."""

Mark = Annotated[
    str,
    AfterValidator(_check_mark),
    WithJsonSchema({"type": "string", "pattern": r"^[^\r\n\u0080-\uffff]$"}),
]
"""A character that has a meaning in a CSV file."""

Encoding = Annotated[str, AfterValidator(_check_encoding), WithJsonSchema({"type": "string"})]
"""The name of an encoding, as Python spells it."""

TimeForm = Annotated[str, AfterValidator(_check_form)]
"""The form of times in text, as `datetime.strptime` takes it; it tells the day at least. %Z are letters of a zone."""

TimeZone = Annotated[str, AfterValidator(_check_zone)]
"""The name of a time zone, as in Europe/Berlin."""


class TableSettings(Settings):
    """How the files of a table are read, whatever they hold.

    A column may be named by a path to what lies deeper: `style.color` is the value at `color` in the objects at
    `style`, `genres.name` the list of the names in the lists of objects at `genres`. The folders of a path such as
    `dt=2020-09-14/part-0.parquet` are columns too, here `dt`.
    """

    format: Format = "auto"
    """The files' format; auto goes by their suffixes."""
    delimiter: Delimiter = ","
    """What stands between the columns of a CSV file, such as "\\t" or "::"."""
    names: Optional[tuple[Annotated[str, Field(min_length=1)], ...]] = Field(default=None, min_length=1)
    """The columns of a CSV file without a header, in their order; or of one whose header lacks the first or the last of
    them, such as that of an index or an empty one where a delimiter ends each row."""
    quote: Optional[Mark] = '"'
    """What stands around a value of a CSV file that holds a delimiter or a line break, and twice inside of it for once.
    With null quotes are characters like others."""
    escape: Optional[Mark] = None
    """What stands in a CSV file before a quote, a delimiter or a line break that is meant as such, "\\\\" where Spark,
    MySQL or PostgreSQL wrote the file; a lone \\\\N is then a missing value."""
    encoding: Encoding = "utf-8"
    """How the characters of CSV and JSON files are stored, such as cp1252, latin-1 or utf-16."""
    missing: tuple[str, ...] = ()
    """Words that stand for a missing value in columns of text, such as ["NA", "NULL", "nan"], beside no text at all."""
    trim: bool = False
    """Whether blanks around text, and around the names in a CSV file's header, are taken off."""
    decimal: Literal[".", ","] = "."
    """What stands before the fraction of a number in text."""
    thousands: Optional[Literal[",", ".", "'", " ", "_"]] = None
    """What stands between groups of three digits of a number in text, such as the comma in 1,299.00."""
    units: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """What may stand before or after a number in text, such as ["$", "USD", "%"]."""

    @model_validator(mode="after")
    def _can_be_told_apart(self) -> "TableSettings":
        marks = {"delimiter": self.delimiter, "quote": self.quote, "escape": self.escape}
        given = [mark for mark in marks.values() if mark is not None]
        if len(set(given)) < len(given):
            raise ValueError(f"delimiter, quote and escape must differ: {', '.join(map(repr, given))}")
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}")
        if self.names is not None and len(set(self.names)) < len(self.names):
            doubled = sorted({name for name in self.names if self.names.count(name) > 1})
            raise ValueError(f"names has {', '.join(map(repr, doubled))} more than once")
        return self
