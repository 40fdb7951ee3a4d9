"""Lists and events of a part joined, against every pair looked at."""

from __future__ import annotations

import json
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.feedback import FeedbackSettings
from pipeline.feedback.answers import SCHEMA
from pipeline.feedback.outcomes import COPIES, TWICE, YOUNG, outcomes, windows
from pipeline.feedback.parts import CLICK, CONVERSION, EVENTS, USERS, Part

HOUR = 3_600_000_000
RULES = FeedbackSettings(window_hours=2, conversion_window_hours=4, clock_seconds=0)


def part(lists, events) -> Part:
    rows = [
        {
            "id": request[:1] if request.startswith("copy") else None,
            "by": by,
            "request": request,
            "row": 0,
            "time": time * HOUR,
            "user": user,
            "items": items,
            "context": json.dumps({}),
            "ruled": False,
        }
        for by, request, user, time, items in lists
    ]
    taken = [dict(zip(EVENTS.names, (u, i, t * HOUR, None, kind, 1.0))) for u, i, t, kind in events]
    return Part(
        pa.Table.from_pylist(rows, SCHEMA), pa.Table.from_pylist(taken, EVENTS), pa.Table.from_pylist([], USERS)
    )


def test_windows() -> None:
    assert windows(RULES) == (2 * HOUR, 4 * HOUR)
    assert windows(FeedbackSettings(window_hours=0.5)) == (HOUR // 2, HOUR // 2)


def test_lists_that_are_left_out() -> None:
    lists = [("client", "r", "ann", 1, ["a"]), ("server", "r", "ann", 1, ["a"]), ("server", "s", "ann", 7, ["a", "b"])]
    counts: Counter[str] = Counter()
    found = outcomes(part(lists, []), RULES, 10 * HOUR, counts)  # the longer window of the last ends at 11
    assert found.lists["request"].to_pylist() == ["r"]
    assert counts == {TWICE: 1, YOUNG: 1}
    assert len(outcomes(part(lists, []), RULES, 11 * HOUR, counts).place) == 3


def test_copies_of_a_list_count_once() -> None:
    lists = [("client", "copy", "ann", 1, ["a"]), ("client", "r", "ann", 1, ["a"]), ("client", "copy", "ann", 1, ["a"])]
    counts: Counter[str] = Counter()
    found = outcomes(part(lists, [("ann", "a", 1, CLICK)]), RULES, 11 * HOUR, counts)
    assert (found.lists["request"].to_pylist(), found.clicked.sum()) == (["copy", "r"], 1)
    assert counts[COPIES] == 1


times, users, items = st.integers(0, 9), st.sampled_from("xy"), st.sampled_from("abc")


@pytest.mark.slow
@pytest.mark.smoke
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(users, times, st.lists(items, max_size=3, unique=True)), max_size=8),
    st.lists(st.tuples(users, items, times, st.sampled_from([CLICK, CONVERSION])), max_size=8),
)
def test_as_every_pair_looked_at(lists, events) -> None:
    named = [("client", f"{number:02d}", *one) for number, one in enumerate(lists)]
    found = outcomes(part(named, events), RULES, 100 * HOUR, Counter())
    shown = [
        (number, place, user, time, item)
        for number, (user, time, of) in sorted(enumerate(lists), key=lambda one: (one[1][1], one[0]))
        for place, item in enumerate(of)
    ]
    taken = {CLICK: set(), CONVERSION: set()}
    for user, item, time, kind in events:
        window = 2 if kind == CLICK else 4
        before = [one for one in shown if one[2] == user and one[4] == item and one[3] <= time]
        latest = max(before, key=lambda one: (one[3], -one[1], -one[0]), default=None)
        if latest is not None and time - latest[3] <= window:
            taken[kind].add(latest[:2])
    got = [(int(found.lists["request"][row].as_py()), place) for row, place in zip(found.list_of, found.place.tolist())]
    assert got == [one[:2] for one in shown]
    assert {one for one, flag in zip(got, found.clicked) if flag} == taken[CLICK]
    assert {one for one, flag in zip(got, found.converted) if flag} == taken[CONVERSION]
    assert found.item.to_pylist() == [one[4] for one in shown]
    assert len(found.events) == len(found.impression_of)
