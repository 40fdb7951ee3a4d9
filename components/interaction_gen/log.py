"""Finding out, before any row is read, what InteractionGen will read and how."""

import datetime
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Optional

import pyarrow as pa
import pyarrow.compute as pc
import pydantic

from components.errors import InputError
from components.interaction_gen.settings import InteractionSettings, Users
from components.interaction_gen.split import Cut
from components.interaction_gen.spread import flat
from components.suppression import Suppression
from components.tables import reading
from components.tables.features import column_of
from components.tables.times import guess_time_unit

UNITS = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "days": "days",
    "excel": "days of a spreadsheet",
    "iso": "ISO 8601",
}
"""The units of times in words."""

_PEEK_ROWS = 1000
_PARTITION_BYTES = 64 << 20
_EXPANSION = {"parquet": 4}
"""About how much larger a file's content is as CSV."""
_COMPRESSED_EXPANSION = 5


@dataclass(frozen=True)
class Log:
    """What is read, and how."""

    settings: InteractionSettings
    files: tuple[reading.TableFile, ...]
    """The log's files, the training ones first."""
    eval_files: frozenset[str]
    """Paths of those that are evaluation data."""
    user_files: tuple[reading.TableFile, ...]
    unit: str
    """Unit of numeric timestamps, iso, or form where a format is given."""
    cut: Optional[Cut]
    """The cut, where it is given and needn't be found."""
    partitions: int
    excluded_types: tuple[str, ...] = ()
    """Types of events whose items answers leave out, if it goes by types."""
    known: tuple[tuple[str, bool], ...] = ()
    """Files of the examples of before, where the log is read on, and whether these are negative events."""
    suppression: Optional[Suppression] = None
    """Users whose events are not read; None where there are none."""


def parse_settings(text: str) -> InteractionSettings:
    """Returns the settings in the JSON `text`.

    Raises:
        InputError: They are wrong.
    """
    try:
        return InteractionSettings.model_validate_json(text)
    except pydantic.ValidationError as error:
        raise InputError(f"settings of InteractionGen: {error}") from error


def inspect(
    settings: InteractionSettings,
    input_path: str,
    users_path: str,
    cutoff: str,
    excluded_types: Sequence[str] = (),
    read: Collection[str] = (),
    known: Sequence[tuple[str, bool]] = (),
    suppression: Optional[Suppression] = None,
) -> Log:
    """Finds the files, checks the columns of the first of each kind, and settles unit, cut and partitions.

    Args:
        settings: How the log looks.
        input_path: Its files, a path or a glob.
        users_path: The users' files.
        cutoff: Where the evaluation part begins; empty as the settings say.
        excluded_types: Types of events whose items answers leave out.
        read: Paths of files that are left out, for they were read before.
        known: See `Log.known`.
        suppression: See `Log.suppression`.

    Raises:
        InputError: A file or a column is missing, or settings don't fit each other.
    """
    files = reading.find_files(input_path, settings.format, "interactions")
    files = [file for file in files if file.path not in read]
    if not files:
        raise InputError(f"interactions: {input_path} has no file that was not read before")
    eval_files: list[reading.TableFile] = []
    if settings.split.eval_path is not None:
        eval_files = reading.find_files(settings.split.eval_path, settings.format, "evaluation data", len(files))
        both = {file.path for file in files} & {file.path for file in eval_files}
        if both:
            raise InputError(f"{min(both)} is both training and evaluation data: see input_path and split.eval_path")
    for some in filter(None, (files, eval_files)):
        reading.check_table(some, list(settings.log_columns().values()), settings, each=False)
    user_files: list[reading.TableFile] = []
    if users_path:
        if settings.users is None:
            raise InputError(f"users_path is {users_path}, but settings.users doesn't say what to read from it")
        user_files = reading.find_files(users_path, settings.users.format, "users")
        reading.check_table(user_files, user_columns(settings), settings.users, each=False)
    elif settings.users is not None:
        raise InputError("settings.users is given, but users_path is not")
    return Log(
        settings=settings,
        files=(*files, *eval_files),
        eval_files=frozenset(file.path for file in eval_files),
        user_files=tuple(user_files),
        unit=_unit(settings, files),
        cut=_given_cut(settings, cutoff),
        partitions=settings.partitions or _partitions([*files, *eval_files], [path for path, _ in known]),
        excluded_types=tuple(excluded_types),
        known=tuple(known),
        suppression=suppression,
    )


def check_unit(block: reading.Block, file: reading.TableFile, log: Log) -> None:
    """Raises an InputError where the times of a file's first block are in another unit than those of the first file.

    Milliseconds that are read as seconds are in no year, but seconds that are read as milliseconds are in 1970.
    """
    column = log.settings.columns.timestamp
    if column is None or log.settings.timestamp_unit != "auto" or log.unit == "form" or not len(block.rows):
        return
    times = block.columns[column][:_PEEK_ROWS]
    if log.settings.spread:
        times = flat(times, log.settings.separator)
    if pa.types.is_temporal(times.type):
        return
    unit = guess_time_unit(times, column, True, log.settings)
    if unit != log.unit and pc.any(pc.is_valid(times)).as_py():
        raise InputError(
            f"column {column!r} looks like {UNITS[unit]}, but that of {log.files[0].path} like {UNITS[log.unit]}: give "
            "all files the same, or set timestamp_unit"
        )


def user_columns(settings: InteractionSettings) -> list[str]:
    """Returns the columns to read from the users' table."""
    users = users_of(settings)
    return list({users.id: None} | {column_of(*pair): None for pair in users.features.items()})


def users_of(settings: InteractionSettings) -> Users:
    """Returns the settings of the users' table, which are there wherever it is read."""
    assert settings.users is not None
    return settings.users


def _unit(settings: InteractionSettings, files: list[reading.TableFile]) -> str:
    column = settings.columns.timestamp
    if column is None:
        return "us"
    if settings.timestamp_unit != "auto":
        return settings.timestamp_unit
    if settings.timestamp_format is not None:
        return "form"
    for file in files:
        for block in reading.read_blocks(file, [column], settings):
            if len(block.rows):
                try:
                    times = block.columns[column]
                    times = flat(times, settings.separator) if settings.spread else times
                    return guess_time_unit(times, column, how=settings)
                except InputError as error:
                    raise InputError(f"{file.path}: {error}") from None
    return "iso"


def _given_cut(settings: InteractionSettings, cutoff: str) -> Optional[Cut]:
    if not cutoff:
        return None
    if settings.split.method != "time" or settings.columns.timestamp is None:
        raise InputError(f"cutoff {cutoff} needs split.method time and columns.timestamp")
    try:
        moment = datetime.datetime.fromisoformat(cutoff.replace("Z", "+00:00"))
    except ValueError as error:
        raise InputError(f"cutoff {cutoff!r} is no ISO 8601 time such as 2024-05-31 or 2024-05-31T12:00:00Z") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return Cut((moment - epoch) // datetime.timedelta(microseconds=1))


def _partitions(files: list[reading.TableFile], known: Sequence[str]) -> int:
    # Of examples, which are compressed, little more than the ids is read.
    size = sum(match.size for path in known for match in reading.match_files(path))
    for file in files:
        compressed = file.path.endswith((".gz", ".bz2", ".zst"))
        size += file.size * (_COMPRESSED_EXPANSION if compressed else _EXPANSION.get(file.format, 1))
    return min(10_000, math.ceil(size / _PARTITION_BYTES))
