"""How the files of a table are to be read: their format, encoding, dialect, and whether they have a header.

Dialects are guessed by CleverCSV (van den Burg, Nazábal and Sutton, "Wrangling messy CSV files by detecting row and
type patterns", 2019), encodings by charset-normalizer. What they say is held to how many rows can then be read.
"""

from __future__ import annotations

import codecs
import collections
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
_RARE = ("#", ":", "\x1e", "*", "=")
_LONG = ("::", "||", "|~|")
_ENCODINGS = (
    *("cp1251", "cp1253", "cp1255", "cp1256", "cp874", "cp866", "koi8_r"),
    *("shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"),
)
"""Of scripts that are not Latin."""
_WESTERN = "cp1252"
_OF_THE_WEST = (
    *("àâæçéèêëîïôœùûüÿ", "äöüßé", "áéíóúñüç", "áâãàçéêíóôõú", "ëïéèöüáóíç", "åäöéü", "åæøéòôöä", "àèéìòùîó"),
    "áðéíóúýþæö",
)
_OF_THE_EAST = ("ąćęłńóśźż", "áčďéěíňóřšťúůýžäľĺô", "áéíóöőúüű", "ăâîşţșț", "čćđšž")
_ALPHABETS = {
    _WESTERN: _OF_THE_WEST,
    **dict.fromkeys(("cp1250", "iso8859_2"), _OF_THE_EAST),
    "cp1254": ("çğıöşüâîûi̇",),
    **dict.fromkeys(("cp850", "mac_roman"), _OF_THE_WEST),
}
"""The letters beside A to Z of languages in Latin script, by encoding; the first that fits is taken."""
_IN_WORDS = re.compile(r"[^\W\d_]+(?:[^\x00-\x7f’][^\W\d_]+)*")
"""Letters, and what else stands between them; a mark beside a word may be any."""
_ONE_LANGUAGE = 0.98
_FEW_ROWS = 0.01
_LINES = 200
_DATUM = re.compile(r"\s*([+-]?\d+([.,]\d+)*|\d{4}-\d\d-\d\d.*|\d+[/.]\d+[/.]\d+.*)\s*$")
"""A number or a time, neither of which is a name."""
_PAIRS = (re.compile(r"\s*:?\w+="), re.compile(r"\d+:\d+(\.\d+)?$"))
_COMMENT = ("#", "%", "@", "//", "--")
"""What lines begin with that are no rows."""
_OF_SERVERS = re.compile(r"\S+ \S+ \S+ \[\d+/\w+/\d{4}:")
_OBJECT = re.compile(r"\{\s*(\"|$)")
_BLOCK = re.compile(r"\d+:\s*")
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
    named: bool = True
    """Whether a header names them."""
    warnings: list[str] = field(default_factory=list)
    """What a person had better look at."""

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
    look = Look(_with_rows_first(reading.find_files(pattern, kind, what)))
    if kind != told:
        look.say("format", kind, "its name doesn't say so, what it holds does")
    if kind in ("csv", "jsonl"):
        _find_encoding(look)
    if kind == "csv":
        _find_dialect(look)
    if not look.columns:
        look.columns = nested.leaves(reading.column_names(look.files[0], look.how))
    if not look.columns:
        raise InputError(f"{what}: {look.files[0].path} has no columns")
    return look


def _with_rows_first(files: list[reading.TableFile]) -> list[reading.TableFile]:
    """Returns files so that the first is not one with a header alone."""
    largest = max(file.size for file in files)
    return sorted(files, key=lambda file: file.size < largest / 20)


def _format(file: reading.TableFile) -> Any:
    if file.path.lower().endswith((".tfrecord", ".tfrecords", ".tfrecord.gz")):
        return "tfrecord"
    head = reading.head(file, _HEAD)
    if head.startswith(b"PAR1"):
        return "parquet"
    text = head.decode(reading.encoding_of_mark(head) or "utf-8", "replace")
    first = text.lstrip("\ufeff \t\r\n").split("\n", 1)[0]
    if first.startswith("["):
        try:
            begins_with_object = json.loads(first.rstrip().rstrip(",").removesuffix("]") + "]")
        except ValueError:
            begins_with_object = None
        if first.strip() == "[" or (begins_with_object and isinstance(begins_with_object[0], dict)):
            return "jsonl"  # reading it will say what is wrong
        if begins_with_object:
            raise InputError(
                f"{file.path}: its lines are JSON arrays, such as {first[:60]!r}: write objects with keys, or take the "
                "brackets off"
            )
    if first.startswith("{"):
        try:
            return "jsonl" if isinstance(nested.parsed(first.rstrip(", \r")), dict) else "csv"
        except ValueError:
            return "jsonl" if _OBJECT.match(first) else "csv"
    return "csv"


def _find_encoding(look: Look) -> None:
    raw = reading.head(look.files[0], _DECODED)
    if encoding := reading.encoding_of_mark(raw):
        look.say("encoding", encoding, f"it begins with the mark of {encoding.upper()}")
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
    whole = raw if len(raw) < _DECODED else raw[: raw.rfind(b"\n")]
    lines = [line for line in whole.split(b"\n") if line.strip()]
    telling = [line for line in lines if not line.isascii()] or [raw]
    others = [line for line in telling if not _is_utf8(line)]
    if len(others) <= _FEW_ROWS * len(lines) and 2 * len(others) < len(telling):
        such = others[0].decode(_WESTERN, "replace").strip()
        look.warnings.append(
            f"{len(others):,} of {len(lines):,} rows looked at are not UTF-8 as the others are, such as {such[:60]!r}: "
            "they are rejected"
        )
        return
    encoding, is_sure = _encoding(b"\n".join(telling)[:_SNIFFED])
    line = telling[0].decode(encoding, "replace").strip()
    look.say("encoding", codecs.lookup(encoding).name, f"it is not UTF-8; so read, a line of it is {line[:60]!r}")
    if not is_sure:
        look.warnings.append(f"encoding {encoding} is a guess: by it a line is {line[:60]!r}; is that right?")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _encoding(telling: bytes) -> tuple[str, bool]:
    """Returns the encoding of lines that are not ASCII, and whether that is sure."""
    for encoding in _ALPHABETS:
        if _in_one_language(telling, encoding) >= _ONE_LANGUAGE:
            return encoding, encoding == _WESTERN
    runs = re.findall(rb"[\x80-\xff]+", telling)
    if sum(map(len, runs)) < 1.3 * len(runs):  # in Latin script they stand alone
        return max(_ALPHABETS, key=lambda encoding: _in_one_language(telling, encoding)), False
    from charset_normalizer import from_bytes

    best = from_bytes(telling, cp_isolation=list(_ENCODINGS)).best()
    return (best.encoding, True) if best is not None else (_WESTERN, False)


def _in_one_language(telling: bytes, encoding: str) -> float:
    """Returns which share of the letters beside A to Z, and of marks within words, one language has."""
    words = "".join(_IN_WORDS.findall(telling.decode(encoding, "replace"))).lower()
    counts = collections.Counter(sign for sign in words if not sign.isascii())
    of_languages = (sum(counts[letter] for letter in letters) for letters in _ALPHABETS[encoding])
    return max(of_languages) / sum(counts.values()) if counts else 1.0


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
    first = text.split("\n", 1)[0]
    if first.startswith("sep="):
        raise InputError(f"{file.path} begins with {first[:60]!r}: take what stands above the header out of the file")
    if block := next((line for line in text[:_SNIFFED].split("\n") if _BLOCK.fullmatch(line)), None):
        raise InputError(
            f"{file.path}: lines such as {block!r} stand above the rows that they are of: write that into each row"
        )
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
    rows = _rows(file, text, look.how)
    if not rows:
        raise InputError(f"{file.path} has no rows")
    _check_lengths(file, rows, delimiter)
    usual = collections.Counter(map(len, rows)).most_common(1)[0][0]
    if (len(rows[0]) == 1 and usual > 1) or (len(rows[0]) != usual and first.startswith(_COMMENT)):
        raise InputError(f"{file.path} begins with {first[:60]!r}: take what stands above the header out of the file")
    _check_first(file, rows, first)
    if _blanks(rows):
        look.say("trim", True, "blanks stand around values")
        rows = [[value.strip() for value in row] for row in _rows(file, text, look.how)]
    if not _has_header(rows, text, look.how):
        look.columns, look.named = [f"column_{number + 1}" for number in range(len(rows[0]))], False
        look.say("names", look.columns, f"the first row looks like data: {', '.join(map(repr, rows[0][:4]))}")
    elif rows[1:] and all(len(row) == len(rows[0]) + 1 for row in rows[1:]):
        ended = not any(row[-1] for row in rows[1:])
        header = [name or f"column_{number + 1}" for number, name in enumerate(rows[0])]
        look.columns = [*header, "end"] if ended else ["index", *header]
        why = "a delimiter ends each row, but not the header" if ended else "the header lacks the first column"
        look.say("names", look.columns, why)


def _check_lengths(file: reading.TableFile, rows: Sequence[Sequence[str]], delimiter: str) -> None:
    """Raises an InputError where rows have now as many columns, now others, as those with a user and a list do."""
    lengths = collections.Counter(map(len, rows))
    if 2 * max(lengths.values()) < len(rows):
        raise InputError(
            f"{file.path}: its rows have {min(lengths)} to {max(lengths)} columns with {delimiter!r} between them: if "
            f"each holds a list, put something else before it, such as a tab (sed 's/{delimiter}/\\t/')"
        )


def _check_first(file: reading.TableFile, rows: Sequence[Sequence[str]], first: str) -> None:
    """Raises an InputError where the first row stands above the header, or has keys with values."""
    from pipeline.data.init.roles import is_known

    if len(rows) > 1 and sum(map(is_known, rows[0])) < 2 <= sum(map(is_known, rows[1])):
        raise InputError(f"{file.path} begins with {first[:60]!r}: take what stands above the header out of the file")
    if any(all(map(pair.match, row[1:] or [""])) for pair in _PAIRS for row in rows[:1]):
        raise InputError(
            f"{file.path}: its rows hold keys with values, such as {first[:60]!r}: write JSON lines, or a header with "
            "the keys and the values alone below it"
        )
    if _OF_SERVERS.match(first):
        raise InputError(f"{file.path} is a web server's log ({first[:60]!r}): write its requests as CSV or JSON lines")
    columns = {row[place]: _column(rows, place) for row in rows[:1] for place in range(len(row))}
    torn = [name for name, values in columns.items() if values and all(map(_is_torn, values))]
    if len(torn) > 1:
        raise InputError(
            f"{file.path}: its rows are such as {first[:60]!r}, of which the delimiter tears apart what brackets hold "
            f"together ({torn[0]!r}): take the brackets off, or write JSON lines"
        )


def _column(rows: Sequence[Sequence[str]], place: int) -> list[str]:
    return [row[place] for row in rows[1:] or rows if len(row) > place]


def _is_torn(value: str) -> bool:
    """Whether a value has a bracket without the other one of the pair."""
    return any(value.count(opening) != value.count(closing) for opening, closing in ("()", "[]", "{}"))


def _blanks(rows: Sequence[Sequence[str]]) -> bool:
    """Whether most of the values behind the first of a row have blanks around them."""
    values = [value for row in rows for value in row[1:]]
    return sum(value != value.strip() for value in values) > len(values) / 2


def _dialect(text: str) -> dict[str, Any]:
    sample = text if len(text) <= _SNIFFED else text[: max(text.rfind("\n", 0, _SNIFFED), text.find("\n"))]
    lines = [line for line in sample.split("\n")[:_LINES] if line.strip()]
    for mark in _LONG:
        counts = {line.count(mark) for line in lines}
        if len(counts) == 1 and counts != {0} and not _splits_better(lines, mark):
            return {"delimiter": mark, "quote": '"', "escape": None}
    from clevercsv import Sniffer
    from clevercsv.exceptions import Error, NoDetectionResult

    sample = "\n".join(lines) + "\n"
    try:
        found = Sniffer().sniff(sample, delimiters=_DELIMITERS)
    except (NoDetectionResult, Error, RecursionError):  # the last of what looks like JSON
        found = None
    delimiter = found.delimiter if found is not None and found.delimiter else ","
    if delimiter not in lines[0]:  # it may be of lists in the rows
        delimiter = next((mark for mark in (*_DELIMITERS, *_RARE) if _is_steady(lines, mark)), delimiter)
    if delimiter == " " and _is_steady(lines, "\t"):  # words have blanks between them, and no tabs
        delimiter = "\t"
    quote = found.quotechar if found is not None and found.quotechar in ('"', "'") else '"'
    escape = found.escapechar if found is not None and found.escapechar == "\\" else None
    return {"delimiter": delimiter, "quote": quote, "escape": escape}


def _is_steady(lines: Sequence[str], delimiter: str) -> bool:
    """Whether all lines, the header too, have as many columns, and more than one."""
    return delimiter in lines[0] and len({len(row) for row in csv.reader(lines, delimiter=delimiter)}) == 1


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


def _rows(file: reading.TableFile, text: str, how: TableSettings) -> list[list[str]]:
    """Returns the first rows of CSV."""
    found: list[list[str]] = []
    try:
        rest = dialects.prepared("\n".join(text.split("\n")[: _LINES * 2]).encode(), how).decode()
    except InputError as error:
        raise InputError(f"{file.path}: {error}") from None
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
    if any(_DATUM.match(cell) for cell in first):
        return False
    if any(is_known(cell) for cell in first):
        return True
    if len(set(first)) < len(first) or not others:
        return not others
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
