"""The work on one partition."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.interaction_gen import partition, split
from components.interaction_gen.settings import InteractionSettings
from components.interaction_gen.split import Cut
from components.tables.row_report import Report
from components.tables.rows import ORDER
from tests.components.interaction_gen.core import LOG, TIES, brief, core


@pytest.mark.parametrize("ties", ["exclude", "log_order"])
def test_training_events_of_one_moment_stay_together_in_the_order_of_the_log(ties):
    """Who sorts the shuffled examples by time, ties as they come, gets the order of the log back."""
    rng = np.random.default_rng(0)
    count = 200
    table = pa.table(
        {
            "user_id": rng.choice(["ann", "bob"], count),
            "item_id": [f"i{n}" for n in range(count)],
            "timestamp": rng.integers(0, 5, count),
            ORDER: np.arange(count),
        }
    )
    settings = InteractionSettings.model_validate({"history": {"ties": ties}})
    ordered, _ = partition.ordered([table], settings)
    marked = partition.mark(ordered, settings, Cut(100))
    [columns] = partition.examples(marked, settings, Cut(100), None, Report())["train"]
    written = pa.table({name: columns[name] for name in ("user_id", "timestamp", "item_id")}).to_pandas()
    assert written["item_id"].tolist() != ordered["item_id"].to_pylist()  # shuffled
    by_time = written.sort_values(["user_id", "timestamp"], kind="stable")
    assert by_time["item_id"].tolist() == ordered["item_id"].to_pylist()


@pytest.mark.slow
@pytest.mark.smoke
@settings(deadline=None, max_examples=60)
@given(LOG, st.integers(1, 4), st.integers(1, 4), st.booleans(), TIES)
def test_training_examples_of_the_full_log_are_those_of_the_log_truncated_at_the_cut(rows, users, items, dedup, ties):
    options = {"min_user_events": users, "min_item_events": items, "deduplicate": dedup, "history": {"ties": ties}}
    full, _, cut = core(rows, **options)
    if cut is None:
        return
    before = [row for k, row in enumerate(rows) if (row[2], k + 2) < (cut.time, cut.order)]
    truncated, _, _ = core(before, cut, **options)
    assert sorted(brief(full["train"])) == sorted(brief(truncated["train"]))


@pytest.mark.slow
@pytest.mark.smoke
@settings(deadline=None, max_examples=60)
@given(LOG, st.sampled_from(["time", "leave_last_n", "hash"]), TIES)
def test_no_history_holds_an_event_at_or_after_its_own_place_in_time(rows, method, ties):
    named = [(user, f"{item}{k}", time) for k, (user, item, time) in enumerate(rows)]  # every event its own item
    # Strictly earlier in time, or in the order of time and place in the log.
    when = {row[1]: (row[0], (row[2], k if ties == "log_order" else 0)) for k, row in enumerate(named)}
    newest_first = sorted(named, key=lambda row: (row[2], named.index(row)), reverse=True)
    found, _, _ = core(named, split={"method": method, "eval_fraction": 0.3}, history={"ties": ties})
    for example in found["train"] + found["eval"]:
        user, place = when[example["item_id"]]
        earlier = [item for _, item, _ in newest_first if when[item][0] == user and when[item][1] < place]
        assert example["history"] == earlier
        assert example.get("seen", earlier) == earlier
    trained = {example["item_id"] for example in found["train"]}
    for example in found["eval"]:
        assert example["user_type"] == ("known" if trained.intersection(example["history"]) else "new")
    assert all("seen" not in example and "user_type" not in example for example in found["train"])


def test_minimum_counts_over_the_training_part_only():
    # Cut at time 5: u has 3 training events, v one; w comes later with an item that training hardly knows.
    rows = [("u", "a", 1), ("u", "b", 2), ("u", "a", 3), ("v", "a", 4), ("w", "b", 5), ("v", "c", 6)]
    found, report, _ = core(rows, split.Cut(5), min_user_events=2, min_item_events=2)
    # v's only training event goes first, then b has one training event left.
    assert sorted(brief(found["train"])) == [("u", "a", 1, ()), ("u", "a", 3, ("b", "a"))]
    assert brief(found["eval"]) == [("w", "b", 5, ()), ("v", "c", 6, ("a",))]
    assert [example["user_type"] for example in found["eval"]] == ["new", "new"]
    assert report.dropped == {"of users below min_user_events 2": 1, "of items below min_item_events 2": 1}


def test_minimum_counts_over_the_whole_log_leave_no_trace_in_histories():
    rows = [("u", "a", 1), ("u", "b", 2), ("u", "a", 3), ("v", "b", 4)]
    found, _, _ = core(rows, split={"method": "leave_last_n"}, min_user_events=2, min_item_events=2)
    assert brief(found["train"]) == [("u", "a", 1, ())]
    assert brief(found["eval"]) == [("u", "a", 3, ("a",))]


def test_ties_in_the_order_of_the_log():
    # b, c and a share their time, and the file has another user's row between them.
    rows = [("u", "a", 1), ("u", "b", 2), ("v", "z", 2), ("u", "c", 2), ("u", "a", 2), ("u", "d", 3)]
    options = {"split": {"method": "leave_last_n", "n": 2}}
    found, _, _ = core(rows, **options)
    assert brief(found["eval"]) == [("u", "a", 2, ("a",)), ("u", "d", 3, ("a", "c", "b", "a"))]
    assert {example["#place"] for split in found.values() for example in split} == {0}
    found, _, _ = core(rows, **options, history={"ties": "log_order"})
    assert {example["item_id"]: example["#place"] for example in found["train"]} == {"a": 0, "b": 0, "c": 1, "z": 0}
    assert [example["#place"] for example in found["eval"]] == [2, 0]
    assert sorted(brief(found["train"])) == [
        ("u", "a", 1, ()),
        ("u", "b", 2, ("a",)),
        ("u", "c", 2, ("b", "a")),
        ("v", "z", 2, ()),
    ]
    assert brief(found["eval"]) == [("u", "a", 2, ("c", "b", "a")), ("u", "d", 3, ("a", "c", "b", "a"))]
    assert [example["seen"] for example in found["eval"]] == [["c", "b", "a"], ["a", "c", "b"]]


def test_duplicates_keep_the_first_and_need_the_same_time():
    rows = [("u", "a", 1), ("u", "a", 1), ("u", "a", 2), ("v", "a", 1)]
    found, report, _ = core(rows, split.Cut(9))
    assert len(found["train"]) == 3
    assert report.dropped == {"duplicates": 1}


def test_duplicates_of_user_and_item_keep_the_first_in_time():
    rows = [("u", "a", 5), ("u", "b", 3), ("u", "a", 1), ("v", "a", 9), ("u", "b", 3)]
    found, report, _ = core(rows, split.Cut(99), deduplicate="user_item")
    assert sorted(brief(found["train"])) == [("u", "a", 1, ()), ("u", "b", 3, ("a",)), ("v", "a", 9, ())]
    assert report.dropped == {"duplicates": 2}


@pytest.mark.slow
@pytest.mark.smoke
@settings(deadline=None, max_examples=60)
@given(LOG, st.integers(1, 3))
def test_the_busiest_users_are_found_part_by_part(rows, limit):
    users = [user for user, _, _ in rows]
    counts = pa.table({"user_id": sorted(set(users)), "events": [users.count(user) for user in sorted(set(users))]})
    halves = [partition.busiest_users(counts.slice(start, 2), limit) for start in range(0, len(counts), 2)]
    expected = sorted(set(users), key=lambda user: (-users.count(user), user))[:limit]
    assert partition.busiest_users(pa.concat_tables(halves), limit)["user_id"].to_pylist() == expected


def test_without_times_the_rows_are_the_time():
    rows = [("u", "a", 0), ("u", "b", 0), ("u", "c", 0), ("v", "a", 0)]
    found, _, _ = core(rows, columns={"timestamp": None}, split={"eval_fraction": 0.25})
    assert sorted(brief(found["train"])) == [("u", "a", 2, ()), ("u", "b", 3, ("a",)), ("u", "c", 4, ("b", "a"))]
    assert brief(found["eval"]) == [("v", "a", 5, ())]


def test_the_newest_events_of_a_user_are_kept_for_training_and_for_evaluation():
    # The cut is at 6. Of u's training events the two newest stay, of its evaluation events too.
    rows = [("u", item, time) for time, item in enumerate("abcdefghi", 1)] + [("v", "a", 2), ("v", "b", 7)]
    found, report, _ = core(rows, split.Cut(6), max_user_events=2)
    assert sorted(brief(found["train"])) == [("u", "d", 4, ()), ("u", "e", 5, ("d",)), ("v", "a", 2, ())]
    assert brief(found["eval"]) == [("v", "b", 7, ("a",)), ("u", "h", 8, ("e", "d")), ("u", "i", 9, ("h", "e", "d"))]
    assert report.dropped == {"of users beyond max_user_events 2": 5}
    # What a split without a time leaves is the newest of all.
    found, _, _ = core(rows, max_user_events=2, split={"method": "leave_last_n"})
    assert brief(found["train"]) == [("v", "a", 2, ()), ("u", "h", 8, ())]
    assert brief(found["eval"]) == [("v", "b", 7, ("a",)), ("u", "i", 9, ("h",))]


def test_the_newest_training_events_of_an_item_are_kept_and_histories_hold_all():
    rows = [("u", "a", 1), ("v", "a", 2), ("u", "b", 3), ("w", "a", 4), ("u", "c", 5), ("v", "a", 6)]
    found, report, _ = core(rows, split.Cut(5), max_item_events=2)
    # u's event with a is the oldest of three before the cut.
    assert sorted(brief(found["train"])) == [("u", "b", 3, ("a",)), ("v", "a", 2, ()), ("w", "a", 4, ())]
    assert brief(found["eval"]) == [("u", "c", 5, ("b", "a")), ("v", "a", 6, ("a",))]
    assert report.dropped == {"of items beyond max_item_events 2": 1}


@pytest.mark.slow
@pytest.mark.smoke
@settings(deadline=None, max_examples=60)
@given(LOG, st.integers(1, 4), st.integers(1, 4))
def test_caps_of_the_training_part_do_not_depend_on_what_comes_after_the_cut(rows, users, items):
    options = {"max_user_events": users, "max_item_events": items, "half_life": 1e-10}
    full, _, cut = core(rows, **options)
    if cut is None:
        return
    before = [row for k, row in enumerate(rows) if (row[2], k + 2) < (cut.time, cut.order)]
    truncated, _, _ = core(before, cut, **options)
    weighed = [
        sorted((*event, e["weight"]) for event, e in zip(brief(some["train"]), some["train"]))
        for some in (full, truncated)
    ]
    assert weighed[0] == weighed[1]
    for event in full["train"]:
        assert sum(e["user_id"] == event["user_id"] for e in full["train"]) <= users
        assert sum(e["item_id"] == event["item_id"] for e in full["train"]) <= items


def test_a_training_event_weighs_half_for_each_half_life_before_the_cut():
    day = 86_400_000_000
    rows = [("u", "a", 0), ("u", "b", 15 * day), ("u", "c", 30 * day), ("u", "d", 40 * day)]
    found, report, _ = core(rows, split.Cut(30 * day), half_life=15)
    assert {e["item_id"]: e["weight"] for e in found["train"]} == {"a": 0.25, "b": 0.5}
    # Those of the evaluation, which the shipped model learns from, go on alike: 2 ** (10 / 15) ten days after the cut.
    assert [e["weight"] for e in found["eval"]] == [1.0, pytest.approx(1.5874, abs=1e-4)]
    assert report.facts["training events older than half_life"] == 1  # one of exactly that age weighs half
    late = [("u", "a", 0), ("u", "b", 16 * 365 * day)]
    [wrong] = core(late, split.Cut(day), half_life=15)[0]["eval"]
    assert wrong["weight"] == 256, "a wrong date must not outweigh all others"
    # Without a cut from the newest event back.
    found, _, _ = core(rows, half_life=5, split={"method": "leave_last_n"})
    assert {e["item_id"]: e["weight"] for e in found["train"]} == {"a": 2**-8, "b": 2**-5, "c": 2**-2}
