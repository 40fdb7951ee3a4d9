"""What the columns of a table hold, looked at as a whole: one that is empty or everywhere the same says nothing, and a
word such as NULL is no value.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Optional

import pyarrow as pa
import pyarrow.compute as pc

WORDS = frozenset(("-", "--", "?", "na", "n/a", "n.a.", "#n/a", "<na>", "nan", "nat", "null", "(null)", r"\n"))
"""Words, in small letters, that programs write for a missing value."""

_WORD_SHARE = 0.01
_LIST_SHARE = 0.5
_LIST = r"^\s*\[.*[,'\"].*\]\s*$"


@dataclass(frozen=True)
class Content:
    """What a column holds; can be added up over parts of a table."""

    rows: int
    missing: int
    """Rows without a value."""
    value: Any
    """One of the values, None where there is none."""
    several: bool
    """Whether there are others."""
    words: int = 0
    """How many values are one of WORDS."""
    word: str = ""
    """One of these."""
    lists: int = 0
    """How many texts are lists."""


def content(column: pa.Array) -> Content:
    """Returns what a column of texts, numbers, lists of them or vectors holds."""
    missing = column.null_count
    if pa.types.is_fixed_size_list(column.type):  # whose values tell people nothing
        there = missing < len(column)
        return Content(len(column), missing, "a vector" if there else None, there)
    if pa.types.is_list(column.type):
        lengths = pc.fill_null(pc.list_value_length(column), 0)
        missing = pc.sum(pc.equal(lengths, 0)).as_py() or 0
        values = pc.list_flatten(column).drop_null()
    else:
        values = column.drop_null()
    if not len(values):
        return Content(len(column), missing, None, False)
    several = bool(pc.any(pc.not_equal(values, values[0])).as_py())
    words, lists = values[:0], 0
    if pa.types.is_string(values.type):
        words = values.filter(pc.is_in(pc.utf8_lower(values), value_set=pa.array(sorted(WORDS))))
        lists = pc.sum(pc.match_substring_regex(values, _LIST)).as_py() or 0
    word = words[0].as_py() if len(words) else ""
    return Content(len(column), missing, values[0].as_py(), several, len(words), word, lists)


def added(contents: Iterable[Content]) -> Content:
    """Adds up what parts of a column hold."""
    total = Content(0, 0, None, False)
    for each in contents:
        differ = total.value is not None and each.value is not None and total.value != each.value
        total = Content(
            total.rows + each.rows,
            total.missing + each.missing,
            each.value if total.value is None else min(total.value, each.value or total.value),
            total.several or each.several or differ,
            total.words + each.words,
            max(total.word, each.word),
            total.lists + each.lists,
        )
    return total


def warnings(columns: Mapping[str, Content], what: str) -> Iterator[str]:
    """Yields what is striking about columns of `what` ("events"): that they are empty or everywhere the same."""
    for name, found in columns.items():
        if found.rows > 1 and found.missing == found.rows:
            yield f"{name} is empty in all {found.rows:,} {what}"
        elif found.words >= max(1.0, _WORD_SHARE * found.rows):
            yield (
                f"{name} is a word such as {found.word!r} in {found.words:,} of {found.rows:,} {what}: if that stands "
                f"for a missing value, set missing: [{in_yaml(found.word)}]"
            )
        elif found.rows > 1 and not found.several and not found.missing:
            yield f"{name} is {_short(found.value)} in all {found.rows:,} {what}"
        elif found.lists > _LIST_SHARE * found.rows:
            yield f"{name} is a list in {found.lists:,} of {found.rows:,} {what}: set type: categories"


def in_yaml(word: str) -> str:
    r"""Returns a word as YAML has it in quotes, in which a backslash is one.

    >>> print(in_yaml(r"\N"), in_yaml("'"))
    '\N' ''''
    """
    return "'" + word.replace("'", "''") + "'"


def _short(value: Optional[Any]) -> str:
    text = f"{value:g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
