"""Rows that hold lists of items."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.errors import InputError
from components.interaction_gen.events import clean
from components.interaction_gen.settings import InteractionSettings
from components.tables import reading
from tests.components.interaction_gen.core import core


def spread(given, unit="us", number=0, rows=None, **options):
    config = InteractionSettings.model_validate({"spread": True, **options})
    size = len(next(iter(given.values())))
    block = reading.Block(np.arange(2, size + 2) if rows is None else rows, given)
    file = reading.TableFile("log", "csv", 1, number)
    events, report = clean(block, file, config, unit, False)
    return events, report


def brief(events):
    return list(zip(*(events[name].to_pylist() for name in ("user_id", "item_id", "timestamp"))))


@pytest.mark.parametrize(
    "items",
    [
        pa.array(["a b  a", "c", ""]),
        pa.array(["['a', 'b', 'a']", "c", "[]"]),
        pa.array([["a", "b", "a"], ["c"], []]),
        pa.array([["a", "b", "a"], ["c"], None], pa.large_list(pa.dictionary(pa.int8(), pa.string()))),
    ],
    ids=["text", "literals", "lists", "dictionaries"],
)
def test_each_item_of_a_list_is_an_event_a_microsecond_after_the_one_before_it(items):
    columns = {"user_id": pa.array(["u", "v", "w"]), "item_id": items, "timestamp": pa.array([5, 9, 9])}
    events, report = spread(columns, separator=" ")
    assert brief(events) == [("u", "a", 5), ("u", "b", 6), ("u", "a", 7), ("v", "c", 9)]
    assert report.rows == 5  # four events, and a row without any
    assert report.dropped == {"with an empty list of item_id": 1}
    assert report.facts == {"rows spread out": 3}


def test_without_times_the_order_is_that_of_the_rows_and_in_each_that_of_its_list():
    columns = {"user_id": pa.array(["u", "u"]), "item_id": pa.array([[3, 1], [2]])}
    events, _ = spread(columns, number=2, columns={"timestamp": None})
    start = (2 << 40) + (2 << 16)
    assert events["#order"].to_pylist() == [start, start + 1, start + (1 << 16)]
    assert brief(events) == [("u", "3", start), ("u", "1", start + 1), ("u", "2", start + (1 << 16))]


def test_lists_beside_the_items_go_along_and_what_has_one_value_is_that_of_all():
    columns = {
        "user_id": pa.array([1, 2]),
        "item_id": pa.array([["a", "b"], ["c"]]),
        "timestamp": pa.array([[70, 60], [50]]),
        "kind": pa.array([["view", "buy"], ["view"]]),
        "tags": pa.array([["x", "y", "z"], []]),
        "page": pa.array(["home", "shop"]),
    }
    features = {"tags": {"type": "categories"}, "page": {"type": "category"}}
    events, _ = spread(columns, columns={"event": "kind"}, features=features)
    assert brief(events) == [("1", "a", 70), ("1", "b", 60), ("2", "c", 50)]  # their own times, as they are
    assert events["event"].to_pylist() == ["view", "buy", "view"]
    assert events["tags"].to_pylist() == [["x", "y", "z"], ["x", "y", "z"], []]
    assert events["page"].to_pylist() == ["home", "home", "shop"]


@pytest.mark.parametrize(("separator", "times"), [("|", "70|60"), (";", "[70, 60]")])
def test_lists_in_text_beside_the_items_go_along(separator, times):
    columns = {
        "user_id": pa.array(["u", "v", "w", "w"]),
        "item_id": pa.array([f"a{separator}b", "c", f"d{separator}e{separator}f", f"g{separator}h"]),
        "timestamp": pa.array([times, "50", times, times]),
        "type": pa.array([separator.join(["view", "cart"]), "cart", "view", separator.join(["cart", "cart"])]),
        "device": pa.array([separator.join("xy"), "z", "z", "z"]),
    }
    options = {"columns": {"event": "type"}, "features": {"device": {"type": "text"}}}
    events, report = spread(columns, separator=separator, **options)
    assert brief(events) == [("u", "a", 70), ("u", "b", 60), ("v", "c", 50), ("w", "g", 70), ("w", "h", 60)]
    assert events["event"].to_pylist() == ["view", "cart", "cart", "cart", "cart"]
    assert events["device"].to_pylist()[:2] == [separator.join("xy")] * 2, "a text is a text"
    assert dict(report.rejected) == {("log", "timestamp is a list of another length than item_id"): 1}


@pytest.mark.parametrize("form", [None, "%d.%m.%Y %H:%M:%S"])
def test_the_time_of_all_items_of_a_row_is_no_list(form):
    columns = {
        "user_id": pa.array(["u", "v"]),
        "item_id": pa.array(["a b", "c d"]),
        "timestamp": pa.array(["13.09.2020 20:33:39" if form else "2020-09-13 20:33:39"] * 2),
        "type": pa.array(["not now"] * 2),
    }
    options = {"timestamp_format": form, "columns": {"event": "type"}}
    events, _ = spread(columns, unit="form" if form else "iso", separator=" ", **options)
    assert set(events["event"].to_pylist()) == {"not now"}
    assert {time // 1_000_000 for time in events["timestamp"].to_pylist()} == {1_600_029_219}


def test_lists_in_text_of_other_lengths_are_told_as_such():
    columns = {
        "user_id": pa.array(["u", "v", "w"]),
        "item_id": pa.array(["a|b|c", "d|e|f", "g|h"]),
        "timestamp": pa.array(["70|60", "80|90", "1|2"]),
        "type": pa.array(["a|b"] * 3),
    }
    events, report = spread(columns, columns={"event": "type"})
    assert brief(events) == [("w", "g", 1), ("w", "h", 2)]
    assert dict(report.rejected) == {("log", "timestamp is a list of another length than item_id"): 2}
    assert events["event"].to_pylist() == ["a|b", "a|b"], "what a type may be called"
    columns = {"user_id": pa.array(["u"]), "item_id": pa.array(["a,b,c"]), "worth": pa.array(["1,5"])}
    options = {"separator": ",", "decimal": ",", "columns": {"timestamp": None, "weight": "worth"}}
    assert spread(columns, **options)[0]["weight"].to_pylist() == [1.5] * 3


def test_blanks_and_words_for_none_in_lists():
    columns = {
        "user_id": pa.array(["u"]),
        "item_id": pa.array([["a ", " NA", "b"]]),
        "timestamp": pa.array([10]),
    }
    events, report = spread(columns, trim=True, missing=["NA"])
    assert brief(events) == [("u", "a", 10), ("u", "b", 12)]
    assert dict(report.rejected) == {("log", "item_id is missing"): 1}


def test_of_what_was_shown_only_what_was_clicked_is_an_event():
    columns = {
        "user_id": pa.array(["u", "v"]),
        "item_id": pa.array(["N5-1 N3-0 N7-1", "N5-0"]),
        "timestamp": pa.array([10, 20]),
    }
    events, report = spread(columns, separator=" ", clicked="-1")
    assert brief(events) == [("u", "N5", 10), ("u", "N7", 12)]
    assert report.dropped == {"shown and not clicked (see clicked: '-1')": 2}
    assert report.rows == 4


def test_rows_whose_lists_do_not_fit_and_items_that_are_none_are_rejected():
    columns = {
        "user_id": pa.array(["u", "v", "w"]),
        "item_id": pa.array([["a", "b"], ["c", None, "NA"], ["d", "e"]]),
        "timestamp": pa.array([[1, 2], [3, 4, 5], [6]]),
    }
    events, report = spread(columns, missing=["NA"])
    assert brief(events) == [("u", "a", 1), ("u", "b", 2), ("v", "c", 3)]
    assert report.rows == 6
    reasons = {reason: count for (_, reason), count in report.rejected.items()}
    assert reasons == {"timestamp is a list of another length than item_id": 1, "item_id is missing": 2}
    assert next((sample.row, sample.line) for sample in report.samples) == (4, "w,['d', 'e'],[6]")


@pytest.mark.parametrize("items", [pa.array([[["a", "b"], ["c"]]]), pa.array(["[['a'], ['b']]"])])
def test_lists_of_lists_are_refused_by_name(items):
    columns = {"user_id": pa.array(["u"]), "item_id": items, "timestamp": pa.array([1])}
    try:
        _, report = spread(columns)
        [(_, message)] = report.rejected
    except InputError as error:
        message = str(error)
    assert "item_id" in message
    assert "list" in message


def test_a_file_of_more_rows_than_can_be_told_apart_is_refused():
    columns = {"user_id": pa.array(["u"]), "item_id": pa.array(["a"]), "timestamp": pa.array([1])}
    with pytest.raises(InputError, match="log has more than 16,777,216 rows, too many to be spread"):
        spread(columns, rows=np.array([1 << 24]))


@pytest.mark.slow
@pytest.mark.smoke
@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=5), min_size=1, max_size=6), st.booleans())
def test_sessions_as_users_have_the_histories_of_the_same_log_a_row_an_event(sessions, timed):
    """The history of an item is what stands before it in its list."""
    rows = [
        (f"s{number}", item, 1000 * number + at) for number, some in enumerate(sessions) for at, item in enumerate(some)
    ]
    options = {"deduplicate": False, "split": {"method": "leave_last_n"}}
    if not rows:
        return
    plain, _, _ = core(rows, **options)
    lists = [(f"s{number}", "|".join(some), 1000 * number) for number, some in enumerate(sessions)]
    columns = {} if timed else {"columns": {"timestamp": None}}
    found, _, _ = core(lists, spread=True, **options, **columns)
    for split in ("train", "eval"):
        keys = [sorted((e["user_id"], e["item_id"], e["history"]) for e in some[split]) for some in (plain, found)]
        assert keys[0] == keys[1]
