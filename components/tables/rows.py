"""Judging the rows of a table: which can't be used and why, which a rule leaves out, what the others hold."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.errors import InputError
from components.tables.columns import as_lists, as_numbers, as_text, like_a_price, mask, no_list, not_utf8, objects
from components.tables.contents import WORDS
from components.tables.features import Feature, ItemFeature, column_of
from components.tables.formats import TableSettings
from components.tables.reading import Block, TableFile
from components.tables.row_report import Report
from components.tables.vectors import as_vectors

ORDER = "#order"
"""Internal column: the place of the row in the table's files, int64; `#` keeps it apart from the features."""

_LINE = r"^\s*:?-{3,}:?\s*$"

_ROWS_BELOW = 5
"""So many show what ids look like."""

FILE_BITS = 40
"""2^40 rows a file, 2^23 files."""


class Verdicts:
    """For each row of a block the first reason against it, if any."""

    def __init__(self, size: int):
        self._reasons: list[str] = [""]
        self._verdicts = np.zeros(size, dtype=np.int32)
        self._dropping: list[bool] = [False]

    def reject(self, bad: np.ndarray, reason: str) -> None:
        """Says that the rows in `bad` (bool [n]) can't be used."""
        self._against(bad, reason, drop=False)

    def drop(self, unwanted: np.ndarray, rule: str) -> None:
        """Says that a rule leaves out the rows in `unwanted` (bool [n])."""
        self._against(unwanted, rule, drop=True)

    def _against(self, rows: np.ndarray, reason: str, drop: bool) -> None:
        if rows.any():
            self._reasons.append(reason)
            self._dropping.append(drop)
            self._verdicts[rows & (self._verdicts == 0)] = len(self._reasons) - 1

    def kept(self) -> np.ndarray:
        """Returns where nothing speaks against the row; bool [n]."""
        return self._verdicts == 0

    def report(self, report: Report, block: Block, file: TableFile) -> None:
        """Adds the verdicts to `report`."""
        for verdict in range(1, len(self._reasons)):
            rows = np.flatnonzero(self._verdicts == verdict)
            if self._dropping[verdict]:
                report.dropped[self._reasons[verdict]] += len(rows)
                continue
            for row in rows:
                values = [column[int(row)].as_py() for column in block.columns.values()]
                line = ",".join("" if value is None else str(value) for value in values)
                report.reject(
                    file.number, file.path, int(block.rows[row]), self._reasons[verdict], line, 1 + line.count("\n")
                )


def read_numbers(
    block: Block, column: str, how: TableSettings, verdicts: Verdicts
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns a column of numbers as `as_numbers` does; rows with something else are rejected."""
    array = block.columns[column]
    values, missing, bad = as_numbers(array, column, how)
    if bad.any():
        hint = " as it is written (see units, thousands and decimal)" if like_a_price(array, bad) else ""
        if (
            not hint
            and pc.any(pc.is_in(pc.utf8_lower(as_text(array, column)), value_set=pa.array(sorted(WORDS)))).as_py()
        ):
            hint = " (see missing)"
        verdicts.reject(bad, f"{column} is not a number{hint}")
    huge = np.abs(np.nan_to_num(values)) > np.finfo(np.float32).max
    verdicts.reject(huge, f"{column} is larger than {np.finfo(np.float32).max:.1e}")
    return np.where(huge, np.nan, values), missing, bad | huge


def read_features(
    block: Block, features: Mapping[str, Feature], how: TableSettings, verdicts: Verdicts
) -> dict[str, pa.Array]:
    """Returns the side features of a block by name: text, float32, lists of text or vectors, null where missing."""
    arrays: dict[str, pa.Array] = {}
    for name, feature in features.items():
        column = column_of(name, feature)
        if feature.type == "number":
            values, missing, bad = read_numbers(block, column, how, verdicts)
            arrays[name] = pa.array(values.astype(np.float32), mask=missing | bad)
        elif feature.type == "categories":
            arrays[name], bad = as_lists(block.columns[column], feature.separator, column)
            verdicts.reject(bad, no_list(column))
        elif isinstance(feature, ItemFeature) and feature.type == "vector":
            assert feature.dim is not None  # looked up, or told, before
            arrays[name], wrong = as_vectors(block.columns[column], feature.dim, column, how)
            for reason, bad in wrong.items():
                verdicts.reject(bad, reason)
        else:
            arrays[name] = as_text(block.columns[column], column)
            if feature.type == "category":
                verdicts.reject(objects(arrays[name]), f"{column} is an object: name a key, as {column}.key")
    return arrays


def check_text(block: Block, verdicts: Verdicts) -> None:
    """Rejects the rows with bytes that are not UTF-8."""
    for name, column in block.columns.items():
        verdicts.reject(not_utf8(column), f"{name} is not UTF-8 (see encoding)")


def drop_headers(block: Block, verdicts: Verdicts) -> None:
    """Drops rows that are the header again, as where files were joined, and a line below it, as Markdown has one.

    All that they hold are the names of their columns, or dashes.

    Raises:
        InputError: A row has the names in another order, so that what follows it has other columns.
    """
    texts = {name: column for name, column in block.columns.items() if pa.types.is_string(column.type)}
    if len(texts) < len(block.columns):
        return  # no text at all has numbers
    first = next(iter(texts.values()))
    names = pa.array(list(texts))
    if not pc.any(pc.or_(pc.is_in(first, value_set=names), pc.match_substring(first, "---"))).as_py():
        return  # as in nearly all blocks; patterns take time
    moved = np.logical_and.reduce([mask(pc.is_in(column, value_set=names)) for column in texts.values()])
    for row in np.flatnonzero(moved):
        values = [column[int(row)].as_py() for column in texts.values()]
        if values != list(texts) and sorted(values) == sorted(texts):
            raise InputError(
                f"row {block.rows[row]} is a header with its columns in another order: cut the file in two there"
            )
    rules: dict[str, Callable[[str, pa.Array], pa.BooleanArray]] = {
        "that are the header again": lambda name, column: pc.equal(column, name),
        "that are a line below a header": lambda _, column: pc.match_substring_regex(column, _LINE),
    }
    for rule, alike in rules.items():
        rows = np.ones(len(block.rows), dtype=bool)
        for name, column in texts.items():
            rows &= mask(alike(name, column))
            if not rows.any():
                break
        verdicts.drop(rows, rule)


def drop_first_header(block: Block, ids: Sequence[pa.StringArray], how: TableSettings, verdicts: Verdicts) -> None:
    """Drops a first row that is a header, other than `names`, which say that there is none.

    It has the name of a column as its value, or its ids are words without digits, which those below have.

    Args:
        block: The rows.
        ids: Their columns of ids.
        how: How the table is read.
        verdicts: Of the rows.
    """
    first = block.rows == 1
    if how.names is None or not first.any():
        return
    names = (
        (str(value.as_py()).strip().casefold(), name.casefold())
        for name, column in block.columns.items()
        for value in column.filter(pa.array(first))
    )
    digits = [mask(pc.match_substring_regex(each, r"\d")) for each in ids]
    if any(value == name for value, name in names) or (
        (~first).sum() >= _ROWS_BELOW
        and not any(has[first].any() for has in digits)
        and any(has[~first].all() for has in digits)
    ):
        verdicts.drop(first, "that look like a header (leave out names)")


def read_ids(block: Block, column: str, verdicts: Verdicts) -> pa.StringArray:
    """Returns a column of ids; rows without one, or with a line break in it, are rejected."""
    ids = as_text(block.columns[column], column)
    verdicts.reject(mask(pc.is_null(ids)), f"{column} is missing")
    broken = pc.or_(pc.match_substring(ids, "\n"), pc.match_substring(ids, "\r"))
    verdicts.reject(mask(broken), f"{column} has a line break")
    return ids


def report_malformed(report: Report, block: Block, file: TableFile) -> None:
    """Counts the block's rows that could not be cut into columns."""
    for bad in block.malformed:
        report.reject(file.number, file.path, bad.row, bad.reason, bad.text, bad.lines)


def place(file: TableFile, block: Block) -> np.ndarray:
    """Returns the #order of the block's rows, int64 [n]: the file's number, then the row's."""
    return file_start(file) + block.rows


def file_start(file: TableFile) -> np.int64:
    """Returns what no #order of the file's rows is below."""
    return np.int64(file.number) << FILE_BITS


def row_of(order: int) -> int:
    """Returns the row number in an #order."""
    return order & ((1 << FILE_BITS) - 1)
