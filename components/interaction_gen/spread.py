"""Rows that hold a list of items, as sessions and baskets are often stored, spread out into a row for each item."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_gen.settings import InteractionSettings
from components.tables.columns import as_lists, decoded, mask, no_list
from components.tables.features import column_of
from components.tables.reading import Block
from components.tables.rows import Verdicts

PLACE_BITS = 16
"""2^16 items a row, and so 2^24 rows a file."""
TOO_LONG = f"is a list of more than {1 << PLACE_BITS:,} values"
"""Why a row is rejected."""
ROWS_SPREAD = "rows spread out"
"""The fact that counts rows with lists of items."""


def spread_out(block: Block, settings: InteractionSettings, verdicts: Verdicts) -> tuple[Block, np.ndarray, list[str]]:
    """Returns a row for each item of the block's rows, its place in its list, from 0, int64 [m], and which further
    columns are lists.

    A column of lists, such as of times or types, goes along value by value, in text too where that has as many parts as
    the row has items; what else a row holds is that of all its items. Rows without items are dropped, those whose lists
    don't fit are rejected, both into `verdicts`.

    Args:
        block: Rows with the columns of `settings.log_columns()`.
        settings: Name the column of the items, and what stands between them in text.
        verdicts: Of the rows of `block`.

    Raises:
        InputError: The items are a list of lists.
    """
    name = settings.columns.item_id
    items = _items(block, settings, verdicts)
    lengths = _lengths(items)
    verdicts.drop(lengths == 0, f"with an empty list of {name}")
    verdicts.reject(lengths > 1 << PLACE_BITS, f"{name} {TOO_LONG}")
    whole = {column_of(key, feature) for key, feature in settings.features.items() if feature.type == "categories"}
    columns = {key: decoded(column) for key, column in block.columns.items()}
    # With blanks between items, a time or a type of several words is one.
    roles = ["rating", "weight"] if settings.separator.isspace() else ["rating", "weight", "event"]
    roles += [] if settings.separator in (settings.timestamp_format or "") else ["timestamp"]
    for key in filter(None, (getattr(settings.columns, role) for role in roles)):
        if key != name and _is_text(columns[key]) and not _has_times(columns[key]):
            columns[key] = _lists_beside(columns[key], lengths, settings, key)
    lists = [
        key
        for key, column in columns.items()
        if key != name and key not in whole and _is_list(column) and _lengths(column).max(initial=0) > 1
    ]
    for key in lists:
        differs = _lengths(columns[key]) != lengths
        verdicts.reject(differs, f"{key} is a list of another length than {name}")
    kept = verdicts.kept()
    row = np.repeat(np.flatnonzero(kept), lengths[kept])
    place = np.arange(len(row)) - np.repeat(np.cumsum(lengths[kept]) - lengths[kept], lengths[kept])
    made: dict[str, pa.Array] = {}
    for key, column in columns.items():
        if key == name or key in lists:
            made[key] = pc.list_flatten((items if key == name else column).filter(pa.array(kept)))
        else:
            made[key] = column.take(pa.array(row))
    if settings.trim and _is_text(made[name]):
        made[name] = pc.utf8_trim_whitespace(made[name])
    if settings.missing and pa.types.is_string(made[name].type):
        absent = pc.is_in(made[name], value_set=pa.array(settings.missing))
        made[name] = pc.if_else(absent, pa.scalar(None, pa.string()), made[name])
    return Block(block.rows[row], made), place, lists


def flat(array: pa.Array, separator: str) -> pa.Array:
    """Returns the values of lists of times, in text too, one after the other, and of other arrays what they are."""
    array = decoded(array)
    if _is_text(array) and not _has_times(array):
        array = as_lists(array, separator, "")[0]
    return pc.list_flatten(array) if _is_list(array) else array


def only_clicked(block: Block, column: str, ending: str, verdicts: Verdicts) -> Block:
    """Returns a block whose items lost their `ending`; rows whose item has none are dropped."""
    items = block.columns[column].cast(pa.string())
    verdicts.drop(mask(pc.invert(pc.ends_with(items, ending))), f"shown and not clicked (see clicked: {ending!r})")
    return Block(block.rows, {**block.columns, column: pc.utf8_slice_codeunits(items, 0, -len(ending))})


def _items(block: Block, settings: InteractionSettings, verdicts: Verdicts) -> pa.ListArray:
    name = settings.columns.item_id
    array = decoded(block.columns[name])
    if _is_list(array):
        return array  # as they are: what is null in it keeps its place, and is rejected as an item
    lists, bad = as_lists(array, settings.separator, name)
    verdicts.reject(bad, no_list(name))
    return lists


def _lists_beside(array: pa.Array, lengths: np.ndarray, settings: InteractionSettings, key: str) -> pa.Array:
    """Returns the lists that a column of text holds, if most of several items have as many values, or several where
    one can't have the separator in it; or else the text."""
    several = lengths > 1
    lists, bad = as_lists(array, settings.separator, key)
    may_be_in_one = key == settings.columns.event or settings.separator in (settings.decimal, settings.thousands)
    fit = several & ~bad & (_lengths(lists) == lengths if may_be_in_one else _lengths(lists) > 1)
    return lists if 2 * fit.sum() > several.sum() else array


def _has_times(array: pa.Array) -> bool:
    """Whether a text is a time by itself, in which blanks or dashes are no separators."""
    return bool(pc.any(pc.match_substring_regex(array, r"^\s*\d+-\d+-\d+[^|;,]*$")).as_py())


def _is_text(array: pa.Array) -> bool:
    return bool(pa.types.is_string(array.type) or pa.types.is_large_string(array.type))


def _is_list(array: pa.Array) -> bool:
    return pa.types.is_list(array.type) or pa.types.is_large_list(array.type)


def _lengths(lists: pa.ListArray) -> np.ndarray:
    return pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
