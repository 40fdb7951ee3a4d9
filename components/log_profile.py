"""The figures of a log as a whole, by which one day's data are held against another's.

InteractionGen counts them where it reads the log, on Beam's workers; Guards judges them.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from typing import Optional

FILE_NAME = "profile.json"
LEAST = 4096
"""Items whose events are counted one by one: all of them, or of more those with the least hashes. Any share of a
catalogue of millions is told by so many within two points (K minimum values: Bar-Yossef et al., "Counting distinct
elements in a data stream", RANDOM 2002)."""

_HASHES = 2**64


@dataclasses.dataclass(frozen=True)
class LogProfile:
    """What is known of a log; the keys of its JSON are the fields."""

    events: int
    users: int
    items: int
    """Estimated where there are more than `LEAST`."""
    user: tuple[str, int]
    """The user with the most events, and how many; an empty id where that is not told."""
    item: tuple[str, int]
    """Likewise."""
    first: Optional[int]
    """The time of the earliest event in microseconds, and of the latest; None for a log without times."""
    last: Optional[int]
    days: Mapping[int, int]
    """Events by day since the epoch, in UTC; empty for a log without times."""
    sample: Mapping[int, int]
    """Events by hash of the item, of the `LEAST` items with the least hashes."""

    def without_ids(self) -> LogProfile:
        """The same, naming nobody."""
        return dataclasses.replace(self, user=("", self.user[1]), item=("", self.item[1]))


def least(events: Mapping[int, int]) -> Counter:
    """Returns the events of the `LEAST` items with the least hashes among those by hash."""
    return Counter({item: events[item] for item in sorted(events)[:LEAST]})


def distinct(sample: Mapping[int, int]) -> int:
    """Estimates how many items there are from what `least` leaves of them; exact if there are fewer than `LEAST`.

    >>> distinct({7: 1, 9: 5})
    2
    """
    return len(sample) if len(sample) < LEAST else round((LEAST - 1) * _HASHES / max(sample))


def to_json(profile: LogProfile) -> str:
    """Returns the profile as JSON."""
    return json.dumps(dataclasses.asdict(profile), ensure_ascii=False)


def from_json(text: str) -> LogProfile:
    """Reads what `to_json` wrote."""
    content = json.loads(text)
    for name in ("days", "sample"):
        content[name] = {int(key): count for key, count in content[name].items()}
    for name in ("user", "item"):
        content[name] = tuple(content[name])
    return LogProfile(**content)
