"""What is striking about a log as a whole."""

import pyarrow as pa
import pytest

from components.interaction_gen import sanity
from components.interaction_gen.settings import InteractionSettings
from components.tables.row_report import Report

SECOND = 1_000_000
START = 1_600_029_219 * SECOND


def events(users, items=None, times=None, **more):
    count = len(users)
    columns = {
        "user_id": users,
        "item_id": items or [f"i{k}" for k in range(count)],
        "timestamp": times or [START + k * SECOND for k in range(count)],
        **more,
    }
    return pa.table(columns)


def warnings(table, report=None, **options):
    found = sanity.look(table)
    found.columns = sanity.look_at_columns(table)
    settings = InteractionSettings.model_validate(options)
    return sanity.warnings(sanity.merged([found]), report or Report(rows=len(table)), settings)


def test_nothing_is_striking_about_a_plain_log():
    assert warnings(events([f"u{k % 9}" for k in range(90)])) == []
    assert warnings(events([])) == []


@pytest.mark.parametrize("word", ["NA", "NULL", r"\N", "nan", "None"])
def test_a_word_for_none_is_no_user(word):
    users = [word if k % 3 else f"u{k}" for k in range(192)]
    [said] = warnings(events(users), columns={"user_id": "who"})
    assert said == (
        f"one user, {word!r}, has 128 of 192 events: if that stands for a missing who, set missing: ['{word}']"
    )
    [said] = warnings(events([f"u{k % 9}" for k in range(192)], users))
    assert said.startswith(f"one item, {word!r}, has 128 of 192 events: if that stands for a missing item_id")


def test_the_greatest_user_and_item_are_named_where_they_are_too_great():
    many = [f"u{k}" for k in range(180)]
    assert warnings(events(["guest"] * 20 + many)) == [
        "one user, 'guest', has 20 of 200 events: if that stands for a missing user_id, set missing: ['guest']"
    ]
    assert warnings(events([*many, *many], ["x"] * 20 + [f"i{k}" for k in range(340)])) == [], "items are that popular"
    assert warnings(events([*many, *many], ["x"] * 190 + [f"i{k}" for k in range(170)])) == [
        "one item, 'x', has 190 of 360 events: if that stands for a missing item_id, set missing: ['x']"
    ]


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        (
            20_200_913,
            20_200_927,
            "times begin before 1990 (1970-08-22 19:21:53 to 1970-08-22 19:22:07): are timestamp_un",
        ),
        (1_600_029_219, 1_600_029_219, "all events are of one second, 2020-09-13 20:33:39: are timestamp_unit"),
        (1_600_029_219, 5_000_000_000, "times end in the future (2020-09-13 20:33:39 to 2128-06-11 08:53:20)"),
    ],
)
def test_the_span_of_time(first, last, message):
    table = events([f"u{k % 9}" for k in range(18)], times=[first * SECOND] * 9 + [last * SECOND] * 9)
    [said] = warnings(table)
    assert said.startswith(message)
    assert warnings(table, columns={"timestamp": None}) == []


def test_lists_and_floats_for_ids():
    users = [f"u{k % 9}" for k in range(90)]
    assert warnings(events(users, [f"['a{k}', 'b']" for k in range(90)])) == [
        "item_id is a list in 90 of 90 events, and each list is one item: set spread: true"
    ]
    assert warnings(events([f"{k % 9}.0" for k in range(90)])) == [
        "user_id has ids such as '8.0', as whole numbers become beside a missing value: write them without .0"
    ]


def test_lists_with_something_between_their_values():
    users = [f"u{k}" for k in range(90)]
    lists = [f"{k % 7};{k % 5};{k}" for k in range(90)]
    assert warnings(events(users, [f"{k % 7};{k % 5};{k % 11}" for k in range(90)])) == [
        "item_id looks like a list of items in each row, such as '0;0;0', and each list is one item: set spread: true "
        "and separator: ';'"
    ]
    assert warnings(events(users, lists)) == [], "each has a part of its own, as codes of articles may"
    assert warnings(events(users, [lists[k % 30] for k in range(90)])) == [], "they come again, as items do"
    report = Report(rows=90)
    report.facts["rows spread out"] = 90
    assert warnings(events(users), report, spread=True) == ["no row has more than one item_id: is separator '|' right?"]
    report.rows = 91
    assert warnings(events(users), report, spread=True) == []


def test_rows_that_repeat():
    report = Report(rows=90)
    report.dropped["duplicates"] = 18
    table = events([f"u{k % 9}" for k in range(90)])
    assert warnings(table, report) == [
        "18 of 90 rows repeat the user, item and time of an earlier one and are dropped (see deduplicate)"
    ]
    assert warnings(table, report, deduplicate="user_item") == [], "there that is meant"


def test_columns_that_say_nothing():
    table = events([f"u{k % 9}" for k in range(90)], device=["ios"] * 90, weight=[1.0] * 90)
    assert warnings(table) == ["device is 'ios' in all 90 events"]


def test_parts_of_the_log_are_added_up_in_any_order():
    tables = [
        events(["a", "a", "b"], ["x", "x", "y"], [5, 6, 7], device=["ios", None, "ios"]),
        events(["c"], ["x"], [2], device=["web"]),
    ]
    parts = [sanity.look(table) for table in tables]
    for part, table in zip(parts, tables):
        part.columns = sanity.look_at_columns(table)
    total = sanity.merged(parts)
    assert total == sanity.merged(parts[::-1])
    assert (total.events, total.first, total.last) == (4, 2, 7)
    assert total.greatest == {"user_id": {"a": 2, "b": 1, "c": 1}, "item_id": {"x": 3, "y": 1}}
    assert total.columns["device"].several
    assert sanity.merged([]) == sanity.Sanity()
