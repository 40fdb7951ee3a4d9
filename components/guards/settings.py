"""Settings of the Guards: how far a day's data may be from those of the last pushed version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Optional

from pydantic import Field

from components.settings import Settings

Share = Annotated[float, Field(ge=0, le=1)]


class GuardSettings(Settings):
    """Limits of the data; null takes a limit away. The first run has no other data to be held against: there the limits
    of shares and of times count alone."""

    min_size: Optional[Share] = 0.5
    """Events, users, items and listed items must be at least this share of the last pushed version's."""
    max_size: Optional[Annotated[float, Field(ge=1)]] = 5.0
    """And at most so many times as many."""
    max_user_share: Optional[Share] = 0.2
    """The largest share of the events that one user may have, against bots. A user with less than ten times the average
    of all is never too great, so that a handful of users is no breach."""
    max_item_share: Optional[Share] = 0.5
    """The same of one item."""
    max_share_rise: Optional[Share] = 0.1
    """How far the share of the greatest user, or item, may be above that of the last pushed version's data."""
    max_future_days: Optional[Annotated[float, Field(ge=0)]] = 1.0
    """How many days after now the newest event may be; local times may be taken for UTC."""
    earliest_year: Optional[Annotated[int, Field(ge=1, le=9999)]] = 1990
    """No event may be of an earlier year, as those with an empty time are often of 1970, unless all events are."""
    max_newest_back_days: Optional[Annotated[float, Field(ge=0)]] = 1.0
    """How many days the newest event may be before the newest one of the last pushed version's data."""
    max_oldest_back_days: Optional[Annotated[float, Field(ge=0)]] = 30.0
    """How many days the oldest event may be before the oldest one of those data."""
    min_volume: Optional[Share] = 0.2
    """Each complete day that is new since then must have at least this share of the median of the same weekday in the
    four weeks before. A median below 20 events, or of one day alone, judges nothing."""
    max_volume: Optional[Annotated[float, Field(ge=1)]] = 10.0
    """And at most so many times as many."""
    max_unknown: Optional[Share] = 0.5
    """The largest share of the events that may be of items that the last pushed version's log did not have."""
    max_unlisted_rise: Optional[Share] = 0.1
    """How far the share of events of items that the catalogue does not list may be above that of those data."""
    max_missing_rise: Optional[Share] = 0.3
    """How far the share of the rows that lack a feature may be above that of those data."""
    max_l_infinity: Optional[Share] = 0.3
    """The largest drift of a feature of text since then: by how much the share of any one value has changed."""
    max_jensen_shannon: Optional[Share] = 0.3
    """The largest drift of a feature of numbers: the Jensen-Shannon divergence of the distributions, 0 for the same, 1
    for two that have nothing in common."""
    drift: Mapping[str, Optional[Share]] = {}
    """Limits of the drift of single features by name, instead of the two above; null is none. A feature of items is
    called `catalogue.<name>`."""
