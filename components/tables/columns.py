"""Typing the columns of a table: whatever a file holds to text, numbers and lists, bad values marked.

Every function returns arrays of the input's length and boolean masks; nothing is raised for a bad value, only for a
column whose type as a whole can't be meant.
"""

import ast
import io
import json
import re
import tokenize
import uuid
from typing import Any, Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.errors import InputError
from components.tables import nested
from components.tables.formats import TableSettings
from components.tables.reading import NOT_UTF8

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_MISSING_NUMBERS = pa.array(["", "nan", "na", "n/a", "null", "none", r"\n"])
_LITERAL_LIST = r"(?s)^\s*(\[.*\]|\(.*\)|\{.*\})\s*$"
"""A list, a tuple or a set as Python, JSON, NumPy or PostgreSQL write them."""
_PART = re.compile(r"""'([^']*)'|"([^"]*)"|([^\s,]+)""")
_OBJECT = r"""^\s*(\[\s*)?\{\s*("[^"]*"|'[^']*')\s*:"""
_PLAIN = TableSettings()
EXACT = {16: 2.0**11, 32: 2.0**24, 64: 2.0**53}
"""By a float's bits: from here on whole numbers are the same float as their neighbours."""


def as_text(array: pa.Array, name: str) -> pa.StringArray:
    """Returns the values as text, null where missing, empty or blank. Whole numbers become their decimal digits.

    Args:
        array: [n] strings, bytes, whole numbers (of any type: a missing value in pandas makes floats of integers, with
            NaN for itself), booleans, decimals, dates or times; lists of at most one of them. Bytes that are no text
            but equally many in each value become hexadecimal digits, those of 16 bytes as a UUID has them.
        name: The column's name, for messages.

    Raises:
        InputError: The column is of another type.
    """
    array = scalars(array, name)
    kind = array.type
    if pa.types.is_floating(kind):
        array = _whole(array, name)
    if pa.types.is_decimal(kind):
        values = array.to_pylist()
        whole = [None if value is None else value.to_integral_value() for value in values]
        array = pa.array(
            [value if value is None else f"{w if w == value else value:f}" for value, w in zip(values, whole)]
        )
    elif pa.types.is_nested(kind) or pa.types.is_duration(kind):
        raise InputError(f"column {name!r} is of type {kind} where text is needed{_deeper(kind, name)}")
    else:
        array = array.cast(pa.string())
    return pc.if_else(pc.or_(pc.equal(array, ""), pc.utf8_is_space(array)), pa.scalar(None, pa.string()), array)


def as_numbers(array: pa.Array, name: str, how: TableSettings = _PLAIN) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns values (float64 [n], NaN where there is none), where they are missing and where they are no numbers.

    Text such as "", "NaN", "NA", "null", "None" and "\\N" counts as missing; infinity is no number.

    Args:
        array: [n] numbers of any type, or their text; durations, which become seconds.
        name: The column's name, for messages.
        how: How numbers are written in text.

    Raises:
        InputError: The column's type is neither text nor a number.
    """
    array = scalars(array, name)
    if pa.types.is_duration(array.type):
        seconds = pc.divide(
            array.cast(pa.duration("us"), safe=False).cast(pa.int64()).cast(pa.float64(), safe=False), 1e6
        )
        array = pc.if_else(pc.is_valid(array), seconds, pa.scalar(None, pa.float64()))
    if pa.types.is_temporal(array.type) or pa.types.is_nested(array.type):
        deeper = _deeper(array.type, name)
        raise InputError(f"column {name!r} is of type {array.type} where numbers are needed{deeper}")
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        text = array.cast(pa.string())
        missing = mask(pc.is_null(text)) | mask(pc.is_in(pc.utf8_lower(text), value_set=_MISSING_NUMBERS))
        if how.units or how.thousands or how.decimal != ".":
            text = _plain_numbers(text, how)
        numbers, bad = parsed_text(text, ~missing, pa.float64(), _NUMBER)
        values = numbers.to_numpy(zero_copy_only=False)
    else:
        values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        missing = mask(pc.is_null(array)) | np.isnan(values)
        bad = np.zeros(len(values), dtype=bool)
    infinite = np.isinf(values)
    return np.where(infinite, np.nan, values), missing, bad | infinite


def as_lists(array: pa.Array, separator: str, name: str) -> tuple[pa.ListArray, np.ndarray]:
    """Returns lists of text [n] without empty values, and where there is a list of lists or of objects, or one that
    NumPy cut short by dots, bool [n].

    Text is split at `separator`, its parts stripped of blanks. Text that is a list as Python, JSON, NumPy or PostgreSQL
    write it, such as "['Fiction', 'Art']", "['Fiction' 'Art']" or "{Fiction,Art}", is that list.
    """
    bad = np.zeros(len(array), dtype=bool)
    array = decoded(array)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        lists = array
    else:
        text = as_text(array, name)
        lists = pc.split_pattern(text, separator)
        if pc.any(pc.match_substring_regex(text, _LITERAL_LIST)).as_py():
            # Values repeat, and parsing them takes time.
            encoded = text.dictionary_encode()
            distinct = [_literal_list(value, separator) for value in encoded.dictionary.to_pylist()]
            lists = pa.array(distinct, pa.list_(pa.string())).take(encoded.indices)
            nested_lists = pa.array([value is None for value in distinct], pa.bool_()).take(encoded.indices)
            bad = mask(pc.fill_null(nested_lists, False))
        bad = bad | objects(text)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    inner = pc.list_flatten(lists)
    if pa.types.is_list(inner.type) and (pc.max(pc.list_value_length(inner)).as_py() or 0) > 1:
        raise InputError(f"column {name!r} is a list of lists, where one list is needed")
    values = as_text(inner, name)
    values = pc.utf8_trim_whitespace(values)
    kept = mask(pc.greater(pc.binary_length(values), 0))
    row = np.repeat(np.arange(len(lengths)), lengths)[kept]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(lengths)))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values.filter(pa.array(kept))), bad


def no_list(column: str) -> str:
    """Returns what is said of values for which `as_lists` has no list."""
    return (
        f"{column} is a list of lists or of objects: of objects name a key, as {column}.key; or dots stand for a part"
    )


def objects(array: pa.Array) -> np.ndarray:
    """Returns where a text is an object, or a list of them, as Python or JSON writes it; bool [n]."""
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        return np.zeros(len(array), dtype=bool)
    return mask(pc.match_substring_regex(array, _OBJECT))


def like_a_price(array: pa.Array, rows: np.ndarray) -> bool:
    """Whether one of the `rows` (bool [n]) of a column of text holds a number with something around or in it."""
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        return False
    text = array.filter(pa.array(rows))
    return bool(pc.any(pc.match_substring_regex(text, r"^\s*\D{0,4}\d[\d.,'_\s]*\D{0,4}\s*$")).as_py())


def _literal_list(text: str, separator: str) -> Optional[list[str]]:
    """Returns the list that a text is, or that its parts are; None for a list of lists or of objects, or one with dots
    for what is left out."""
    text = text.strip()
    if not re.match(_LITERAL_LIST, text):
        return text.split(separator)
    values = _literals(text)
    if values is None and text.startswith("("):
        return text.split(separator)  # words in brackets
    if values is None:
        inner = text[1:-1].strip()
        if inner.startswith(("[", "{")) or (text.startswith("{") and ":" in inner):
            return None
        if re.search(r"[\[\]{}]", inner):
            return text.split(separator)  # words in brackets too
        parts = inner.split(separator) if separator in inner else map(max, _PART.findall(inner))
        values = [part.strip("'\" ") for part in parts]
        return None if "..." in values else [value for value in values if (text[0], value) != ("{", "NULL")]
    deep = any(isinstance(value, (list, tuple, set, dict)) for value in values)
    return None if deep else [_plain(value) for value in values if value is not None]


def _literals(text: str) -> Optional[list[Any]]:
    """Returns the values of a list, tuple or set in their order, None where it is none that Python or JSON knows."""
    try:
        # Python takes texts with nothing between them for one, NumPy writes its lists so.
        tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.string.strip()]
        if any(first.type == second.type == tokenize.STRING for first, second in zip(tokens, tokens[1:])):
            return [ast.literal_eval(token.string) for token in tokens if token.type == tokenize.STRING]
        body = ast.parse(text, mode="eval").body
        return (
            [ast.literal_eval(each) for each in body.elts] if isinstance(body, (ast.List, ast.Tuple, ast.Set)) else None
        )
    except (ValueError, SyntaxError, MemoryError, RecursionError, tokenize.TokenError):
        pass
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, list) else None


def _plain(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def mask(array: pa.BooleanArray) -> np.ndarray:
    """Returns the values, bool [n]; null counts as False."""
    return pc.fill_null(array, False).to_numpy(zero_copy_only=False)


def not_utf8(array: pa.Array) -> np.ndarray:
    """Returns where a value of `array` (or one in a list of it) had bytes that are not UTF-8; bool [n]."""
    if _is_bytes(array.type):
        array = _as_characters(array.cast(pa.binary()))
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return mask(pc.match_substring(array, NOT_UTF8))
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        bad = np.zeros(len(array), dtype=bool)
        bad[pc.list_parent_indices(array).to_numpy(zero_copy_only=False)[not_utf8(pc.list_flatten(array))]] = True
        return bad
    return np.zeros(len(array), dtype=bool)


def scalars(array: pa.Array, name: str) -> pa.Array:
    """Returns plain values: dictionaries decoded, bytes as text, lists of at most one value as that value.

    Raises:
        InputError: There is a list of more.
    """
    array = decoded(array)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        if lengths.max(initial=0) > 1:
            example = array[int(np.argmax(lengths))].as_py()[:3]
            raise InputError(
                f"column {name!r} has more than one value in a row where one is needed, such as {example}; if "
                "each row of a log holds a list of items, set spread: true"
            )
        position = np.where(lengths > 0, np.cumsum(lengths) - 1, 0)
        array = decoded(pc.list_flatten(array).take(pa.array(position, pa.int64(), mask=lengths == 0)))
    if pa.types.is_null(array.type):
        return array.cast(pa.string())
    return _as_characters(array.cast(pa.binary())) if _is_bytes(array.type) else array


def plain(array: pa.Array) -> pa.Array:
    """Returns the values in one piece, of a dictionary and of a type that extends another too."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    return array.cast(array.type.value_type) if pa.types.is_dictionary(array.type) else array


def decoded(array: pa.Array) -> pa.Array:
    """Returns plain values, and the lists of any size of those of one size."""
    array = plain(array)
    if pa.types.is_fixed_size_list(array.type):
        array = pa.array(array.to_pylist(), pa.list_(array.type.value_type))  # no cast in older Arrow
    return array


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _as_characters(array: pa.BinaryArray) -> pa.Array:
    """Returns bytes as text, NOT_UTF8 for what is none; where every value has as many and not all are text, as
    hexadecimal digits."""
    lengths = pc.unique(pc.drop_null(pc.binary_length(array))).to_pylist()
    if len(lengths) == 1 and not all(map(_is_printable, array.to_pylist())):
        shown = (lambda value: str(uuid.UUID(bytes=value))) if lengths == [16] else bytes.hex
        return pa.array([None if value is None else shown(value) for value in array.to_pylist()], pa.string())
    try:
        return array.cast(pa.string())
    except pa.ArrowInvalid:
        values = array.to_pylist()
        return pa.array(
            [None if value is None else value.decode("utf-8", errors="mark_not_utf8") for value in values], pa.string()
        )


def _is_printable(value: Optional[bytes]) -> bool:
    if value is None:
        return True
    try:
        return value.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _whole(array: pa.Array, name: str) -> pa.Array:
    """Returns whole floats as the text of integers, NaN as null.

    Raises:
        InputError: One has a fraction, or is so large that its last digits are lost.
    """
    exact = EXACT[array.type.bit_width]
    values = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    there = ~np.isnan(values)
    for bad, what in (
        (there & (values != np.floor(values)), "a number with a fraction"),
        (there & (np.abs(values) >= exact), "a floating-point number whose last digits are lost"),
    ):
        if bad.any():
            raise InputError(
                f"column {name!r} holds {values[np.argmax(bad)]}, {what}, where text or integers are needed; "
                "write it as text or integers (a missing value in pandas turns integers into floats: use Int64)"
            )
    return pa.array(np.where(there, values, 0).astype(np.int64), mask=~there).cast(pa.string())


def _deeper(kind: pa.DataType, name: str) -> str:
    """Returns how to name what a column of objects holds, or ""."""
    paths = [path for path in nested.fields_below(kind, name) if path != name]
    return f"; name one of its fields, such as {paths[0]}" if paths else ""


def _plain_numbers(text: pa.Array, how: TableSettings) -> pa.Array:
    """Returns numbers written as `how` says in the way that all others are; what is none of them becomes "?"."""
    for unit in sorted(how.units, key=len, reverse=True):
        text = pc.replace_substring(text, unit, "")
    if how.thousands == " ":
        text = pc.replace_substring_regex(text, "[\u00a0\u2009\u202f]", " ")
    text = pc.utf8_trim_whitespace(text)
    point, between = re.escape(how.decimal), re.escape(how.thousands or ",")
    plain = pc.match_substring_regex(text, rf"^[+-]?\s*(\d+{point}?\d*|{point}\d+)([eE][+-]?\d+)?$")
    # Groups of two are how India writes a lakh.
    grouped = pc.match_substring_regex(text, rf"^[+-]?\s*\d{{1,3}}({between}\d{{2,3}})*{between}\d{{3}}({point}\d*)?$")
    if how.thousands:
        text = pc.if_else(grouped, pc.replace_substring(text, how.thousands, ""), text)
        plain = pc.or_(plain, grouped)
    text = pc.replace_substring_regex(pc.replace_substring(text, how.decimal, "."), r"^([+-])\s+", r"\1")
    return pc.if_else(plain, text, "?")


def parsed_text(text: pa.Array, wanted: np.ndarray, kind: pa.DataType, pattern: str) -> tuple[pa.Array, np.ndarray]:
    """Casts the `wanted` values of `text` to `kind`; returns them (null elsewhere) and where that failed."""
    usable = pc.if_else(pa.array(wanted), text, pa.scalar(None, pa.string()))
    try:
        return usable.cast(kind), np.zeros(len(text), dtype=bool)
    except pa.ArrowInvalid:
        pass
    usable = pc.utf8_trim_whitespace(usable)
    good = mask(pc.match_substring_regex(usable, pattern))
    usable = pc.if_else(pa.array(good), pc.utf8_ltrim(usable, "+"), pa.scalar(None, pa.string()))
    parsed = _cast_each(usable, kind)
    return parsed, wanted & mask(pc.is_null(parsed))


def _cast_each(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """Casts what can be cast and leaves null what can't, halving the array around the few bad values."""
    try:
        return text.cast(kind)
    except pa.ArrowInvalid:
        if len(text) == 1:
            return pa.nulls(1, kind)
        half = len(text) // 2
        return pa.concat_arrays([_cast_each(text[:half], kind), _cast_each(text[half:], kind)])
