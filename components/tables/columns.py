"""Typing the columns of a table: whatever a file holds to text, numbers, times and lists, bad values marked.

Every function returns arrays of the input's length and boolean masks; nothing is raised for a bad value, only for a
column whose type as a whole can't be meant.
"""

import ast
import re
from typing import Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.errors import InputError
from components.tables.reading import NOT_UTF8

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_MISSING_NUMBERS = pa.array(["", "nan", "na", "n/a", "null", "none", r"\n"])
_ISO = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}(:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?$"
_LITERAL_LIST = r"^\s*\[.*\]\s*$"
_ZONED = r"[T ].*(Z|[+-]\d{2}(:?\d{2})?)$"
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_EARLIEST = np.datetime64("1900-01-01", "us").astype(np.int64)
_LATEST = np.datetime64("2200-01-01", "us").astype(np.int64)


def as_text(array: pa.Array, name: str) -> pa.StringArray:
    """Returns the values as text, null where missing or empty. Integers become their decimal digits.

    Args:
        array: [n] strings, bytes, integers, booleans, decimals, dates or times; lists of at most one of them.
        name: The column's name, for messages.

    Raises:
        InputError: The column is of another type.
    """
    array = _scalars(array, name)
    kind = array.type
    if pa.types.is_floating(kind):
        raise InputError(
            f"column {name!r} holds floating-point numbers where text or integers are needed; "
            "write it as text or integers (a missing value in pandas turns integers into floats: use Int64)"
        )
    if pa.types.is_decimal(kind):
        array = pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())
    elif pa.types.is_nested(kind):
        raise InputError(f"column {name!r} is of type {kind} where text is needed")
    else:
        array = array.cast(pa.string())
    return pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)


def as_numbers(array: pa.Array, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns values (float64 [n], NaN where there is none), where they are missing and where they are no numbers.

    Text such as "", "NaN", "NA", "null", "None" and "\\N" counts as missing; infinity is no number.

    Raises:
        InputError: The column's type is neither text nor a number.
    """
    array = _scalars(array, name)
    if pa.types.is_temporal(array.type) or pa.types.is_nested(array.type):
        raise InputError(f"column {name!r} is of type {array.type} where numbers are needed")
    if pa.types.is_decimal(array.type) or pa.types.is_boolean(array.type):
        array = array.cast(pa.string()) if pa.types.is_decimal(array.type) else array.cast(pa.int8())
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        text = array.cast(pa.string())
        missing = mask(pc.is_null(text)) | mask(pc.is_in(pc.utf8_lower(text), value_set=_MISSING_NUMBERS))
        numbers, bad = _parsed(text, ~missing, pa.float64(), _NUMBER)
        values = numbers.to_numpy(zero_copy_only=False)
    else:
        values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        missing = mask(pc.is_null(array)) | np.isnan(values)
        bad = np.zeros(len(values), dtype=bool)
    infinite = np.isinf(values)
    return np.where(infinite, np.nan, values), missing, bad | infinite


def as_times(array: pa.Array, unit: str, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns times (int64 [n] microseconds since the epoch, UTC), where they are missing and where they are bad.

    A time before 1900 or after 2200 is bad: it comes from a wrong unit.

    Args:
        array: [n] Arrow times or dates, which know their unit; numbers or their text; or ISO 8601 text, UTC unless
            it has an offset.
        unit: s, ms, us or ns for numbers, "iso" for ISO 8601.
        name: The column's name, for messages.

    Raises:
        InputError: The column's type is none of these.
    """
    array = _scalars(array, name)
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        zone = getattr(array.type, "tz", None)
        times = array.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
        missing = mask(pc.is_null(times))
        bad = np.zeros(len(array), dtype=bool)
        micros = pc.fill_null(times, 0).to_numpy(zero_copy_only=False)
    elif unit == "iso":
        text = as_text(array, name)
        missing = mask(pc.is_null(text))
        micros, bad = _parsed_iso(text, ~missing)
    else:
        micros, missing, bad = _numeric_times(array, unit, name)
    absurd = ~missing & ~bad & ((micros < _EARLIEST) | (micros > _LATEST))
    return micros, missing, bad | absurd


def guess_time_unit(array: pa.Array, name: str) -> str:
    """Returns the unit that the times in `array` most likely have: s, ms, us, ns by magnitude, or "iso" for text."""
    array = _scalars(array, name)
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        return "us"
    values, missing, bad = as_numbers(array, name)
    good = np.abs(values[~missing & ~bad])
    if len(good) == 0:
        return "iso"
    typical = np.median(good)
    return next((unit for unit, limit in (("s", 1e11), ("ms", 1e14), ("us", 1e17)) if typical < limit), "ns")


def as_lists(array: pa.Array, separator: str, name: str) -> pa.ListArray:
    """Returns lists of text [n] without empty values; text is split at `separator`, its parts stripped of blanks.

    Text that is a list as Python or JSON writes it, such as "['Fiction', 'Art']", is that list.
    """
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
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    values = as_text(pc.list_flatten(lists), name)
    values = pc.utf8_trim_whitespace(values)
    kept = mask(pc.greater(pc.binary_length(values), 0))
    row = np.repeat(np.arange(len(lengths)), lengths)[kept]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(lengths)))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values.filter(pa.array(kept)))


def _literal_list(text: str, separator: str) -> list[str]:
    if re.match(_LITERAL_LIST, text):
        try:
            values = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            values = None
        if isinstance(values, list) and all(isinstance(value, (str, int, float)) for value in values):
            return [str(value) for value in values]
    return text.split(separator)


def mask(array: pa.BooleanArray) -> np.ndarray:
    """Returns the values, bool [n]; null counts as False."""
    return pc.fill_null(array, False).to_numpy(zero_copy_only=False)


def not_utf8(array: pa.Array) -> np.ndarray:
    """Returns where a value of `array` (or one in a list of it) had bytes that are not UTF-8; bool [n]."""
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return mask(pc.match_substring(array, NOT_UTF8))
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        bad = np.zeros(len(array), dtype=bool)
        bad[pc.list_parent_indices(array).to_numpy(zero_copy_only=False)[not_utf8(pc.list_flatten(array))]] = True
        return bad
    return np.zeros(len(array), dtype=bool)


def _scalars(array: pa.Array, name: str) -> pa.Array:
    """Returns plain values: dictionaries decoded, bytes as text, lists of at most one value as that value."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        if lengths.max(initial=0) > 1:
            raise InputError(f"column {name!r} has more than one value in a row where one is needed")
        position = np.where(lengths > 0, np.cumsum(lengths) - 1, 0)
        array = pc.list_flatten(array).take(pa.array(position, pa.int64(), mask=lengths == 0))
    if pa.types.is_null(array.type):
        return array.cast(pa.string())
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        try:
            return array.cast(pa.string())
        except pa.ArrowInvalid:
            values = array.to_pylist()
            return pa.array(
                [None if value is None else value.decode("utf-8", errors="mark_not_utf8") for value in values],
                pa.string(),
            )
    return array


def _parsed(text: pa.Array, wanted: np.ndarray, kind: pa.DataType, pattern: str) -> tuple[pa.Array, np.ndarray]:
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


def _parsed_iso(text: pa.Array, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    text = pc.replace_substring_regex(pc.utf8_trim_whitespace(text), r"(\.\d{6})\d+", r"\1")
    zoned = wanted & mask(pc.match_substring_regex(text, _ZONED))
    here, bad_here = _parsed(text, wanted & ~zoned, pa.timestamp("us"), _ISO)
    there, bad_there = _parsed(text, zoned, pa.timestamp("us", "UTC"), _ISO)
    micros = pc.coalesce(here.cast(pa.int64()), there.cast(pa.int64()), pa.scalar(0, pa.int64()))
    return micros.to_numpy(zero_copy_only=False), bad_here | bad_there


def _numeric_times(array: pa.Array, unit: str, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    try:
        # Integers first: nanoseconds don't fit into a float.
        whole = pc.fill_null(array.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        missing = mask(pc.is_null(array))
        values, bad = whole, np.zeros(len(array), dtype=bool)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        values, missing, bad = as_numbers(array, name)
        values = np.where(missing | bad, 0.0, values)
    limit = float(_LATEST) * 2
    factor: Optional[int] = _MICROSECONDS.get(unit)
    scaled = values.astype(np.float64) * factor if factor else values.astype(np.float64) / 1000
    bad = bad | (np.abs(scaled) > limit)
    values = np.where(bad, 0, values)
    if factor is None:
        return (values // 1000).astype(np.int64), missing, bad
    if values.dtype == np.int64:
        return values * factor, missing, bad
    return np.round(values * factor).astype(np.int64), missing, bad
