"""Dialects of CSV: what must be done to its bytes before Arrow reads them, and what Arrow takes without a word.

Arrow knows delimiters of one byte, and an escape that swallows itself before any character. It also takes a quote at
the beginning of a value for that of a quoted one, whatever follows, so that a stray one makes a value of all rows up to
the next. `faults` finds that out.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np
import pyarrow.csv as pa_csv

from components.errors import InputError
from components.tables.formats import TableSettings

STAND_IN = "\x1f"
"""Stands for a delimiter of more than one byte while Arrow reads."""

_LIMIT = 256 << 20
_PROSE = ", ;"
"""Delimiters that lines of prose may hold as often as a row does."""
_PROSE_LINES = 8
"""So many lines of a value that all look like rows are no prose."""


def mark_of(how: TableSettings) -> str:
    """Returns the one byte that stands between columns while Arrow reads."""
    return how.delimiter if len(how.delimiter.encode()) == 1 else STAND_IN


def parse_options(how: TableSettings, **more: object) -> pa_csv.ParseOptions:
    """Returns what Arrow is told of the dialect."""
    return pa_csv.ParseOptions(
        delimiter=mark_of(how),
        quote_char=how.quote or False,
        escape_char=how.escape or False,
        newlines_in_values=how.quote is not None or how.escape is not None,
        **more,
    )


def prepared(piece: bytes, how: TableSettings) -> bytes:
    """Returns UTF-8 bytes of CSV as Arrow can read them.

    A lone \\N in a file with escapes becomes nothing at all, and an escape before a character that needs none is kept.
    Blanks before a quoted value are taken off where blanks mean nothing, or its quotes would be characters like others.

    Raises:
        InputError: They hold STAND_IN, which is needed.
    """
    mark = mark_of(how)
    if mark == STAND_IN != how.delimiter:
        if STAND_IN.encode() in piece:
            raise InputError(f"the character {STAND_IN!r} can't be in a file whose delimiter is {how.delimiter!r}")
        piece = piece.replace(how.delimiter.encode(), mark.encode())
    if how.trim and how.quote is not None:
        before, quote = rb"(^|[\r\n]|%b)[ \t]+" % re.escape(mark.encode()), re.escape(how.quote.encode())
        piece = re.sub(before + rb"(?=%b(?!%b))" % (quote, quote), rb"\1", piece)
    if how.escape is not None and how.escape.encode() in piece:
        mine = how.escape.encode()
        escape, between = re.escape(mine), re.escape(mark.encode())
        piece = re.sub(rb"(^|[\r\n]|%b)%bN(?=%b|[\r\n]|$)" % (between, escape, between), rb"\1", piece)
        special = b"".join(re.escape(each.encode()) for each in (how.escape, how.quote or "", mark))
        piece = re.sub(
            rb"(%b\r(?=\n))|(%b[%b\r\n])|%b" % (escape, escape, special, escape),
            # Of a line's end of two characters both are escaped, or the second would end the row.
            lambda found: found[1] + mine if found[1] else found[2] or mine * 2,
            piece,
        )
    return piece


def first_row(text: str, how: TableSettings) -> list[str]:
    """Returns the values of the first row of prepared CSV, none for no text.

    Raises:
        csv.Error: It can't be read.
    """
    row: list[str] = next(iter(_reader(text, how)), [])
    return [value.replace(STAND_IN, how.delimiter) for value in row] if mark_of(how) == STAND_IN else row


def last_row(text: str, how: TableSettings) -> int:
    """Returns the number of the last row (0 the first) of prepared CSV, in which a quote is open at the end."""
    return max(len(_ends(text, how)) - 1, 0)


@dataclass
class Faults:
    """What Arrow took without a word. Rows are counted from 0 on, as Arrow counts them."""

    tails: list[int] = field(default_factory=list)
    """The rows with text after a closing quote."""
    swallowed: Optional[tuple[int, str]] = None
    """A row with a value that runs over others, and what is to be said of it."""


def faults(piece: bytes, rows: int, columns: int, how: TableSettings) -> Faults:
    """Finds the rows of prepared CSV in which a quote has no meaning that it could have.

    Args:
        piece: Some whole rows.
        rows: How many Arrow found in it.
        columns: How many columns they have.
        how: The dialect.
    """
    found = Faults()
    if how.quote is None or how.quote.encode() not in piece:
        return found
    over_lines = max(piece.count(b"\n"), piece.count(b"\r")) > rows
    if not over_lines and not _inner_quotes(piece, how):
        return found
    text = piece.decode(errors="replace")
    lines = io.StringIO(text, newline="").readlines()
    tails, start = _has_tail(text, how), 0
    for row, end in enumerate(_ends(text, how)):
        raw, start = lines[start:end], end
        tail = tails and _has_tail("".join(raw), how)
        if len(raw) > 1 and (tail or _are_rows(raw, columns, how)):
            found.swallowed = row, _swallowed(raw, how)
            break
        if tail:
            found.tails.append(row)
    return found


def _ends(text: str, how: TableSettings) -> list[int]:
    """Returns for each row the number of lines up to its end; nothing where that can't be told."""
    reader = _reader(text, how)
    try:
        return [reader.line_num for _ in reader]
    except csv.Error:  # such as a zero byte
        return []


def _reader(text: str, how: TableSettings, strict: bool = False) -> Any:
    csv.field_size_limit(max(_LIMIT, csv.field_size_limit()))
    return csv.reader(
        io.StringIO(text, newline=""),
        delimiter=mark_of(how),
        quotechar=how.quote,
        quoting=csv.QUOTE_MINIMAL if how.quote else csv.QUOTE_NONE,
        escapechar=how.escape,
        strict=strict,
    )


def _inner_quotes(piece: bytes, how: TableSettings) -> bool:
    """Whether a quote has neither a delimiter, nor an end of a line, nor another quote or an escape beside it."""
    data = np.frombuffer(piece, np.uint8)
    places = np.flatnonzero(data == ord(how.quote or ""))
    places = places[(places > 0) & (places < len(data) - 1)]
    quote, ends = how.quote or "", mark_of(how) + "\r\n"
    inner_after, inner_before = np.ones(256, bool), np.ones(256, bool)
    inner_after[list((ends + quote).encode())] = False
    inner_before[list((ends + quote + (how.escape or "")).encode())] = False
    return bool((inner_before[data[places - 1]] & inner_after[data[places + 1]]).any())


def _are_rows(lines: Sequence[str], columns: int, how: TableSettings) -> bool:
    """Whether the lines of one row look like rows each."""
    if columns < 2:
        return False
    alike = sum(line.count(mark_of(how)) == columns - 1 for line in lines)
    return alike >= 0.9 * len(lines) and (mark_of(how) not in _PROSE or len(lines) >= _PROSE_LINES)


def _has_tail(text: str, how: TableSettings) -> bool:
    """Whether text follows a closing quote; blanks are none."""
    quote = re.escape(how.quote or "")
    text = re.sub(rf"{quote} +(?=[{re.escape(mark_of(how))}\r\n]|$)", how.quote or "", text)
    try:
        for _ in _reader(text, how, strict=True):
            pass
    except csv.Error:
        return True
    return False


def _swallowed(lines: Sequence[str], how: TableSettings) -> str:
    value = lines[0][lines[0].rfind(how.quote or "") :].rstrip("\r\n").replace(mark_of(how), how.delimiter)
    return (
        f"a value that begins with {value[:40]!r} runs over {len(lines):,} lines that look like rows of their own: "
        "set quote: null if quotes are characters like others in this file, or escape"
    )
