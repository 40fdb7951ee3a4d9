"""The limits: ordinary days keep them, days that went wrong don't."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from components.guards.checks import DAY, check
from components.guards.profile import Profile
from components.guards.settings import GuardSettings
from components.log_profile import LEAST
from tests.components.guards.data import LAST, NOW, TODAY, days, log, profile, statistics


def breaches(today: Profile, before: Profile | None, **settings: Any) -> list[str]:
    found = check(today, before, GuardSettings.model_validate(settings), NOW)
    return [str(one) for one in found if not one.passed]


def earlier(nights: int = 1, **changes: Any) -> Profile:
    """The data of some nights ago."""
    last = LAST - nights * DAY
    return profile(log(last=last, days=days(60 - nights, TODAY - nights), **changes))


def test_an_ordinary_night() -> None:
    found = check(profile(), earlier(), GuardSettings(), NOW)
    assert all(one.passed for one in found)
    figures = [one.figure for one in found]
    assert figures.count("events") == 2, "not too few and not too many"
    assert {"users", "items", "listed items", "share of the greatest user", "share of the greatest item"} < {*figures}
    assert {"newest time", "oldest time", "events of Sunday, 2026-03-01"} < {*figures}


def test_without_a_pushed_version_shares_and_times_are_judged_alone() -> None:
    found = check(profile(), None, GuardSettings(), NOW)
    assert [one.setting for one in found] == [
        "guards.max_user_share",
        "guards.max_item_share",
        "guards.max_future_days",
        "guards.earliest_year",
    ]


def test_a_tenth_of_the_usual_rows() -> None:
    tenth = profile(
        log(events=548, users=300, items=150, user=("ann", 9), item=("film", 20), days=days(60, TODAY, 4, 10))
    )
    assert breaches(tenth, earlier()) == [
        "events: 548, 5,480 before; the limit is at least 50% of that (guards.min_size)",
    ]
    # The Sundays of the log itself are as thin, so only a log that is thin at its end is too thin there.
    thin = profile(log(days={**days(), TODAY: 4}))
    assert breaches(thin, earlier()) == [
        "events of Sunday, 2026-03-01: 4, 40 (median of 4 weeks) before; the limit is at least 20% of that"
        " (guards.min_volume)"
    ]
    assert breaches(thin, earlier(), min_volume=None) == []


def test_a_sliding_window_that_was_pushed_long_ago_is_no_breach() -> None:
    assert breaches(profile(log(first=(TODAY - 29) * DAY, days=days(30))), earlier(20)) == []


def test_days_are_held_against_the_same_weekday_and_only_where_that_says_something() -> None:
    # 40 on a Sunday is a third of the other days, and quite usual.
    assert breaches(profile(), earlier(), min_volume=0.9, max_volume=1.2) == []
    few = log(days=days(60, TODAY, 10, 100) | {TODAY: 0})
    assert breaches(profile(few), earlier()) == [], "a median of 10 events judges nothing"
    young = log(first=(TODAY - 13) * DAY, days=days(14) | {TODAY: 0})
    assert breaches(profile(young), earlier()) == [], "there is but one Sunday before"
    # The day is not over: what there is of it says nothing, but Saturday does.
    morning = log(last=TODAY * DAY + DAY // 4, days=days() | {TODAY: 3, TODAY - 1: 3})
    [found] = breaches(profile(morning), earlier(2))
    assert found.startswith("events of Saturday, 2026-02-28: 3, 100 (median of 4 weeks)")
    flooded = log(days=days() | {TODAY: 401})
    [found] = breaches(profile(flooded), earlier())
    assert found.endswith("the limit is at most 10 times that (guards.max_volume)")


def test_what_was_judged_before_is_not_judged_again() -> None:
    assert breaches(profile(log(days=days() | {TODAY: 0})), profile(log())) == []


def test_a_bot_that_makes_half_of_the_events() -> None:
    bot = {"events": 10_960, "users": 501, "user": ("bot", 5_480)}
    assert breaches(profile(log(**bot)), None) == [
        "share of the greatest user: 50.0% (user 'bot'); the limit is 20% (guards.max_user_share)"
    ]
    [_, rise] = breaches(profile(log(**bot)), earlier())
    assert rise == (
        "share of the greatest user: 50.0% (user 'bot'), 0.9% before; the limit is 10.9% (guards.max_share_rise)"
    )
    # One of five users has a third of the events, and one of 49 a fifth: less than ten times the average.
    for users in (5, 49):
        assert breaches(profile(log(users=users, user=("ann", 5_480 // users * 2))), None) == []


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ({"last": 4_083_004_800_000_000}, "newest time: 2099-05-21 00:00:00; the limit is 1 day from now"),
        ({"last": LAST + DAY}, ""),
        ({"first": 0}, "oldest time: 1970-01-01 00:00:00; the limit is the beginning of 1990"),
        ({"first": 0, "last": 1_000_000}, ""),  # numbers that stand for times
        ({"first": None, "last": None, "days": {}}, ""),
    ],
)
def test_times_that_no_event_can_have(times: dict[str, Any], said: str) -> None:
    found = breaches(profile(log(**times)), None)
    assert [one.partition(" (guards")[0] for one in found] == [said] * bool(said)


def test_times_that_go_back() -> None:
    back = profile(log(last=LAST - 3 * DAY, first=(TODAY - 100) * DAY, days=days(60, TODAY - 3)))
    assert [one.partition(":")[0] for one in breaches(back, profile())] == ["newest time", "oldest time"]


def test_items_that_nobody_knew() -> None:
    # 27 events an item: of 120 new items beside 80 known ones 60 %.
    changed = log(sample=dict.fromkeys(range(120, 320), 27))
    assert breaches(profile(changed), earlier()) == [
        "events of items that were not in the log before: 60.0%; the limit is 50% (guards.max_unknown)"
    ]
    # Both logs have more items than are counted one by one: what lies beyond the last of either says nothing.
    many = {2 * item: 1 for item in range(LEAST)}
    more = dict.fromkeys(range(LEAST), 1)
    assert breaches(profile(log(sample=more)), earlier(sample=many), max_unknown=0.5) == []
    assert len(breaches(profile(log(sample=more)), earlier(sample=many), max_unknown=0.49)) == 1


def test_a_catalogue_that_lost_most_of_its_items() -> None:
    found = breaches(profile(listed=18, unlisted=0.9), earlier())
    assert found == [
        "listed items: 18, 180 before; the limit is at least 50% of that (guards.min_size)",
        "events of items that the catalogue does not list: 90.0%, 2.0% before; the limit is 12.0%"
        " (guards.max_unlisted_rise)",
    ]


def test_features_that_are_gone_or_in_other_units() -> None:
    prices = [float(1 + number % 50) for number in range(200)]
    before = {"catalogue.": statistics({"price": prices, "kind": ["a", "b", "c", "a"] * 50})}

    def found(**columns: Any) -> list[str]:
        return breaches(profile(features={"catalogue.": statistics(columns)}), earlier_with(before))

    def earlier_with(features: dict[str, Any]) -> Profile:
        return dataclasses.replace(earlier(), features=features)

    assert found(price=[price + 1 for price in prices], kind=["a", "b", "c", "c"] * 50) == []
    [units] = found(price=[price * 100 for price in prices])
    assert units.startswith("drift of catalogue.price: 1.000")
    assert units.endswith("; the limit is 0.3 (Jensen-Shannon) (guards.max_jensen_shannon)")
    [kinds] = found(kind=["b"] * 150 + ["a"] * 50)
    assert kinds == "drift of catalogue.kind: 0.500; the limit is 0.3 (L-infinity) (guards.max_l_infinity)"
    [gone] = found(kind=["a", "b", "c", "a"] * 13 + [None] * 148)
    assert gone == "rows without catalogue.kind: 74.0%, 0.0% before; the limit is 30.0% (guards.max_missing_rise)"


def test_a_limit_that_is_null_is_none() -> None:
    nothing = {name: None for name in GuardSettings.model_fields if name != "drift"}
    bad = profile(log(events=1, user=("bot", 1), last=2**52), listed=1, unlisted=1.0)
    assert check(bad, earlier(), GuardSettings.model_validate(nothing), NOW) == []


def test_a_log_that_an_older_version_read() -> None:
    assert breaches(profile(listed=180), profile(None, listed=180, log=None)) == []
    assert [one.figure for one in check(profile(log=None), earlier(), GuardSettings(), NOW)] == [
        "listed items",
        "listed items",
        "events of items that the catalogue does not list",
    ]
