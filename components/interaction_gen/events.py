"""From blocks of the log to clean, typed events: unusable rows are rejected with a reason, unwanted ones dropped."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.errors import InputError
from components.examples.interactions import FOR_GOOD, PLACE
from components.examples.reading import Columns, scalars
from components.hashing import hash_text
from components.interaction_gen.log import UNITS, Log, user_columns, users_of
from components.interaction_gen.settings import InteractionSettings, Users
from components.interaction_gen.spread import PLACE_BITS, ROWS_SPREAD, only_clicked, spread_out
from components.suppression import Suppression
from components.tables.columns import as_text, mask
from components.tables.reading import Block, TableFile
from components.tables.row_report import ROWS_OF_USERS, Report
from components.tables.rows import (
    FILE_BITS,
    ORDER,
    Verdicts,
    check_text,
    drop_first_header,
    drop_headers,
    file_start,
    place,
    read_features,
    read_ids,
    read_numbers,
    report_malformed,
)
from components.tables.times import NO_OFFSETS, OFFSETS, ROUGH_TIMES, as_times, offsets, rough

_MOST_TYPES = 100
FORGOTTEN = "of users who are forgotten"
"""The rule by which their rows are left out."""
NEGATIVE = "#negative"
"""Internal column, where events may be negative: whether one is, bool."""
FINAL = "#final"
"""Likewise: whether one is that nothing takes back, bool."""
EVALUATION = "#evaluation"
"""Internal column: whether the event comes from the evaluation files, bool."""
KNOWN = "#known"
"""Internal column, where a log is read on: whether the event is of before, bool."""
_BEFORE = -(1 << FILE_BITS)
"""Stands before what is in files that are read."""


def clean(
    block: Block, file: TableFile, settings: InteractionSettings, unit: str, evaluation: bool
) -> tuple[pa.Table, Report]:
    """Returns the usable and wanted events of a block, and what was counted.

    Args:
        block: Rows with the columns of `settings.log_columns()`.
        file: Where they come from.
        settings: The rules.
        unit: Unit of numeric timestamps, or iso.
        evaluation: Whether the file was given as evaluation data.

    Returns:
        A table with user_id, item_id (text), timestamp (int64 microseconds), #order (int64), weight (float32),
        rating (float32) and event (text) where configured, the event's features, #evaluation (bool), and, where events
        may be negative, #negative and #final (bool).

    Raises:
        InputError: A column has a type that can't be meant.
    """
    columns = settings.columns
    report = Report(rows=len(block.rows) + len(block.malformed))
    report_malformed(report, block, file)
    order, later = place(file, block), np.zeros(1, np.int64)
    if settings.spread:
        block, order, later = _spread(block, file, settings, report)
    verdicts = Verdicts(size := len(block.rows))
    check_text(block, verdicts)
    drop_headers(block, verdicts)
    if settings.clicked is not None:
        block = only_clicked(block, columns.item_id, settings.clicked, verdicts)
    arrays: dict[str, pa.Array] = {}
    # Of several reasons against a row the first one counts.
    if columns.event is not None:
        arrays["event"] = _read_types(block, columns.event, settings, verdicts)
    user, item = (read_ids(block, column, verdicts) for column in (columns.user_id, columns.item_id))
    drop_first_header(block, (user, item), settings, verdicts)
    if columns.timestamp is not None:
        time = _read_times(block, columns.timestamp, unit, settings, verdicts, report) + later
    else:  # the rows of an evaluation file are queries of one moment, after training: none is in another's history
        time = np.full(size, file_start(file)) + later if evaluation else order
    if columns.rating is not None:
        arrays["rating"] = _read_ratings(block, columns.rating, settings, verdicts)
    own = np.ones(size) if columns.weight is None else _read_weights(block, columns.weight, settings, verdicts)
    weight, negative = _weights(arrays, settings, own)
    arrays = {
        "user_id": user,
        "item_id": item,
        "timestamp": pa.array(time),
        ORDER: pa.array(order),
        "weight": pa.array(weight),
        **arrays,
        **read_features(block, settings.features, settings, verdicts),
        EVALUATION: pa.array(np.full(size, evaluation)),
    }
    if settings.has_negatives:
        final = _of_types(arrays, settings.never_again, size)
        arrays |= {NEGATIVE: pa.array(negative | final), FINAL: pa.array(final)}
    verdicts.report(report, block, file)
    return pa.table(arrays).filter(pa.array(verdicts.kept())), report


def _spread(
    block: Block, file: TableFile, settings: InteractionSettings, report: Report
) -> tuple[Block, np.ndarray, np.ndarray]:
    """Returns a block of a row for each item, the #order of these, and by how many microseconds each is later than its
    row's time, int64 [m] each; and counts both kinds of rows."""
    if block.rows.max(initial=0) >= 1 << (FILE_BITS - PLACE_BITS):
        raise InputError(
            f"{file.path} has more than {1 << (FILE_BITS - PLACE_BITS):,} rows, too many to be spread: cut it in parts"
        )
    verdicts = Verdicts(len(block.rows))
    check_text(block, verdicts)
    spread, at, lists = spread_out(block, settings, verdicts)
    verdicts.report(report, block, file)
    report.facts[ROWS_SPREAD] += len(block.rows)
    report.rows += len(spread.rows) - int(verdicts.kept().sum())
    own_times = settings.columns.timestamp in lists
    return (
        spread,
        file_start(file) + (spread.rows << PLACE_BITS) + at,
        np.zeros_like(at) if own_times else at,
    )


def clean_users(block: Block, file: TableFile, users: Users) -> tuple[pa.Table, Report]:
    """Returns the usable rows of a block of the users' table: user_id, the features, and #order.

    The report counts its rows as facts, not as rows of the log.
    """
    report = Report(rows=len(block.rows) + len(block.malformed))
    verdicts = Verdicts(len(block.rows))
    report_malformed(report, block, file)
    check_text(block, verdicts)
    drop_headers(block, verdicts)
    ids = read_ids(block, users.id, verdicts)
    drop_first_header(block, (ids,), users, verdicts)
    arrays = {
        "user_id": ids,
        **read_features(block, users.features, users, verdicts),
        ORDER: pa.array(place(file, block)),
    }
    verdicts.report(report, block, file)
    report.rows, report.facts[ROWS_OF_USERS] = 0, report.rows
    return pa.table(arrays).filter(pa.array(verdicts.kept())), report


def of_before(columns: Columns, settings: InteractionSettings, negative: bool) -> pa.Table:
    """Returns events that were examples before, as `clean` gave them then, but for the features; all are `KNOWN`.

    Args:
        columns: What the examples have of `features_of_before`.
        settings: The rules.
        negative: Whether they are negative events.
    """
    size = len(columns)
    arrays = {
        **{name: pa.array(scalars(columns, name)).cast(pa.string()) for name in ("user_id", "item_id")},
        "timestamp": pa.array(scalars(columns, "timestamp")),
        ORDER: pa.array(_BEFORE + scalars(columns, PLACE)),
        "weight": pa.array(scalars(columns, "weight")),
        EVALUATION: pa.array(np.zeros(size, dtype=bool)),
        KNOWN: pa.array(np.ones(size, dtype=bool)),
    }
    if settings.columns.event is not None:
        arrays["event"] = pa.array(scalars(columns, "event")).cast(pa.string())
    if settings.has_negatives:
        arrays[NEGATIVE] = pa.array(np.full(size, negative))
        arrays[FINAL] = pa.array(scalars(columns, FOR_GOOD) > 0 if negative else np.zeros(size, dtype=bool))
    return pa.table(arrays)


def features_of_before(settings: InteractionSettings, negative: bool) -> dict[str, type]:
    """Returns what `of_before` reads of examples."""
    types = {"user_id": bytes, "item_id": bytes, "timestamp": int, PLACE: int, "weight": float}
    types |= {"event": bytes} if settings.columns.event is not None else {}
    return types | ({FOR_GOOD: int} if negative else {})


def no_users(log: Log) -> pa.Table:
    """Returns a users' table without rows, as `clean_users` makes it."""
    columns = {column: pa.array([], pa.string()) for column in user_columns(log.settings)}
    return clean_users(Block(np.empty(0, np.int64), columns), log.user_files[0], users_of(log.settings))[0]


def without_suppressed(table: pa.Table, report: Report, suppression: Suppression) -> tuple[pa.Table, Report]:
    """Returns the rows of other users, and the report, which counts those whose users are forgotten, and whose lines
    name none of them."""
    forgotten = suppression.among(table["user_id"].combine_chunks())
    if forgotten.any():
        report.dropped[FORGOTTEN] += int(forgotten.sum())
        table = table.filter(pa.array(~forgotten))
    report.samples = [
        replace(sample, line="") if any(map(suppression.has, _values(sample.line))) else sample
        for sample in report.samples
    ]
    return table, report


def _values(line: str) -> Iterator[str]:
    """What may be values in a line of any format: between quotes, between what separates values, and all of it."""
    yield line
    for part in (*re.findall(r'"([^"]*)"', line), *re.split(r"[,;|\t:{}\[\]]", line)):
        yield part
        yield part.strip().strip("\"'")


def by_partition(table: pa.Table, partitions: int) -> Iterator[tuple[int, pa.Table]]:
    """Yields the table's rows by a stable hash of their user_id, in `partitions` parts; empty parts are left out."""
    if not len(table):
        return
    if partitions == 1:
        yield 0, table
        return
    encoded = table["user_id"].combine_chunks().dictionary_encode()
    hashes = hash_text(encoded.dictionary) % np.uint64(partitions)
    part = hashes[encoded.indices.to_numpy(zero_copy_only=False)]
    by_part = np.argsort(part, kind="stable")
    bounds = np.searchsorted(part[by_part], np.arange(partitions + 1))
    for number in range(partitions):
        if bounds[number] < bounds[number + 1]:
            yield number, table.take(pa.array(by_part[bounds[number] : bounds[number + 1]]))


def _read_types(block: Block, column: str, settings: InteractionSettings, verdicts: Verdicts) -> pa.StringArray:
    """Returns the types of the events; rows without one are rejected, those of unlisted types dropped."""
    types = as_text(block.columns[column], column)
    verdicts.reject(mask(pc.is_null(types)), f"{column} is missing")
    if settings.event_weights:
        by_look = {name.strip().casefold(): name for name in settings.weight_of_type}
        listed = pc.is_in(types, value_set=pa.array(list(settings.weight_of_type), pa.string()))
        others = ~mask(listed)
        for name in pc.unique(types.filter(pa.array(others)))[:_MOST_TYPES].drop_null().to_pylist():
            if like := by_look.get(name.strip().casefold()):
                alike = mask(pc.equal(types, name))
                verdicts.drop(alike, f"of type {name!r}, which event_weights has as {like!r}")
                others &= ~alike
        verdicts.drop(others, "of a type not in event_weights")
    return types


def _read_times(
    block: Block, column: str, unit: str, settings: InteractionSettings, verdicts: Verdicts, report: Report
) -> np.ndarray:
    """Returns int64 [n] microseconds; rows without a time are rejected, times without seconds or offset counted."""
    if lost := rough(block.columns[column]):
        report.facts[ROUGH_TIMES] += lost
    form, zone = settings.timestamp_format, settings.timezone
    if unit == "iso" and form is None:
        for fact, count in zip((OFFSETS, NO_OFFSETS), offsets(block.columns[column])):
            report.facts[fact] += count
    time, missing, bad = as_times(block.columns[column], unit, column, form, zone, settings)
    verdicts.reject(missing, f"{column} is missing")
    read_as = f"read as {UNITS.get(unit, settings.timestamp_format)}"
    hint = "; see timestamp_format" if unit == "iso" else ""
    if form is not None and "%Z" in form and zone is None:
        hint = "; see timezone"
    verdicts.reject(bad, f"{column} is not a time between 1900 and 2200 ({read_as}{hint})")
    if settings.earliest_year is not None:
        earliest = np.datetime64(f"{settings.earliest_year:04}-01-01", "us").astype(np.int64)
        verdicts.reject(
            ~missing & ~bad & (time < earliest), f"{column} is before {settings.earliest_year} (earliest_year)"
        )
    return time


def _read_ratings(block: Block, column: str, settings: InteractionSettings, verdicts: Verdicts) -> pa.Array:
    """Returns the ratings; rows without one are rejected or dropped, those below the least wanted dropped."""
    rating, missing, _ = read_numbers(block, column, settings, verdicts)
    (verdicts.drop if settings.drop_unrated else verdicts.reject)(missing, f"{column} is missing")
    if settings.min_rating is not None:
        verdicts.drop(rating < settings.min_rating, f"rated below min_rating {settings.min_rating:g}")
    return pa.array(rating.astype(np.float32))


def _read_weights(block: Block, column: str, settings: InteractionSettings, verdicts: Verdicts) -> np.ndarray:
    """Returns float64 [n], what the log says of the events' own weights; rows without one are rejected."""
    value, missing, _ = read_numbers(block, column, settings, verdicts)
    verdicts.reject(missing, f"{column} is missing")
    verdicts.drop(value <= 0, f"with a {column} of 0 or less")
    return np.maximum(np.nan_to_num(value), 0)


def _weights(
    arrays: Mapping[str, pa.Array], settings: InteractionSettings, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns float32 [n], the event's `own` weight times what that of its type and of the listed rating nearest to its
    come to, and bool [n], which of them have one of these below 0."""
    weight = (np.log1p(own) if settings.weight_transform == "log" else own).astype(np.float32)
    negative = np.zeros(len(weight), dtype=bool)
    factors = []
    if settings.event_weights:
        by_type = settings.weight_of_type
        types = pa.array(list(by_type), pa.string())
        weights = pa.array(list(by_type.values()), pa.float32())
        factors.append(pc.fill_null(weights.take(pc.index_in(arrays["event"], value_set=types)), 1.0).to_numpy())
    if settings.rating_weights:
        ratings, weights = np.array(sorted(settings.rating_weights.items()), dtype=np.float32).T
        # `left`: a rating half-way between two belongs to the lower.
        nearest = np.searchsorted((ratings[1:] + ratings[:-1]) / 2, arrays["rating"].to_numpy(), side="left")
        factors.append(weights[nearest])
    for factor in factors:
        weight *= np.abs(factor)
        negative |= factor < 0
    return weight, negative


def _of_types(arrays: Mapping[str, pa.Array], types: Sequence[str], size: int) -> np.ndarray:
    """Returns which of `size` events are of one of `types`, bool [n]."""
    if not types:
        return np.zeros(size, dtype=bool)
    return mask(pc.is_in(arrays["event"], value_set=pa.array(types, pa.string())))
