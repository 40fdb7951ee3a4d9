"""A sample of a table's files: all rows of small files, of large ones those at the beginning and at places spread over
the rest.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

import numpy as np
import pyarrow as pa

from components.errors import InputError
from components.tables import reading
from components.tables.formats import TableSettings
from components.tables.row_report import Report, unreadable

SIZE = 16 << 20
"""Bytes of a table that are looked at."""

_PLACES = 32
_MAX_PARTS = 256
"""Of a Parquet file with few rows; each takes milliseconds."""
_BYTES_PER_ROW = 32
_MIN_SIZE = 16 << 10
_MAX_FILES = 1000
_HEAD_ROWS = 1000


@dataclass(frozen=True)
class Piece:
    """Some rows of a file that stand together."""

    file: reading.TableFile
    block: reading.Block
    start: int = 0
    """Where the rows stand, in bytes."""
    shift: int = 0
    """What was added to their numbers, which count from there, for the numbers that they may have in the file."""

    def numbered(self, report: Report) -> Report:
        """Returns a report on these rows with the numbers that they have in the file."""
        if not self.start or not report.samples:
            return report
        shift = reading.lines_before(self.file, self.start) - 1 - self.shift
        return replace(report, samples=[replace(sample, row=sample.row + shift) for sample in report.samples])


@dataclass
class Share:
    """How much of a table a sample is."""

    rows: int = 0
    """Rows that were read, or can't be."""
    whole: bool = True
    """Whether these are all there are."""
    of_all: Optional[float] = 0.0
    """About how many there are; None where that can't be told."""

    def scale(self, files: Sequence[reading.TableFile]) -> None:
        """Counts those of `files` that were not `chosen`."""
        looked_at = len(chosen(files))
        if looked_at < len(files):
            self.whole = False
            self.of_all = None if self.of_all is None else self.of_all * len(files) / looked_at


def chosen(files: Sequence[reading.TableFile]) -> Sequence[reading.TableFile]:
    """Returns the files to look at: all, or some spread over them where they are very many."""
    if len(files) <= _MAX_FILES:
        return files
    return [files[place] for place in np.linspace(0, len(files) - 1, _MAX_FILES).astype(int)]


@dataclass
class Sample:
    """Rows of a table."""

    tables: list[pa.Table] = field(default_factory=list)
    """What was made of them."""
    reports: list[Report] = field(default_factory=list)
    share: Share = field(default_factory=Share)
    head: dict[str, pa.Array] = field(default_factory=dict)
    """The first rows as they are in the file, by column."""


def read_table(
    files: Sequence[reading.TableFile],
    columns: Sequence[str],
    how: TableSettings,
    size: int,
    cleaned: Callable[[Piece, bool], tuple[pa.Table, Report]],
) -> Sample:
    """Reads a sample of a table. What is wrong with a file is a problem in its report.

    Args:
        files: Its files.
        columns: The columns to read.
        how: How they are read.
        size: How many bytes of text to read of all files, at most; all of them if they are not larger.
        cleaned: Makes a table of a piece, and a report; is told whether it is the first of its file.
    """
    sample, some = Sample(), chosen(files)
    for file in some:
        first = True
        try:
            for piece in read_file(file, columns, how, max(_MIN_SIZE, size // len(some)), sample.share):
                if not sample.head and len(piece.block.rows):
                    sample.head = {name: column[:_HEAD_ROWS] for name, column in piece.block.columns.items()}
                table, report = cleaned(piece, first)
                first = False
                sample.tables.append(table)
                sample.reports.append(piece.numbered(report))
        except InputError as error:
            sample.reports.append(unreadable(file.path, error))
            sample.share.whole = False
    sample.share.scale(files)
    return sample


def read_file(
    file: reading.TableFile, columns: Sequence[str], how: TableSettings, size: int, share: Share
) -> Iterator[Piece]:
    """Yields rows of a file: all of them if it is not larger than about `size` bytes.

    Args:
        file: What to read.
        columns: The columns to read.
        how: How it is read.
        size: How many bytes of text to read at most.
        share: To which is added what was read.

    Raises:
        InputError: The file is broken, or lacks a column.
    """
    sample = _text if file.format in ("csv", "jsonl") else _rows
    read, part = 0, _Part()
    for piece in sample(file, columns, how, size, part):
        count = len(piece.block.rows) + len(piece.block.malformed)
        read, share.rows = read + count, share.rows + count
        yield piece
    share.whole &= part.fraction == 1
    if share.of_all is not None:
        total = part.rows if part.rows is not None else read / part.fraction if part.fraction else None
        share.of_all = None if total is None else share.of_all + total


@dataclass
class _Part:
    """How much of a file was read."""

    fraction: Optional[float] = 1.0
    rows: Optional[int] = None


def _text(
    file: reading.TableFile, columns: Sequence[str], how: TableSettings, size: int, part: _Part
) -> Iterator[Piece]:
    lines = reading.has_lines(file, how)
    if lines and file.size > size:
        yield from _places(file, columns, how, size // _PLACES, part)
        return
    # Of what is compressed, a second block tells that there is more.
    for number, block in enumerate(reading.read_blocks(file, columns, how, place=reading.Place(size=size))):
        if number and not lines:
            part.fraction = None
            return
        yield Piece(file, block)


def _places(
    file: reading.TableFile, columns: Sequence[str], how: TableSettings, size: int, part: _Part
) -> Iterator[Piece]:
    part.fraction = size / file.size
    head = next(reading.read_blocks(file, columns, how, place=reading.Place(size=size)), None)
    if head is None:
        return
    yield Piece(file, head)
    last = _last_row(head)
    if reading.lines_before(file, size) - last not in (0, 1):
        return  # values hold line breaks: where a row begins can't be told
    density = last / size
    for start in np.linspace(0, file.size - size, _PLACES).astype(int).tolist()[1:]:
        try:
            block = next(reading.read_blocks(file, columns, how, place=reading.Place(start, size)), None)
        except InputError:  # it may begin inside of a value after all: that it is wrong is not for certain
            continue
        if block is not None:
            part.fraction += size / file.size
            shift = max(last, int(density * start))
            malformed = [replace(bad, row=bad.row + shift) for bad in block.malformed]
            block = reading.Block(block.rows + shift, block.columns, malformed)
            last = _last_row(block)
            yield Piece(file, block, start, shift)


def _rows(
    file: reading.TableFile, columns: Sequence[str], how: TableSettings, size: int, part: _Part
) -> Iterator[Piece]:
    """Yields the beginnings of some of the parts of a file, spread over it."""
    parts = reading.parts(file)
    whole, left = 0, size // _BYTES_PER_ROW
    most = _MAX_PARTS if (reading.count_rows(file) or left) <= left else _PLACES
    few = sorted({*np.linspace(0, len(parts) - 1, min(most, len(parts))).astype(int).tolist()})
    for place, number in enumerate(few):
        rest, complete = left // (len(few) - place), True
        for block in reading.read_blocks(file, columns, how, parts[number]):
            complete = len(block.rows) <= rest
            if rest:
                block = _beginning(block, rest)
                yield Piece(file, block)
            rest, left = rest - len(block.rows), left - len(block.rows)
            if not complete:
                break
        whole += complete
    if whole < len(parts):
        part.rows = reading.count_rows(file)
        part.fraction = None


def _last_row(block: reading.Block) -> int:
    return max([*block.rows[-1:].tolist(), *(bad.row for bad in block.malformed[-1:])])


def _beginning(block: reading.Block, rows: int) -> reading.Block:
    columns = {name: column[:rows] for name, column in block.columns.items()}
    return reading.Block(block.rows[:rows], columns, block.malformed)
