"""Days of a made shop: what Guards is given."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl

from components.guards.checks import DAY
from components.guards.profile import Profile, compared
from components.log_profile import LogProfile

NOW = datetime.datetime(2026, 3, 2, 3, 0)
"""A Monday at night."""
LAST = (datetime.datetime(2026, 3, 1, 23, 0) - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)
"""The newest event is of Sunday evening."""
TODAY = LAST // DAY


def days(count: int = 60, last: int = TODAY, sunday: int = 40, other: int = 100) -> dict[int, int]:
    """Events by day: fewer on Sundays. The epoch was a Thursday."""
    return {day: sunday if day % 7 == 3 else other for day in range(last - count + 1, last + 1)}


def log(**changes: Any) -> LogProfile:
    """A log of 60 days, 5,480 events by 500 users of 200 items."""
    made: dict[str, Any] = {
        "events": 5_480,
        "users": 500,
        "items": 200,
        "user": ("ann", 50),
        "item": ("film", 200),
        "first": (TODAY - 59) * DAY,
        "last": LAST,
        "days": days(),
        "sample": dict.fromkeys(range(200), 27),
    }
    return LogProfile(**{**made, **changes})


def profile(made: LogProfile | None = None, **changes: Any) -> Profile:
    """The profile of a log, with a catalogue of 180 items and without features."""
    known: dict[str, Any] = {"log": made or log(), "listed": 180, "unlisted": 0.02, "features": {}}
    return Profile(**{**known, **changes})


def statistics(columns: Mapping[str, Sequence[Any]]) -> Any:
    """TFDV's statistics of columns of single values, None where one is missing, as a profile has them."""
    table = pa.table(
        {name: pa.array([None if value is None else [value] for value in values]) for name, values in columns.items()}
    )
    [batch] = table.combine_chunks().to_batches()
    return compared(stats_impl.generate_statistics_in_memory(batch, tfdv.StatsOptions()))
