"""What a column holds, told from its first rows: for people who look at a table, and for guesses about it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.errors import InputError
from components.tables import nested
from components.tables.columns import as_numbers, mask, objects, scalars
from components.tables.contents import WORDS
from components.tables.formats import TableSettings
from components.tables.times import as_times, guess_forms
from components.tables.vectors import common_length, numbers

Kind = Literal["whole", "number", "time", "flag", "list", "object", "text", "empty"]

KINDS: dict[Kind, str] = {
    "whole": "whole numbers",
    "number": "numbers",
    "time": "times",
    "flag": "true or false",
    "list": "lists",
    "object": "objects",
    "text": "text",
    "empty": "nothing",
}
"""Kinds in words."""

_EXAMPLES = 3
_EXAMPLE_LENGTH = 40
_MANY_KEYS = 50
"""More of them are no fields, but ids or words."""
_FORMS_TRIED_ON = 50
_FORMS_FROM = 5
_FEW_ODD = 0.05
_ODD_TIMES = 0.5
"""Parts of other values beside numbers, and beside times, as which hardly anything else can be read."""
_WHOLE = r"^\s*[+-]?\d+\s*$"
_LIST = r"^\s*\[.*\]\s*$"
_EMPTY = r"^\s*(\[\s*\]|\{\s*\})\s*$"
_FLAGS = frozenset(("true", "false", "yes", "no", "t", "f"))


@dataclass(frozen=True)
class Profile:
    """What the first rows of a column hold."""

    kind: Kind
    rows: int
    missing: int
    """Rows without a value, or with a word for none."""
    distinct: int
    examples: tuple[str, ...]
    """The first different values, shortened."""
    words: tuple[str, ...] = ()
    """Words for a missing value that stand there."""
    numbers: Optional[np.ndarray] = None
    """The values that are numbers, float64."""
    texts: tuple[str, ...] = ()
    """The values that are text, each once."""
    in_text: bool = False
    """Whether the values are text in the file, such as all in CSV."""
    form: Optional[str] = None
    """The form of times in text that are not ISO 8601; iso for these; None of times that are no text."""
    forms: tuple[str, ...] = ()
    """Other forms that fit as well."""
    inner: Optional[Profile] = None
    """What the values of lists hold, where these are plain."""
    width: Optional[int] = None
    """How many numbers each value has, where all are lists of as many, and not of whole ones only, or the text of such:
    they are vectors."""
    mostly: Optional[Profile] = None
    """What nearly all values of a column of text hold, where these are numbers, or most, where these are times; `rows`
    counts them alone."""
    odd: tuple[str, ...] = ()
    """Values that are not like these."""


def profiles_of(columns: Mapping[str, pa.Array], how: TableSettings, by_path: bool) -> dict[str, Profile]:
    """Looks at the first rows of several columns.

    Args:
        columns: [n] values of each as a file holds them, by name.
        how: How numbers are written in text.
        by_path: Whether to look, where a text is an object or a list of them, at what is in it, by its path.
    """
    found: dict[str, Profile] = {}
    for name, array in columns.items():
        seen = profile(array, how)
        inside = nested.opened(array, name, _MANY_KEYS) if by_path and seen.kind == "object" and seen.in_text else {}
        if inside:
            found |= {path: profile(values, how) for path, values in inside.items()}
        else:
            found[name] = seen
    return found


def profile(array: pa.Array, how: TableSettings) -> Profile:
    """Looks at the first rows of a column.

    Args:
        array: [n] values as a file holds them.
        how: How numbers are written in text.
    """
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_duration(array.type):
        array = pa.array(as_numbers(array, "")[0], from_pandas=True)
    rows, kind = len(array), array.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_list:
        with contextlib.suppress(InputError):  # they have more than one value
            array = scalars(array, "")
            kind, is_list = array.type, False
    if is_list or pa.types.is_nested(kind):  # which lists of one size aren't in older Arrow
        width = _width(array, how, fewest=2) if is_list else None
        values = [value for value in array.to_pylist() if value]
        plain = is_list and not pa.types.is_nested(kind.value_type)
        return Profile(
            ("list" if is_list else "object") if values else "empty",
            rows,
            rows - len(values),
            len({repr(value) for value in values}),
            _short(list(dict.fromkeys(map(str, values)))),
            inner=profile(pc.list_flatten(array), how) if plain else None,
            width=width,
        )
    values = scalars(array, "")
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type) or pa.types.is_time(kind):
        return _of_text(values.cast(pa.string()), how)
    if pa.types.is_duration(kind):
        values = values.cast(pa.int64())
    there = values.drop_null()
    if not len(there):
        return Profile("empty", rows, rows, 0, ())
    texts = [str(value) for value in pc.unique(there).to_pylist() if value == value]
    missing = values.null_count
    if pa.types.is_temporal(values.type):
        return Profile("time", rows, missing, len(texts), _short(texts))
    if pa.types.is_boolean(kind):
        return Profile("flag", rows, missing, len(texts), _short(texts))
    numbers, missing_numbers, _ = as_numbers(values, "")
    numbers = numbers[~np.isnan(numbers)]
    whole = len(numbers) > 0 and bool((numbers == np.floor(numbers)).all())
    if whole:
        texts = [text.removesuffix(".0") for text in texts]
    return Profile(
        "whole" if whole else "number",
        rows,
        int(missing_numbers.sum()),
        len(texts),
        _short(texts),
        numbers=numbers,
    )


def _of_text(values: pa.StringArray, how: TableSettings) -> Profile:
    rows = len(values)
    values = pc.if_else(pc.equal(pc.utf8_trim_whitespace(values), ""), pa.scalar(None, pa.string()), values)
    words = values.filter(pc.is_in(pc.utf8_lower(values), value_set=pa.array(sorted(WORDS))))
    some_words = tuple(sorted(set(words.to_pylist())))
    there = values.drop_null()
    there = there.filter(pc.invert(pc.is_in(there, value_set=pa.array(some_words, pa.string()))))
    texts = pc.unique(there).to_pylist()
    seen: dict[str, Any] = {
        "rows": rows,
        "missing": rows - len(there),
        "distinct": len(texts),
        "examples": _short(texts),
        "words": some_words,
        "in_text": True,
    }
    if not texts:
        return Profile("empty", **seen)
    if mask(pc.match_substring_regex(there, _WHOLE)).all():
        return Profile("whole", **seen, numbers=as_numbers(there, "")[0])
    numbers, _, bad = as_numbers(there, "", how)
    if not bad.any():
        return Profile("number", **seen, numbers=numbers)
    if not as_times(there, "iso", "")[2].any():
        return Profile("time", **seen, form="iso")
    if {text.strip().lower() for text in texts} <= _FLAGS:
        return Profile("flag", **seen, texts=tuple(texts))
    some = objects(there)
    if some.any() and (some | mask(pc.match_substring_regex(there, _EMPTY))).all():
        return Profile("object", **seen)
    forms = guess_forms([text.strip() for text in texts[:1]])
    forms = forms and guess_forms([text.strip() for text in texts[:_FORMS_TRIED_ON]])
    forms = [form for form in forms if not as_times(there, "iso", "", form)[2].any()]
    if forms:
        return Profile("time", **seen, form=forms[0], forms=tuple(forms[1:]))
    if mask(pc.match_substring_regex(there, _LIST)).all():
        return Profile("list", **seen, texts=tuple(texts), width=_width(there, how, fewest=2))
    mostly, odd = _mostly(there, texts, how)
    return Profile("text", **seen, texts=tuple(texts), width=_width(there, how, fewest=3), mostly=mostly, odd=odd)


def _mostly(there: pa.StringArray, texts: list[str], how: TableSettings) -> tuple[Optional[Profile], tuple[str, ...]]:
    """Returns what nearly all values hold, if these are numbers, or most, if they are times; and examples of others."""
    firsts = [text.strip() for text in texts[:_FORMS_FROM]]
    forms = dict.fromkeys(form for first in firsts for form in guess_forms([first]))
    some = pa.array(texts[:_FORMS_TRIED_ON])
    best = min(forms, key=lambda form: as_times(some, "iso", "", form)[2].sum(), default=None)
    for bad, most in (
        (as_numbers(there, "", how)[2], _FEW_ODD),
        (as_times(there, "iso", "")[2], _ODD_TIMES),
        *(((as_times(there, "iso", "", best)[2], _ODD_TIMES),) if best else ()),
    ):
        if bad.mean() <= most:
            return _of_text(there.filter(pa.array(~bad)), how), _short(
                pc.unique(there.filter(pa.array(bad))).to_pylist()
            )
    return None, ()


def _width(array: pa.Array, how: TableSettings, fewest: int) -> Optional[int]:
    """Returns how many numbers, of `fewest` or more, each value of a column has that is vectors; None for others."""
    try:
        values, lengths = numbers(array, "", how)
    except InputError:
        return None
    width = common_length(lengths)
    alike = width is not None and width >= fewest and bool(np.isin(lengths, (0, width)).all())
    return width if alike and np.isfinite(values).all() and (values != np.floor(values)).any() else None


def _short(texts: list[str]) -> tuple[str, ...]:
    shown = (" ".join(text.split()) for text in texts[:_EXAMPLES])
    return tuple(text if len(text) <= _EXAMPLE_LENGTH else f"{text[: _EXAMPLE_LENGTH - 1]}…" for text in shown)
