"""What is striking about a log as a whole."""

import numpy as np
import pyarrow as pa
import pytest

from components.hashing import hashes
from components.interaction_gen import sanity
from components.interaction_gen.settings import InteractionSettings
from components.log_profile import LogProfile
from components.tables.row_report import Report
from components.tables.times import NO_OFFSETS, OFFSETS, ROUGH_TIMES

SECOND = 1_000_000
START = 1_600_029_219 * SECOND


def events(users, items=None, times=None, **more):
    count = len(users)
    columns = {
        "user_id": users,
        "item_id": items or [f"i{k % 31}" for k in range(count)],
        "timestamp": times or [START + k * SECOND for k in range(count)],
        **more,
    }
    return pa.table(columns)


def warnings(table, report=None, excluded_types=(), **options):
    found = sanity.look(table)
    found.columns = sanity.look_at_columns(table)
    settings = InteractionSettings.model_validate(options)
    return sanity.warnings(sanity.merged([found]), report or Report(rows=len(table)), settings, excluded_types)


def test_nothing_is_striking_about_a_plain_log():
    assert warnings(events([f"u{k % 9}" for k in range(90)])) == []
    assert warnings(events([])) == []


def test_the_profile_of_a_log_is_that_of_its_parts():
    day = 86_400 * SECOND
    first = events(["ann", "ann", "bob"], ["a", "b", "b"], [0, day, day + 1])
    second = events(["cid"] * 4, ["b", "c", "c", "d"], [5 * day] * 4)
    of_items = dict(zip("abcd", hashes(item.encode() for item in "abcd").tolist()))
    found = sanity.profile(sanity.merged([sanity.look(first), sanity.look(second)]), timed=True)
    assert found == LogProfile(
        events=7,
        users=3,
        items=4,
        user=("cid", 4),
        item=("b", 3),
        first=0,
        last=5 * day,
        days={0: 1, 1: 2, 5: 4},
        sample={of_items["a"]: 1, of_items["b"]: 3, of_items["c"]: 2, of_items["d"]: 1},
    )
    untimed = sanity.profile(sanity.look(first), timed=False)
    assert (untimed.first, untimed.last, untimed.days) == (None, None, {})
    assert sanity.profile(sanity.look(events([])), timed=True).events == 0


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
        "one item, 'x', has 190 of 360 events: if that stands for a missing item_id, set missing: ['x']; if for one "
        "that is everywhere, max_item_events"
    ]


@pytest.mark.parametrize("word", ["-", "?", "unknown", "-1", "(not set)", "00000000-0000-0000-0000-000000000000"])
def test_words_for_nobody_are_named_where_they_are_few(word):
    [said] = warnings(events([word] + [f"u{k % 90}" for k in range(900)]))
    assert said.startswith(f"one user, {word!r}, has 1 of 901 events: if that stands for a missing user_id")


def test_zero_is_an_id_like_others_unless_it_has_more_events():
    users = [str(k % 30) for k in range(300)]
    assert warnings(events(users)) == []
    [said] = warnings(events(["0"] * 30 + users))
    assert said == (
        "one user, '0', has 40 of 330 events: if that stands for a missing user_id, set missing: ['0']; if for a bot, "
        "max_user_events"
    )


def test_blanks_around_ids():
    assert warnings(events(["u1", "u1 ", "u1\u00a0"] + [f"u{k}" for k in range(9)])) == [
        "user_id has blanks around it in 2 of 12 events, such as 'u1 ': set trim: true if they mean nothing"
    ]


def test_labels_of_what_was_shown():
    items = [f"N{k % 7}-{k % 2}" for k in range(90)]
    users = [f"u{k % 9}" for k in range(90)]
    [said] = warnings(events(users, items))
    assert said == (
        "item_id ends in -0 or -1 in all events, such as 'N0-0', as labels of what was shown do: set clicked: '-1'"
    )
    assert warnings(events(users, [f"shirt_{k % 31}-1" for k in range(90)])) == [], "each is a thing of its own"


def test_types_that_are_named_and_not_there():
    table = events([f"u{k % 9}" for k in range(90)], event=["view", "buy", "skip"] * 30)
    there = "there are 'view', 'buy', 'skip'"
    options = {"columns": {"event": "event"}, "event_weights": {"view": 1, "purchase": 2, "skip": -1}}
    assert warnings(table, excluded_types=["buys"], never_again=["hide", "skip"], **options) == [
        f"no event is of type 'purchase', which event_weights names: {there}",
        f"no event is of type 'hide', which never_again names: {there}",
        f"no event is of type 'buys', which serving.exclude names: {there}",
    ]
    assert warnings(table, excluded_types=["buy"], columns={"event": "event"}) == []


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        (
            20_200_913,
            20_200_927,
            "times begin before 1990 (1970-08-22 19:21:53 to 1970-08-22 19:22:07): are timestamp_un",
        ),
        (
            0,
            1_600_029_219,
            "times begin before 1990 (1970-01-01 00:00:00 to 2020-09-13 20:33:39): are timestamp_unit, "
            "timestamp_format and timezone right?; if the first ones stand for missing times, set earliest_year: 1990",
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


@pytest.mark.parametrize(
    ("read_as", "clock"),
    [
        (
            637_357_148_860_000_000 // 1000,
            "1990: if they are counts of 100 nanoseconds since the year 1, as .NET's",
        ),
        (711_810_886 * SECOND, "1992: if they are counts of seconds since 2001, as Apple's systems do: add 978307200"),
        (132_445_036_860_000_000 // 1000, "1974: if they are counts of 100 nanoseconds since 1601, as Windows does"),
    ],
)
def test_counts_from_other_years_than_1970(read_as, clock):
    *_, said = warnings(events([f"u{k % 9}" for k in range(90)], times=[read_as + k * SECOND for k in range(90)]))
    assert said.startswith(f"times end in {clock}")


def test_the_nineties_are_no_other_count():
    films = [(874_724_710 + k * 200_000) * SECOND for k in range(90)]  # MovieLens-100K's
    assert warnings(events([f"u{k % 9}" for k in range(90)], times=films)) == []


@pytest.mark.parametrize(
    ("odd", "what"),
    [
        ("8.80013E+12", "as spreadsheets write long numbers, whose last digits are lost: export it anew, as text"),
        ("8,8E+12", "as spreadsheets write long numbers, whose last digits are lost: export it anew, as text"),
        ('="1012"', "as spreadsheets keep text: take off what stands around it"),
        ("'1012", "as spreadsheets keep text: take off what stands around it"),
        ("10\u200b12", "with a character that can't be seen: take it out"),
    ],
)
def test_ids_as_programs_leave_them(odd, what):
    items = [odd if k == 50 else f"{k % 30}" for k in range(90)]
    assert warnings(events([f"u{k % 9}" for k in range(90)], items)) == [
        f"item_id has ids such as {odd!r} in 1 of 90 events, {what}"
    ]
    assert warnings(events([f"u{k % 9}" for k in range(90)], ["1E5", "e+1", "3'4"] * 30)) == []


def test_one_column_for_both_ids():
    users = [f"u{k % 9}" for k in range(90)]
    assert warnings(events(users, users), columns={"item_id": "user_id"}) == [
        "columns.user_id and columns.item_id are both 'user_id'"
    ]


def test_times_that_lost_digits():
    report = Report(rows=90)
    report.facts[ROUGH_TIMES] = 80
    assert warnings(events([f"u{k % 9}" for k in range(90)]), report) == [
        "timestamp has lost digits in 80 of 90 rows, as 32-bit floats and 1.6e+09 do: write whole numbers"
    ]


def test_times_of_which_some_have_an_offset():
    log = events([f"u{k % 9}" for k in range(90)])
    report = Report(rows=90)
    report.facts.update({OFFSETS: 30, NO_OFFSETS: 60})
    assert warnings(log, report) == [
        "timestamp has an offset from UTC in some rows and none in 60 of 90, so that these are taken for UTC: set "
        "timezone if they are of another"
    ]
    assert warnings(log, report, timezone="Europe/Berlin") == [], "it is said of which they are"
    for fact in (OFFSETS, NO_OFFSETS):
        report = Report(rows=90)
        report.facts[fact] = 90
        assert warnings(log, report) == []


def test_users_and_items_of_one_event_each():
    assert warnings(events([f"u{k}" for k in range(90)])) == [
        "no user has more than one event, so that nothing is learned of one from another: is user_id the column of "
        "users?"
    ]
    assert warnings(events([f"u{k % 9}" for k in range(90)], [f"i{k}" for k in range(90)])) == [
        "no item has more than one event, so that nothing is learned of one from another: is item_id the column of "
        "items?"
    ]
    assert warnings(events([f"u{min(k, 88)}" for k in range(90)], [f"i{min(k, 88)}" for k in range(90)])) == []
    assert warnings(events([f"u{k}" for k in range(19)])) == [], "too few to say"


def test_accents_of_their_own():
    cafe = ["Caf\u00e9 1", "Cafe\u0301 1", "caf\u00e9 2"] * 30
    assert warnings(events([f"u{k % 9}" for k in range(90)], cafe)) == [
        "item_id has ids such as 'Cafe\u0301 1' in 30 of 90 events, with accents as characters of their own (Unicode's "
        "form NFD), so that the same in one piece is another: write all in form NFC"
    ]


def test_lists_and_floats_for_ids():
    users = [f"u{k % 9}" for k in range(90)]
    assert warnings(events(users, [f"['a{k}', 'b']" for k in range(90)])) == [
        "item_id is a list in 90 of 90 events, and each list is one item: set spread: true"
    ]
    assert warnings(events([f"{k % 9}.0" for k in range(90)])) == [
        "user_id has ids such as '8.0', as whole numbers become beside a missing value: write them without .0"
    ]
    [said] = warnings(events([f"{k % 9}{'.0' * (k % 9 == 3)}" for k in range(90)]))
    assert said.startswith("user_id has ids such as '3.0', as"), "one with it beside others without"
    assert warnings(events([f"v{k % 9}.0" for k in range(90)])) == []


def test_lists_with_something_between_their_values():
    users = [f"u{k % 60}" for k in range(90)]
    lists = [f"{k % 7};{k % 5};{min(k, 88)}" for k in range(90)]
    lists[89] = lists[88]
    assert warnings(events(users, [f"{k % 7};{k % 5};{k % 11}" for k in range(90)])) == [
        "item_id looks like a list of items in each row, such as '1;1;1', and each list is one item: set spread: true "
        "and separator: ';'"
    ]
    assert warnings(events(users, lists)) == [], "each has a part of its own, as codes of articles may"
    assert warnings(events(users, [lists[k % 30] for k in range(90)])) == [], "they come again, as items do"
    report = Report(rows=90)
    report.facts["rows spread out"] = 90
    assert warnings(events(users), report, spread=True) == ["no row has more than one item_id: is separator '|' right?"]
    report.rejected["log", "item_id is a list of more than 65,536 values"] = 1
    assert warnings(events(users), report, spread=True) == []
    report.rejected.clear()
    report.rows = 91
    assert warnings(events(users), report, spread=True) == []


@pytest.mark.parametrize(("between", "separator"), [(" ", " "), (", ", ","), ("|", "|")])
def test_lists_are_told_where_lists_of_one_are_the_most_frequent(between, separator):
    numbers = np.random.default_rng(0)
    baskets = [map(str, numbers.integers(1000, 1200, numbers.integers(1, 11))) for _ in range(2000)]
    table = events([f"u{k % 500}" for k in range(2000)], [between.join(basket) for basket in baskets])
    whole = sanity.look(table)
    assert all(item.isdecimal() for item in list(whole.greatest["item_id"])[:50])
    [said] = warnings(table)
    assert said.startswith("item_id looks like a list of items in each row")
    assert said.endswith(f"and each list is one item: set spread: true and separator: {separator!r}")
    halves = [sanity.look(table.slice(0, 1000)), sanity.look(table.slice(1000))]
    assert sanity.merged(halves).texts == sanity.merged([whole]).texts


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
