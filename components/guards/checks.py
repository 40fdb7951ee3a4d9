"""The checks: figures of today's data, those that they are held against, and what is allowed."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator
from statistics import median
from typing import Optional

from components.guards import drift
from components.guards.profile import Profile
from components.guards.settings import GuardSettings
from components.log_profile import LEAST, LogProfile

DAY = 86_400_000_000
"""Microseconds."""

_GREAT = 10
"""So many times the average is great, where the share is."""
_FEW = 20
"""Events, or items, among which any share is large."""
_WEEKS = 4
_MOST_DAYS = 7
_LATE = DAY * 3 // 4
"""A day whose events reach into its last quarter is complete: from there on what is missing is less than any limit."""
_EPOCH = datetime.datetime(1970, 1, 1)


@dataclasses.dataclass(frozen=True)
class Check:
    """A figure of today's data and its limit."""

    figure: str
    today: str
    before: str
    """That of the last pushed version's data; empty where there is none."""
    limit: str
    setting: str
    """The key of the config that has the limit."""
    passed: bool

    def __str__(self) -> str:
        before = f", {self.before} before" if self.before else ""
        return f"{self.figure}: {self.today}{before}; the limit is {self.limit} ({self.setting})"


def check(today: Profile, before: Optional[Profile], settings: GuardSettings, now: datetime.datetime) -> list[Check]:
    """Judges data by themselves and by those of the last pushed version.

    Args:
        today: What they are like.
        before: What those are like; None if there are none.
        settings: The limits.
        now: The time in UTC, without a time zone.
    """
    return [
        dataclasses.replace(found, setting=f"guards.{found.setting}")
        for found in _checks(today, before or Profile(None, 0, None, {}), settings, now)
    ]


def _checks(today: Profile, before: Profile, settings: GuardSettings, now: datetime.datetime) -> Iterator[Check]:
    log, earlier = today.log, before.log
    if log is not None:
        if earlier is not None:
            for figure in ("events", "users", "items"):
                yield from _size(figure, getattr(log, figure), getattr(earlier, figure), settings)
        yield from _shares(log, earlier, settings)
        yield from _times(log, earlier, settings, now)
        if earlier is not None:
            yield from _volumes(log, earlier, settings)
            yield from _unknown(log, earlier, settings)
    yield from _size("listed items", today.listed, before.listed, settings)
    yield from _rise(
        "events of items that the catalogue does not list",
        today.unlisted,
        before.unlisted,
        settings.max_unlisted_rise,
        "max_unlisted_rise",
    )
    missing, missed = today.missing(), before.missing()
    for feature in sorted(set(missing) | set(missed) if before.features else ()):
        if feature in missed and feature in missing:  # else the config has changed
            yield from _rise(
                f"rows without {feature}",
                missing[feature],
                missed[feature],
                settings.max_missing_rise,
                "max_missing_rise",
            )
    for found in drift.measure(today.features, before.features, settings):
        yield Check(
            f"drift of {found.feature}",
            f"{found.value:.3f}",
            "",
            f"{found.limit:g} ({found.measure})",
            found.setting,
            found.value <= found.limit,
        )


def _size(figure: str, today: int, before: int, settings: GuardSettings) -> Iterator[Check]:
    if not before:
        return
    if settings.min_size is not None:
        limit = f"at least {settings.min_size:.0%} of that"
        yield Check(figure, f"{today:,}", f"{before:,}", limit, "min_size", today >= settings.min_size * before)
    if settings.max_size is not None:
        limit = f"at most {settings.max_size:g} times that"
        yield Check(figure, f"{today:,}", f"{before:,}", limit, "max_size", today <= settings.max_size * before)


def _shares(log: LogProfile, before: Optional[LogProfile], settings: GuardSettings) -> Iterator[Check]:
    for kind, limit in (("user", settings.max_user_share), ("item", settings.max_item_share)):
        name, share, great = _greatest(log, kind)
        figure, shown = f"share of the greatest {kind}", f"{share:.1%}" + (f" ({kind} {name!r})" if name else "")
        if limit is not None:
            yield Check(figure, shown, "", f"{limit:.0%}", f"max_{kind}_share", not great or share <= limit)
        if before is not None and settings.max_share_rise is not None:
            earlier = _greatest(before, kind)[1]
            allowed = earlier + settings.max_share_rise
            yield Check(
                figure,
                shown,
                f"{earlier:.1%}",
                f"{allowed:.1%}",
                "max_share_rise",
                not great or share <= allowed,
            )


def _greatest(log: LogProfile, kind: str) -> tuple[str, float, bool]:
    """The greatest user or item, its share, and whether that is much beside the average."""
    name, events = getattr(log, kind)
    share = events / max(log.events, 1)
    return name, share, log.events >= _FEW and share * getattr(log, f"{kind}s") >= _GREAT


def _times(
    log: LogProfile, before: Optional[LogProfile], settings: GuardSettings, now: datetime.datetime
) -> Iterator[Check]:
    if log.first is None or log.last is None:
        return
    first, last = _time(log.first), _time(log.last)
    if settings.max_future_days is not None:
        latest = now + datetime.timedelta(days=settings.max_future_days)
        limit = f"{_days(settings.max_future_days)} from now"
        yield Check("newest time", _shown(last), "", limit, "max_future_days", last <= latest)
    if settings.earliest_year is not None:
        earliest = datetime.datetime(settings.earliest_year, 1, 1)
        limit = f"the beginning of {settings.earliest_year}"
        passed = first >= earliest or last < earliest
        yield Check("oldest time", _shown(first), "", limit, "earliest_year", passed)
    if before is None or before.first is None or before.last is None:
        return
    for figure, today, earlier, setting in (
        ("newest time", last, _time(before.last), "max_newest_back_days"),
        ("oldest time", first, _time(before.first), "max_oldest_back_days"),
    ):
        days = getattr(settings, setting)
        if days is not None:
            limit = f"{_days(days)} before that"
            passed = today >= earlier - datetime.timedelta(days=days)
            yield Check(figure, _shown(today), _shown(earlier), limit, setting, passed)


def _volumes(log: LogProfile, before: LogProfile, settings: GuardSettings) -> Iterator[Check]:
    """Each complete day that is new, beside the same weekday of the weeks before."""
    if log.first is None or log.last is None or before.last is None:
        return
    beginning, end = log.first // DAY, _complete_until(log.last)
    for day in range(max(_complete_until(before.last) + 1, end - _MOST_DAYS + 1), end + 1):
        weeks = [day - 7 * week for week in range(1, _WEEKS + 1)]
        usual = [log.days.get(earlier, 0) for earlier in weeks if earlier >= beginning]
        if len(usual) < 2 or median(usual) < _FEW:
            continue
        events, middle = log.days.get(day, 0), median(usual)
        figure = f"events of {_EPOCH + datetime.timedelta(days=day):%A, %Y-%m-%d}"
        about = f"{middle:,.0f} (median of {len(usual)} weeks)"
        if settings.min_volume is not None:
            limit = f"at least {settings.min_volume:.0%} of that"
            yield Check(figure, f"{events:,}", about, limit, "min_volume", events >= settings.min_volume * middle)
        if settings.max_volume is not None:
            limit = f"at most {settings.max_volume:g} times that"
            yield Check(figure, f"{events:,}", about, limit, "max_volume", events <= settings.max_volume * middle)


def _complete_until(last: int) -> int:
    """The newest complete day of a log whose newest event is of that time."""
    return last // DAY if last % DAY >= _LATE else last // DAY - 1


def _unknown(log: LogProfile, before: LogProfile, settings: GuardSettings) -> Iterator[Check]:
    """Of the items that both logs would have counted one by one, the events of those that one did not have."""
    bounds = [max(sample) for sample in (log.sample, before.sample) if len(sample) >= LEAST]
    looked_at = {item: events for item, events in log.sample.items() if not bounds or item <= min(bounds)}
    if settings.max_unknown is None or len(looked_at) < _FEW:
        return
    unknown = sum(events for item, events in looked_at.items() if item not in before.sample)
    share = unknown / sum(looked_at.values())
    figure = "events of items that were not in the log before"
    yield Check(figure, f"{share:.1%}", "", f"{settings.max_unknown:.0%}", "max_unknown", share <= settings.max_unknown)


def _rise(
    figure: str, today: Optional[float], before: Optional[float], rise: Optional[float], setting: str
) -> Iterator[Check]:
    if today is None or before is None or rise is None:
        return
    yield Check(figure, f"{today:.1%}", f"{before:.1%}", f"{before + rise:.1%}", setting, today <= before + rise)


def _time(microseconds: int) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(microseconds=microseconds)


def _days(count: float) -> str:
    return f"{count:g} day{'s' * (count != 1)}"


def _shown(time: datetime.datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"
