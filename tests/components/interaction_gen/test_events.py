"""From rows of the log to clean events."""

import numpy as np
import pyarrow as pa
import pytest

from components.interaction_gen.events import by_partition, clean
from components.interaction_gen.settings import InteractionSettings
from components.tables import reading


def test_weights_by_rating_are_those_of_the_nearest_listed_and_multiply_those_of_the_type():
    ratings = [1, 2, 2.9, 3, 3.1, 5, 9]  # 3 is as near to 1 as to 5
    columns = {
        "user_id": pa.array(["u"] * 7),
        "item_id": pa.array(list("abcdefg")),
        "timestamp": pa.array(range(7), pa.int64()),
        "kind": pa.array(["buy", "view"] * 3 + ["buy"]),
        "stars": pa.array(ratings, pa.float64()),
    }
    options = {
        "columns": {"event": "kind", "rating": "stars"},
        "event_weights": {"view": 1, "buy": 10},
        "rating_weights": {"5": 2, 1: 0.25},
    }
    config = InteractionSettings.model_validate(options)
    assert InteractionSettings.model_validate_json(config.model_dump_json(exclude_defaults=True)) == config
    events, _ = clean(
        reading.Block(np.arange(2, 9), columns), reading.TableFile("log.csv", "csv", 1, 0), config, "us", 0
    )
    assert events["weight"].to_pylist() == [2.5, 0.25, 2.5, 0.25, 20, 2, 20]


@pytest.mark.parametrize(
    ("transform", "expected"), [("none", [1.0, 0.5, 10.0]), ("log", [np.log(2), np.log(1.5), 5 * np.log(3)])]
)
def test_weights_of_a_column_multiply_those_of_the_type(transform, expected):
    block = reading.Block(
        np.arange(2, 8),
        {
            "user_id": pa.array(["u"] * 6),
            "item_id": pa.array(list("abcdef")),
            "timestamp": pa.array(range(6)),
            "seconds": pa.array(["1", "0.5", "2", "0", "", "long"]),
            "kind": pa.array(["view", "view", "buy", "view", "view", "view"]),
        },
    )
    options = {
        "columns": {"event": "kind", "weight": "seconds"},
        "weight_transform": transform,
        "event_weights": {"view": 1, "buy": 5},
    }
    config = InteractionSettings.model_validate(options)
    events, report = clean(block, reading.TableFile("log.csv", "csv", 1, 0), config, "us", False)
    assert events["weight"].to_pylist() == pytest.approx(expected)
    assert report.dropped == {"with a seconds of 0 or less": 1}
    assert sorted(reason for _, reason in report.rejected) == ["seconds is missing", "seconds is not a number"]


def test_types_that_are_written_otherwise_are_dropped_by_name():
    types = ["view", "View", "view ", "buy", "other"]
    columns = {"user_id": pa.array(["u"] * 5), "item_id": pa.array([*"abcde"]), "kind": pa.array(types)}
    options = {"columns": {"timestamp": None, "event": "kind"}, "event_weights": {"view": 1}}
    config = InteractionSettings.model_validate(options)
    block = reading.Block(np.arange(2, 7), columns)
    events, report = clean(block, reading.TableFile("log.csv", "csv", 1, 0), config, "us", False)
    assert events["item_id"].to_pylist() == ["a"]
    assert report.dropped == {
        "of type 'View', which event_weights has as 'view'": 1,
        "of type 'view ', which event_weights has as 'view'": 1,
        "of a type not in event_weights": 2,
    }


@pytest.mark.parametrize("timestamp", [None, "at"])
def test_a_header_within_the_rows_is_no_event(timestamp):
    users = ["who", "---", "u1", "who", "item", "-"]
    columns = {
        "who": pa.array(users),
        "what": pa.array(["what", ":---", "i1", "i2", "what", "-"]),
        "at": pa.array(["at", "---", "5", "6", "7", "8"]),
    }
    config = InteractionSettings.model_validate(
        {"columns": {"user_id": "who", "item_id": "what", "timestamp": timestamp}}
    )
    block = reading.Block(np.arange(2, 8), {name: columns[name] for name in config.log_columns().values()})
    events, report = clean(block, reading.TableFile("log.csv", "csv", 1, 0), config, "s", False)
    assert events["user_id"].to_pylist() == users[2:]
    assert report.dropped == {"that are the header again": 1, "that are a line below a header": 1}
    assert not report.rejected


@pytest.mark.parametrize(
    ("first", "items", "is_header"),
    [
        (("nutzer", "artikel"), [f"i{k}" for k in range(6)], True),
        (("nutzer", "artikel"), ["milk", "rye", "tea", "ale", "jam", "oat"], True),
        (("nutzer", "a1"), [f"i{k}" for k in range(6)], False),
        (("nutzer", "artikel"), ["i1", "i2", "i3"], False),
    ],
)
def test_a_header_where_names_are_given_is_no_event(first, items, is_header):
    config = InteractionSettings.model_validate({"names": ["user_id", "item_id"], "columns": {"timestamp": None}})
    columns = {
        "user_id": pa.array([first[0], *map(str, range(len(items)))]),
        "item_id": pa.array([first[1], *items]),
    }
    block = reading.Block(np.arange(1, len(items) + 2), columns)
    events, report = clean(block, reading.TableFile("log.csv", "csv", 1, 0), config, "s", False)
    assert len(events) == len(items) + (not is_header)
    assert report.dropped == ({"that look like a header (leave out names)": 1} if is_header else {})


def test_partitions_are_stable_and_complete():
    table = pa.table({"user_id": [f"u{k % 20}" for k in range(100)], "row": list(range(100))})
    parts = dict(by_partition(table, 4))
    assert sorted(row for part in parts.values() for row in part["row"].to_pylist()) == list(range(100))
    homes = {user: number for number, part in parts.items() for user in part["user_id"].to_pylist()}
    assert all(homes[user] == number for number, part in parts.items() for user in part["user_id"].to_pylist())
    assert len(parts) == 4


@pytest.mark.parametrize("drop_unrated", [False, True])
def test_unrated_events_are_a_rule_or_a_fault(drop_unrated):
    columns = {"user_id": pa.array(["u"] * 5), "item_id": pa.array([*"abcde"]), "stars": pa.array([*"543", "", "x"])}
    config = InteractionSettings(
        columns={"timestamp": None, "rating": "stars"}, min_rating=3.1, drop_unrated=drop_unrated
    )
    block = reading.Block(np.arange(2, 7), columns)
    events, report = clean(block, reading.TableFile("log.csv", "csv", 1, 0), config, "us", False)
    assert events["item_id"].to_pylist() == ["a", "b"]
    missing = {"stars is missing": 1}
    assert report.dropped == {"rated below min_rating 3.1": 1, **(missing if drop_unrated else {})}
    faults = {reason: count for (_, reason), count in report.rejected.items()}
    assert faults == {"stars is not a number": 1, **({} if drop_unrated else missing)}


@pytest.mark.parametrize(
    ("stars", "options", "expected"),
    [
        (["4,5", "1.299,00 kr"], {"decimal": ",", "thousands": ".", "units": ["kr"]}, [4.5, 1299.0]),
        (["4.5", "1,299.00 kr"], {}, [4.5]),
    ],
)
def test_numbers_and_times_of_the_log_are_read_as_they_are_written(stars, options, expected):
    columns = {
        "user_id": pa.array(["u", "v"]),
        "item_id": pa.array(["a", "b"]),
        "timestamp": pa.array(["13.09.2020 22:33"] * 2),
        "stars": pa.array(stars),
    }
    config = InteractionSettings(
        columns={"rating": "stars"}, timestamp_format="%d.%m.%Y %H:%M", timezone="Europe/Berlin", **options
    )
    block = reading.Block(np.arange(2, 4), columns)
    events, report = clean(block, reading.TableFile("log.csv", "csv", 1, 0), config, "form", False)
    assert events["rating"].to_pylist() == expected
    assert set(events["timestamp"].to_pylist()) == {1_600_029_180_000_000}
    if not options:
        hint = "stars is not a number as it is written (see units, thousands and decimal)"
        assert report.rejected == {("log.csv", hint): 1}


@pytest.mark.parametrize(
    ("unit", "form", "reason"),
    [
        ("iso", None, "timestamp is not a time between 1900 and 2200 (read as ISO 8601; see timestamp_format)"),
        ("form", "%d.%m.%Y", "timestamp is not a time between 1900 and 2200 (read as %d.%m.%Y)"),
        ("excel", None, "timestamp is not a time between 1900 and 2200 (read as days of a spreadsheet)"),
    ],
)
def test_what_is_no_time_is_said_with_how_it_was_read(unit, form, reason):
    columns = {"user_id": pa.array(["u"]), "item_id": pa.array(["a"]), "timestamp": pa.array(["soon"])}
    block = reading.Block(np.arange(2, 3), columns)
    config = InteractionSettings(timestamp_format=form)
    _, report = clean(block, reading.TableFile("log.csv", "csv", 1, 0), config, unit, False)
    assert report.rejected == {("log.csv", reason): 1}


def test_rows_before_the_earliest_year_can_not_be_used():
    first = 631_152_000  # 1990-01-01 00:00:00
    columns = {"user_id": pa.array(list("uvwx")), "item_id": pa.array(list("abcd"))}
    columns["timestamp"] = pa.array([0, first - 1, first, None])
    block = reading.Block(np.arange(2, 6), columns)
    events, report = clean(
        block, reading.TableFile("log.csv", "csv", 1, 0), InteractionSettings(earliest_year=1990), "s", False
    )
    assert events["user_id"].to_pylist() == ["w"]
    assert report.rejected == {
        ("log.csv", "timestamp is before 1990 (earliest_year)"): 2,
        ("log.csv", "timestamp is missing"): 1,
    }
