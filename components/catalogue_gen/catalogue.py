"""Making the catalogue: rows of the catalogue's files and the items that only the log knows, one row an item."""

import re
import string
from collections.abc import Iterable, Mapping
from typing import Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.catalogue_gen.settings import CatalogueSettings, display_columns
from components.examples.catalogue import LISTED
from components.tables.columns import as_text
from components.tables.encoders import Encode
from components.tables.reading import Block, TableFile
from components.tables.row_report import Report, problem
from components.tables.rows import (
    ORDER,
    Verdicts,
    check_text,
    drop_first_header,
    drop_headers,
    place,
    read_features,
    read_ids,
    report_malformed,
    row_of,
)

_NAMED_IDS = 5
_EMPTY_BRACKETS = re.compile(r"\(\s*\)|\[\s*\]|\{\s*\}")
_BLANKS = re.compile(r"\s+")
_SEPARATORS = " ,;:/|·-–—"


def clean(block: Block, file: TableFile, settings: CatalogueSettings) -> tuple[pa.Table, Report]:
    """Returns the usable rows of a block: item_id, display, the features, and #order; and what was counted.

    Raises:
        InputError: A column has a type that can't be meant.
    """
    report = Report(rows=len(block.rows) + len(block.malformed))
    report_malformed(report, block, file)
    verdicts = Verdicts(len(block.rows))
    check_text(block, verdicts)
    drop_headers(block, verdicts)
    ids = read_ids(block, settings.item_id, verdicts)
    drop_first_header(block, (ids,), settings, verdicts)
    arrays = {
        "item_id": ids,
        "display": displays(block.columns, ids, settings.display),
        **read_features(block, settings.in_table(), settings, verdicts),
        ORDER: pa.array(place(file, block)),
    }
    verdicts.report(report, block, file)
    return pa.table(arrays).filter(pa.array(verdicts.kept())), report


def displays(columns: dict[str, pa.Array], ids: pa.Array, template: Optional[str]) -> pa.Array:
    """Returns what a person is shown for each item, text [n]: the filled template, or the id where that is empty."""
    if template is None:
        return ids
    names = display_columns(template)
    texts = [_shown(columns[name], name).to_pylist() for name in names]
    pieces = [(literal, name is not None) for literal, name, _, _ in string.Formatter().parse(template)]
    shown = []
    for values in zip(*texts):
        remaining = iter(values)
        text = "".join(literal + ((next(remaining) or "") if filled else "") for literal, filled in pieces)
        shown.append(tidy(text, missing=None in values))
    return pc.if_else(pc.equal(pa.array(shown, pa.string()), ""), ids, pa.array(shown, pa.string()))


def tidy(text: str, missing: bool) -> str:
    """Returns `text` on one line; what a missing value left behind (empty brackets, a separator) is taken out."""
    if missing:
        text = _EMPTY_BRACKETS.sub("", text).strip(_SEPARATORS)
    return _BLANKS.sub(" ", text).strip()


def fault(table: pa.Table, report: Report, settings: CatalogueSettings, path: str) -> Optional[str]:
    """Returns what is wrong with a catalogue whatever the log is, or None.

    Args:
        table: Its rows, as `clean` returns them, or `first_values`.
        report: What was counted.
        settings: How many rows may be unusable.
        path: The catalogue's files, for the message.
    """
    if why := problem(report, settings.max_rejected_fraction, "the catalogue"):
        return why
    return doubled(table, path) if len(table) else f"{path}: there are no rows"


def doubled(table: pa.Table, path: str) -> Optional[str]:
    """Returns a message that names the item ids that `table` has more than once with their rows, or None."""
    ids = table["item_id"].combine_chunks()
    counts = pc.value_counts(ids)
    again = counts.field(0).filter(pc.greater(counts.field(1), 1))
    if not len(again):
        return None
    named = []
    for item in again.to_pylist()[:_NAMED_IDS]:
        rows = sorted(row_of(order) for order in table.filter(pc.equal(ids, item))[ORDER].to_pylist())
        named.append(f"{item!r} (rows {', '.join(map(str, rows[:_NAMED_IDS]))})")
    more = f" and {len(again) - len(named):,} more" if len(again) > len(named) else ""
    return (
        f"{path}: item ids must be unique, but are listed more than once: {', '.join(named)}{more}; if the first value "
        "of each feature is to count, set repeated_ids: first"
    )


def first_values(table: pa.Table) -> pa.Table:
    """Returns one row an item_id, in the order of their first rows, with the first value of each column that is there.

    An empty list is no value.
    """
    ids = table["item_id"].combine_chunks().dictionary_encode()
    item = ids.indices.to_numpy(zero_copy_only=False)
    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        there = pc.is_valid(column)
        if pa.types.is_list(column.type):
            there = pc.fill_null(pc.greater(pc.list_value_length(column), 0), False)
        rows = np.flatnonzero(there.to_numpy(zero_copy_only=False))
        found, first = np.unique(item[rows], return_index=True)
        position, missing = np.zeros(len(ids.dictionary), np.int64), np.ones(len(ids.dictionary), bool)
        position[found], missing[found] = rows[first], False
        columns[name] = column.take(pa.array(position, mask=missing))
    return pa.table(columns)


def unlisted(table: pa.Table, log_items: pa.Table, settings: CatalogueSettings, path: str) -> tuple[list[str], str]:
    """Returns the items of the log that `table` lacks, sorted, and a message where they are too many, else "".

    Args:
        table: The catalogue with item_id.
        log_items: item_id and events of the log.
        settings: Says how many are too many.
        path: The catalogue's files, for the message.
    """
    known = table["item_id"].combine_chunks()
    lacking = log_items.filter(pc.invert(pc.is_in(log_items["item_id"].combine_chunks(), value_set=known)))
    items = sorted(lacking["item_id"].to_pylist())
    events = pc.sum(log_items["events"]).as_py() or 0
    lost = pc.sum(lacking["events"]).as_py() or 0
    if not events or lost <= settings.max_unlisted_fraction * events:
        return items, ""
    return items, (
        f"{path} is a catalogue without the items of the log: it lacks {len(items):,} of {len(log_items):,} items with "
        f"{lost / events:.1%} of the events, more than max_unlisted_fraction {settings.max_unlisted_fraction:g} "
        f"allows; is item_id = {settings.item_id!r} the right column? Only in the log: {_some(items)}; "
        f"in the catalogue: {_some(known.to_pylist())}"
    )


def extended(table: pa.Table, items: list[str]) -> dict[str, pa.Array]:
    """Returns the catalogue's columns and LISTED, and a row for each of `items` at the end: the id, shown as itself."""
    columns: dict[str, pa.Array] = {}
    for name in table.column_names:
        if name == ORDER:
            continue
        column = table[name].combine_chunks()
        added = pa.array(items, pa.string()) if name in ("item_id", "display") else pa.nulls(len(items), column.type)
        columns[name] = pa.concat_arrays([column, added])
    columns[LISTED] = pa.array([1] * len(table) + [None] * len(items), pa.int64())
    return columns


def encoded(columns: Mapping[str, pa.Array], encoders: Mapping[str, Encode]) -> dict[str, pa.Array]:
    """Returns the columns with vectors, lists of float32, instead of the texts of these features; a missing text is
    encoded as an empty one, a missing vector is zeros."""
    vectors = {
        name: vector_lists(encode(pc.fill_null(columns[name], "").to_pylist())) for name, encode in encoders.items()
    }
    given = {
        name: vector_lists(_filled(column))
        for name, column in columns.items()
        if pa.types.is_fixed_size_list(column.type)
    }
    return {**columns, **vectors, **given}


def vector_lists(values: np.ndarray) -> pa.ListArray:
    """Returns vectors [n, E] float32 as the lists that are written."""
    offsets = pa.array(np.arange(len(values) + 1, dtype=np.int32) * values.shape[1])
    return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)))


def _filled(vectors: pa.FixedSizeListArray) -> np.ndarray:
    """Returns vectors [n, E] float32 with zeros for missing ones."""
    values = np.zeros((len(vectors), vectors.type.list_size), np.float32)
    values[np.asarray(pc.is_valid(vectors))] = (
        vectors.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, values.shape[1])
    )
    return values


def joined(tables: Iterable[pa.Table]) -> pa.Table:
    """Returns the tables as one; an empty one with item_id and display if there are none."""
    parts = list(tables)
    if parts:
        return pa.concat_tables(parts).combine_chunks()
    return pa.table({"item_id": pa.array([], pa.string()), "display": pa.array([], pa.string())})


def _shown(array: pa.Array, name: str) -> pa.Array:
    """Returns the values as a person writes them: a whole number without a decimal point."""
    if pa.types.is_floating(array.type):
        values = array.to_pylist()
        return pa.array([None if value is None or value != value else _number(value) for value in values], pa.string())
    return as_text(array, name)


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _some(items: list[str]) -> str:
    return ", ".join(map(repr, items[:_NAMED_IDS])) + (", …" if len(items) > _NAMED_IDS else "")
