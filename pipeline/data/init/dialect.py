"""How the files of a table are to be read: their format, encoding, dialect, and whether they have a header.

Dialects are guessed by CleverCSV (van den Burg, Nazábal and Sutton, "Wrangling messy CSV files by detecting row and
type patterns", 2019), encodings by charset-normalizer. What they say is held to how many rows can then be read.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.errors import InputError
from components.tables import dialects, nested, reading
from components.tables.formats import TableSettings

_HEAD = 1 << 20
_SNIFFED = 1 << 16
_DECODED = 16 << 20
_DELIMITERS = (",", ";", "\t", "|", "\x01", " ", "~", "^")
_LONG = ("::", "||", "|~|")
_ENCODINGS = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "koi8_r", "shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"),
)
_WESTERN = "cp1252"
"""Is taken where another says the same."""
_LINES = 200
_DATUM = re.compile(r"\s*([+-]?\d+([.,]\d+)*|\d{4}-\d\d-\d\d.*|\d+[/.]\d+[/.]\d+.*)\s*$")
"""A number or a time, neither of which is a name."""
_RECBOLE = re.compile(r".+:(token|float|token_seq|float_seq)$")


@dataclass
class Look:
    """What the files of a table seem to be."""

    files: list[reading.TableFile]
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of TableSettings that are not as by default."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why, by setting."""
    columns: list[str] = field(default_factory=list)
    """Columns; without a header they are called column_1 and so on."""

    @property
    def how(self) -> TableSettings:
        """How to read them."""
        return TableSettings(**self.settings)

    def say(self, setting: str, value: Any, reason: str) -> None:
        """Sets a setting and says why."""
        self.settings[setting] = value
        self.reasons[setting] = reason


def look_at(pattern: str, what: str) -> Look:
    """Looks at the files of a table.

    Args:
        pattern: A path, a folder or a glob.
        what: What they hold, for messages.

    Raises:
        InputError: They can't be found, or nothing can be made of them.
    """
    files = reading.find_files(pattern, "csv", what)
    kind = _format(files[0])
    try:
        files = reading.find_files(pattern, "auto", what)
        told = files[0].format
    except InputError:  # the name doesn't tell
        told = ""
    look = Look(reading.find_files(pattern, kind, what))
    if kind != told:
        look.say("format", kind, "its name doesn't say so, what it holds does")
    if kind in ("csv", "jsonl"):
        _find_encoding(look)
    if kind == "csv":
        _find_dialect(look)
    if not look.columns:
        look.columns = _leaves(reading.column_names(look.files[0], look.how))
    if not look.columns:
        raise InputError(f"{what}: {look.files[0].path} has no columns")
    return look


def _format(file: reading.TableFile) -> Any:
    if file.path.lower().endswith((".tfrecord", ".tfrecords", ".tfrecord.gz")):
        return "tfrecord"
    head = reading.head(file, _HEAD)
    if head.startswith(b"PAR1"):
        return "parquet"
    first = head.lstrip(b"\xef\xbb\xbf \t\r\n").split(b"\n", 1)[0].decode("utf-8", "replace")
    if first.startswith("["):
        try:
            begins_with_object = json.loads(first.rstrip().rstrip(",").removesuffix("]") + "]")
        except ValueError:
            begins_with_object = None
        if first.strip() == "[" or (begins_with_object and isinstance(begins_with_object[0], dict)):
            return "jsonl"  # reading it will say what is wrong
    if first.startswith("{"):
        try:
            return "jsonl" if isinstance(nested.parsed(first), dict) else "csv"
        except ValueError:
            return "jsonl" if first.strip() == "{" else "csv"
    return "csv"


def _find_encoding(look: Look) -> None:
    raw = reading.head(look.files[0], _DECODED)
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        look.say("encoding", "utf-16", "it begins with the mark of UTF-16")
        return
    few = raw[:_SNIFFED]
    even, odd = few[::2].count(0), few[1::2].count(0)
    if max(even, odd) > len(few) // 8:
        look.say("encoding", "utf-16-le" if odd > even else "utf-16-be", "every other byte is zero")
        return
    try:
        codecs.getincrementaldecoder("utf-8")().decode(raw)
        return
    except UnicodeDecodeError:
        pass
    from charset_normalizer import from_bytes

    telling = b"\n".join(line for line in raw.split(b"\n") if not line.isascii())[:_SNIFFED]
    best = from_bytes(telling, cp_isolation=list(_ENCODINGS)).best()
    encoding = best.encoding if best is not None else _WESTERN
    if telling.decode(encoding, "replace") == telling.decode(_WESTERN, "replace"):
        encoding = _WESTERN
    line = telling.split(b"\n", 1)[0].decode(encoding, "replace").strip()
    look.say("encoding", codecs.lookup(encoding).name, f"it is not UTF-8; so read, a line of it is {line[:60]!r}")


def _find_dialect(look: Look) -> None:
    file = look.files[0]
    encoding = look.settings.get("encoding", "utf-8")
    raw = reading.head(file, _HEAD)
    text = codecs.getincrementaldecoder(encoding)("replace").decode(raw).removeprefix("\ufeff")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise InputError(f"{file.path} has no rows")
    if len(raw) == _HEAD:
        text = text[: text.rfind("\n") + 1]
    if not text:
        raise InputError(f"{file.path}: its first line has no end within {_HEAD:,} bytes: is it CSV?")
    if "\0" in text:
        raise InputError(f"{file.path} holds zero bytes: is it CSV?")
    if text.startswith(("sep=", "#")):
        line = text.split("\n", 1)[0]
        raise InputError(f"{file.path} begins with {line[:60]!r}: take what stands above the header out of the file")
    found = _dialect(text)
    settings = min(_variants(found, text), key=lambda each: _unreadable(file, {**look.settings, **each}))
    delimiter, quote, escape = settings["delimiter"], settings["quote"], settings["escape"]
    if delimiter != ",":
        look.say("delimiter", delimiter, "it stands equally often in the lines")
    if quote != '"':
        why = "values stand in it" if quote else "quotes are characters like others: read otherwise, rows are lost"
        look.say("quote", quote, why)
    if escape is not None:
        look.say("escape", escape, "backslashes stand before quotes")
    rows = _rows(text, look.how)
    if not rows:
        raise InputError(f"{file.path} has no rows")
    if _has_header(rows, text, look.how):
        return
    look.columns = [f"column_{number + 1}" for number in range(len(rows[0]))]
    look.say("names", look.columns, f"the first row looks like data: {', '.join(map(repr, rows[0][:4]))}")


def _dialect(text: str) -> dict[str, Any]:
    lines = [line for line in text[:_SNIFFED].split("\n")[:_LINES] if line.strip()]
    for mark in _LONG:
        counts = {line.count(mark) for line in lines}
        if len(counts) == 1 and counts != {0} and not _splits_better(lines, mark):
            return {"delimiter": mark, "quote": '"', "escape": None}
    from clevercsv import Sniffer
    from clevercsv.exceptions import Error, NoDetectionResult

    sample = "\n".join(lines) + "\n"
    try:
        found = Sniffer().sniff(sample, delimiters=_DELIMITERS)
    except (NoDetectionResult, Error):
        found = None
    delimiter = found.delimiter if found is not None and found.delimiter else ","
    quote = found.quotechar if found is not None and found.quotechar in ('"', "'") else '"'
    escape = found.escapechar if found is not None and found.escapechar == "\\" else None
    return {"delimiter": delimiter, "quote": quote, "escape": escape}


def _splits_better(lines: Sequence[str], mark: str) -> bool:
    """Whether the first character of a long mark alone is the delimiter, with empty values or blanks behind it."""
    counts = {line.count(mark[0]) for line in lines}
    return len(counts) == 1 and counts != {lines[0].count(mark) * len(mark)}


def _variants(found: dict[str, Any], text: str) -> Iterator[dict[str, Any]]:
    """Yields dialects to try, the likeliest first."""
    yield found
    if found["quote"] == "'":
        yield {**found, "quote": '"'}
    if "\\" in text:
        yield {**found, "escape": None if found["escape"] else "\\"}
    if found["quote"] in text:
        yield {**found, "quote": None}


def _unreadable(file: reading.TableFile, settings: dict[str, Any]) -> int:
    """Counts the rows at the beginning of a file that can't be read so."""
    how = TableSettings(**settings)
    try:
        [name, *_] = reading.column_names(file, how) or [""]
        block = next(iter(reading.read_blocks(file, [name], how, place=reading.Place(size=_HEAD))), None)
    except (InputError, ValueError):
        return _HEAD
    return sum(bad.lines for bad in block.malformed) if block is not None else 0


def _rows(text: str, how: TableSettings) -> list[list[str]]:
    """Returns the first rows of CSV."""
    found: list[list[str]] = []
    rest = dialects.prepared("\n".join(text.split("\n")[: _LINES * 2]).encode(), how).decode()
    for row in csv.reader(
        rest.splitlines(keepends=True),
        delimiter=dialects.mark_of(how),
        quotechar=how.quote,
        quoting=csv.QUOTE_MINIMAL if how.quote else csv.QUOTE_NONE,
        escapechar=how.escape,
    ):
        if row:
            found.append(row)
        if len(found) == _LINES:
            break
    return found


def _has_header(rows: Sequence[Sequence[str]], text: str, how: TableSettings) -> bool:
    from pipeline.data.init.roles import is_known

    first, others = rows[0], rows[1:]
    if all(_RECBOLE.match(cell) for cell in first):
        return True
    if len(set(first)) < len(first) or any(_DATUM.match(cell) for cell in first):
        return False
    if any(is_known(cell) for cell in first) or not others:
        return True
    for place, cell in enumerate(first):
        column = [row[place] for row in others if len(row) > place]
        if cell in column:
            return False
        if column and all(_DATUM.match(value) for value in column if value):
            return True  # a word above numbers
    return _differs(first, others)


def _differs(first: Sequence[str], others: Sequence[Sequence[str]]) -> bool:
    """Whether the first row looks other than the rest: letters only where others have digits, or another length."""
    for place, cell in enumerate(first):
        column = [row[place] for row in others if len(row) > place and row[place]]
        if not column:
            continue
        digits = sum(any(sign.isdigit() for sign in value) for value in column)
        if digits > 0.9 * len(column) and not any(sign.isdigit() for sign in cell):
            return True
        if digits > 0.9 * len(column):
            return False
    return True


def _leaves(names: Sequence[str]) -> list[str]:
    """Returns the columns that hold no others by a path."""
    return [name for name in names if not any(other.startswith(f"{name}.") for other in names)]
