"""Judging the rows of a table: which can't be used and why, which a rule leaves out, what the others hold."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.tables.columns import as_lists, as_numbers, as_text, like_a_price, mask, not_utf8, objects
from components.tables.features import Feature, column_of
from components.tables.formats import TableSettings
from components.tables.reading import Block, TableFile
from components.tables.row_report import Report

ORDER = "#order"
"""Internal column: the place of the row in the table's files, int64; `#` keeps it apart from the features."""

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
        verdicts.reject(bad, f"{column} is not a number{hint}")
    return values, missing, bad


def read_features(
    block: Block, features: Mapping[str, Feature], how: TableSettings, verdicts: Verdicts
) -> dict[str, pa.Array]:
    """Returns the side features of a block by name: text, float32 or lists of text, null where missing."""
    arrays: dict[str, pa.Array] = {}
    for name, feature in features.items():
        column = column_of(name, feature)
        if feature.type == "number":
            values, missing, bad = read_numbers(block, column, how, verdicts)
            arrays[name] = pa.array(values.astype(np.float32), mask=missing | bad)
        elif feature.type == "categories":
            arrays[name], bad = as_lists(block.columns[column], feature.separator, column)
            verdicts.reject(bad, f"{column} is a list of lists or of objects: of objects name a key, as {column}.key")
        else:
            arrays[name] = as_text(block.columns[column], column)
            if feature.type == "category":
                verdicts.reject(objects(arrays[name]), f"{column} is an object: name a key, as {column}.key")
    return arrays


def check_text(block: Block, verdicts: Verdicts) -> None:
    """Rejects the rows with bytes that are not UTF-8."""
    for name, column in block.columns.items():
        verdicts.reject(not_utf8(column), f"{name} is not UTF-8 (see encoding)")


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
