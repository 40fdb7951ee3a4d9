"""What columns that are not read may say."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pytest

from components.tables.formats import TableSettings
from pipeline.data.init.roles import guess_roles
from pipeline.data.init.unread import warnings
from pipeline.data.profile import profile

LOG = {
    "user_id": [f"u{n % 5}" for n in range(60)],
    "item_id": [f"i{n % 7}" for n in range(60)],
    "timestamp": [str(1_600_000_000 + 9 * n) for n in range(60)],
}
DAYS = [f"2020-09-{1 + n // 2:02d}" for n in range(60)]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"clicked": ["0", "1"] * 30}, r"rows with 0 .* set columns.rating: clicked and min_rating: 1"),
        ({"vote": [-1, 1] * 30}, r"rows with -1 .* set columns.rating: vote and rating_weights: {-1: -1, 1: 1}"),
        ({"liked": ["False", "True"] * 30}, r"with False .* set columns.event: liked and event_weights: {'True': 1}"),
        ({"liked": [False, True] * 30}, r"set columns.event: liked and event_weights: {'true': 1}"),
        ({"state": ["a", "b", "canceled"] * 20}, r"rows with 'canceled' in it .*: set columns.event: state"),
        ({"quantity": [1, 2, -1] * 20}, r"quantity is not read, and below 0 in 33.3% of the rows"),
        ({"timestamp": DAYS, "hour": ["10:30", "9:15"] * 30}, r"timestamp has the day alone, and hour, .* time of day"),
        ({"timestamp": DAYS, "TRANS_TIME": ["1631", "905"] * 30}, r"timestamp has the day alone, and TRANS_TIME, "),
        ({"timestamp": DAYS, "pages": ["1631", "905"] * 30}, None),
        ({"hour": ["10:30", "9:15"] * 30}, None),
        ({"pages": [1, 2, 3] * 20, "shop": ["a", "b", "c"] * 20}, None),
        ({"same": ["0"] * 60}, None),
    ],
)
def test_what_speaks_against_events_is_said(columns: dict[str, list[Any]], said: str | None) -> None:
    profiles = {name: profile(pa.array(values), TableSettings()) for name, values in {**LOG, **columns}.items()}
    roles = guess_roles(profiles, True, {}, "log.csv")
    unread = {name: one for name, one in profiles.items() if name not in roles.columns.values()}
    found = list(warnings(unread, profiles["timestamp"], roles))
    assert len(found) == (said is not None)
    for name, warning in found:
        assert name in columns
        assert re.search(str(said), warning)
