"""What columns of a log that are not read may say of its events: that nobody took an item, or when it was."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Optional

from components.tables.contents import in_yaml
from pipeline.data.init.roles import Roles, parts_of, revokes
from pipeline.data.profile import Profile

_OF_NUMBERS = {
    0: ("0", "columns.rating: {name} and min_rating: 1"),
    -1: ("-1", "columns.rating: {name} and rating_weights: {{-1: -1, 1: 1}}"),
}
_YES = ("true", "t", "yes", "y")
_MAX_STATES = 30
_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp]\.?[Mm]\.?)?")
_DAY = re.compile(r"[^:]*")
_CLOCK = frozenset(("time", "hour", "hr", "uhrzeit", "stunde", "heure", "hora"))
_LAST_OF_DAY = 235_959


def warnings(unread: Mapping[str, Profile], time: Optional[Profile], roles: Roles) -> Iterator[tuple[str, str]]:
    """Yields columns and what a person had better look at before they stay unread.

    Args:
        unread: Columns that are not read.
        time: What the column of times holds.
        roles: Which columns are read.
    """
    days_alone = time is not None and "timestamp_unit" not in roles.settings and all(map(_DAY.fullmatch, time.examples))
    for name, seen in unread.items():
        few = seen.texts if seen.distinct <= _MAX_STATES else ()
        if (two := _yes_and_no(seen)) is not None:
            no, how = two
            yield (
                name,
                f"{name} is not read, so that rows with {no} in it are events like others: if it says that an item was "
                f"shown and not taken, or turned down, set {how.format(name=name)}",
            )
        elif against := [text for text in few if revokes(text)]:
            yield (
                name,
                f"{name} is not read, so that rows with {', '.join(map(repr, against[:3]))} in it are events like "
                f"others: set columns.event: {name}, and event_weights with what counts",
            )
        elif seen.kind == "whole" and seen.numbers is not None and 0 < (below := (seen.numbers < 0).mean()) < 1 / 2:
            yield (
                name,
                f"{name} is not read, and below 0 in {below:.1%} of the rows, which are events like others: if these "
                "are returns, take them out, or write a type of event into them",
            )
        elif days_alone and _is_time_of_day(name, seen):
            yield (
                name,
                f"{roles.columns['time']} has the day alone, and {name}, which is not read, the time of day: write "
                "both into one column",
            )


def _is_time_of_day(name: str, seen: Profile) -> bool:
    if seen.kind == "whole" and seen.numbers is not None:  # as 20, 2033 or 203339
        return bool(_CLOCK & set(parts_of(name)) and seen.numbers.min() >= 0 and seen.numbers.max() <= _LAST_OF_DAY)
    return seen.kind == "text" and all(map(_OF_DAY.fullmatch, seen.texts))


def _yes_and_no(seen: Profile) -> Optional[tuple[str, str]]:
    """Returns which value of a column that says yes or no says no, and the settings by which that is read."""
    if seen.distinct != 2:
        return None
    if seen.kind == "flag":
        yes, no = sorted(seen.examples, key=lambda text: text.strip().lower() not in _YES)
        yes = yes if seen.in_text else yes.lower()
        return no, f"columns.event: {{name}} and event_weights: {{{{{in_yaml(yes)}: 1}}}}"
    both = set(seen.numbers.tolist()) if seen.kind == "whole" and seen.numbers is not None else set()
    return _OF_NUMBERS.get(min(both)) if max(both, default=0) == 1 else None
