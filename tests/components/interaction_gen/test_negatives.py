"""Negative events: learned from apart, in no history, left out of answers, and never what an answer is judged by."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.interaction_gen import split
from tests.components.interaction_gen.core import TIES, core
from tests.components.interaction_gen.small import generate, log_of, read_split

TYPES = {"columns": {"event": "kind"}, "event_weights": {"view": 1, "dislike": -2}, "never_again": ["hide"]}
ROWS = [
    ("u", "a", 1, "view"),
    ("u", "b", 2, "dislike"),
    ("u", "c", 3, "hide"),
    ("u", "d", 4, "view"),
    ("u", "b", 5, "view"),  # takes the dislike back
    ("u", "c", 6, "view"),  # nothing takes this back
    ("u", "e", 7, "dislike"),
    ("u", "f", 8, "view"),
    ("u", "a", 9, "dislike"),
    ("u", "g", 10, "view"),
]


def test_the_worked_example():
    found, report, _ = core(ROWS, split.Cut(7), **TYPES)
    histories = {e["item_id"]: (e["history"], e["weight"]) for e in found["train"]}
    assert histories == {
        "a": ([], 1.0),
        "d": (["a"], 1.0),
        "b": (["d", "a"], 1.0),
        "c": (["b", "d", "a"], 1.0),
    }
    negative = {e["item_id"]: (e["history"], e["weight"], e["#for_good"], e["event"]) for e in found["negative"]}
    assert negative == {"b": (["a"], 2.0, 0, "dislike"), "c": (["a"], 1.0, 1, "hide")}
    later = {e["item_id"]: (e["history"][:1], e["weight"], e["#for_good"]) for e in found["later_negative"]}
    assert later == {"e": (["c"], 2.0, 0), "a": (["f"], 2.0, 0)}
    first, second = found["eval"]
    assert (first["item_id"], first["history"], first["seen"]) == ("f", ["c", "b", "d", "a"], ["c", "b", "d", "a"])
    assert first["#rejected"] == ["e", "c"]
    assert (second["item_id"], second["history"]) == ("g", ["f", "c", "b", "d", "a"])
    assert second["#rejected"] == ["a", "e", "c"]
    assert report.split_events == {"train": 4, "eval": 2, "negative": 2}
    assert report.dropped == {"negative events of the evaluation": 2}


def test_ratings_may_be_negative_and_one_that_is_makes_the_event_so():
    options = {
        "columns": {"event": "kind"},
        "event_weights": {"view": 2, "skip": -3},
        "split": {"method": "leave_last_n"},
    }
    rows = [("u", "a", 1, "skip"), ("u", "b", 2, "view"), ("u", "c", 3, "view")]
    found, _, _ = core(rows, **options)
    assert [(e["item_id"], e["weight"]) for e in found["negative"]] == [("a", 3.0)]


def test_the_last_of_a_user_are_those_that_are_not_negative_and_what_is_rejected_later_is_of_the_evaluation():
    kinds = ["view", "dislike", "view", "dislike", "view", "dislike"]
    rows = [("u", item, time, kind) for time, (item, kind) in enumerate(zip("abcdef", kinds))]
    found, report, _ = core(rows, split={"method": "leave_last_n"}, **TYPES)
    assert [e["item_id"] for e in found["eval"]] == ["e"]
    assert found["eval"][0]["history"] == ["c", "a"]
    assert found["eval"][0]["#rejected"] == ["d", "b"]
    assert sorted(e["item_id"] for e in found["negative"]) == ["b", "d"]
    assert report.dropped == {"negative events of the evaluation": 1}


def test_minimum_counts_are_of_the_other_events_and_take_the_negative_ones_with_them():
    rows = [("u", "a", 1, "view"), ("u", "b", 2, "dislike"), ("v", "a", 3, "view"), ("v", "b", 4, "view")]
    rows += [("v", "c", 5, "dislike"), ("v", "a", 9, "view")]
    found, report, _ = core(rows, split.Cut(9), min_user_events=2, min_item_events=1, **TYPES)
    assert sorted(e["item_id"] for e in found["train"]) == ["a", "b"]
    assert [e["item_id"] for e in found["negative"]] == ["c"]
    assert report.dropped == {"of users below min_user_events 2": 2}


def test_who_has_negative_events_alone_is_dropped_by_name():
    rows = [("u", "a", 1, "dislike"), ("v", "a", 3, "view"), ("v", "b", 9, "view")]
    found, report, _ = core(rows, split.Cut(9), **TYPES)
    assert (len(found["train"]), len(found["negative"])) == (1, 0)
    assert report.dropped == {"of users with negative events alone": 1}


@pytest.mark.parametrize("deduplicate", [True, "user_item"])
def test_a_negative_event_is_no_duplicate_of_another(deduplicate):
    rows = [("u", "a", 1, "view"), ("u", "a", 1, "dislike"), ("u", "a", 1, "dislike"), ("u", "b", 9, "view")]
    found, report, _ = core(rows, split.Cut(9), deduplicate=deduplicate, **TYPES)
    assert [len(found[name]) for name in ("train", "negative", "eval")] == [1, 1, 1]
    assert found["eval"][0]["#rejected"] == ["a"]  # of one moment the negative event is the later one
    assert report.dropped == {"duplicates": 1}


def test_items_of_types_of_events_that_are_left_out_are_those_before_the_query():
    kinds = ["buy", "view", "buy", "view", "buy", "view"]
    rows = [("u", item, time, kind) for time, (item, kind) in enumerate(zip("abcadb", kinds))]
    options = {"columns": {"event": "kind"}}
    found, report, _ = core(rows, split.Cut(3), excluded_types=["buy"], **options)
    queries = [(e["item_id"], e["#excluded"], e["seen"]) for e in found["eval"]]
    assert queries == [
        ("a", ["c", "a"], ["c", "b", "a"]),
        ("d", ["c", "a"], ["a", "c", "b"]),
        ("b", ["d", "c", "a"], ["d", "a", "c", "b"]),
    ]
    assert report.facts["evaluation events of items that their users had"] == 2
    assert all("#excluded" not in event for event in found["train"])


LOG = st.lists(
    st.tuples(
        st.sampled_from("uv"), st.sampled_from("abc"), st.integers(0, 12), st.sampled_from(["view", "dislike", "hide"])
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda row: row[:3],
)


@pytest.mark.slow
@pytest.mark.smoke
@settings(deadline=None, max_examples=60)
@given(LOG, TIES, st.sampled_from([{"method": "time"}, {"method": "hash"}, {"method": "leave_last_n", "n": 2}]))
def test_what_is_rejected_at_a_query_is_what_the_plain_loop_says(rows, ties, how):
    found, _, _ = core(rows, split={"eval_fraction": 0.4, **how}, history={"ties": ties}, **TYPES)
    place = {(user, item, time): (time, k) for k, (user, item, time, _) in enumerate(rows)}
    for query in found["eval"]:
        user, time = query["user_id"], query["timestamp"]
        now = place[user, query["item_id"], time]
        before = [
            row
            for row in rows
            if row[0] == user and (row[2] < time or (ties == "log_order" and is_before(row, now, place)))
        ]
        before.sort(key=lambda row: (row[2], row[3] != "view", place[row[:3]]))
        rejected = {}
        for _, item, _, kind in before:
            if kind == "view" and rejected.get(item) != "hide":
                rejected.pop(item, None)
            elif kind != "view" and rejected.get(item) != "hide":
                rejected.pop(item, None)
                rejected[item] = kind
        assert query["#rejected"] == list(rejected)[::-1]
        positives = [item for _, item, _, kind in before if kind == "view"]
        assert query["history"] == positives[::-1]
    views = {row[:3] for row in rows if row[3] == "view"}
    assert all((e["user_id"], e["item_id"], e["timestamp"]) in views for e in found["eval"] + found["train"])


def is_before(row, now, place):
    """Of one moment negative events count as later than all others, which are what is asked about."""
    return place[row[:3]] < now and row[3] == "view"


@pytest.mark.slow
@pytest.mark.smoke
@settings(deadline=None, max_examples=60)
@given(LOG)
def test_negative_examples_of_the_full_log_are_those_of_the_log_truncated_at_the_cut(rows):
    full, _, cut = core(rows, **TYPES)
    if cut is None:
        return
    before = [row for k, row in enumerate(rows) if (row[2], k + 2) < (cut.time, cut.order)]
    truncated, _, _ = core(before, cut, **TYPES)
    for name in ("train", "negative"):
        keys = [sorted(map(repr, some[name])) for some in (full, truncated)]
        assert keys[0] == keys[1]


@pytest.mark.slow
@pytest.mark.smoke
def test_they_are_a_split_of_their_own_and_are_counted(tmp_path):
    header = ("user_id", "item_id", "timestamp", "kind")
    rows = [(user, item, 1_600_000_000 + time, kind) for user, item, time, kind in ROWS]
    found, summary, _ = generate(tmp_path, log_of(rows, header), {**TYPES, "split": {"eval_fraction": 0.4}})
    assert summary == (
        "10 rows read: 4 train, 2 negative, 2 eval (cut 2020-09-13 12:26:47 UTC); "
        "dropped 2 (2 negative events of the evaluation); rejected 0"
    )
    assert sorted(e["item_id"][0] for e in read_split(tmp_path, "negative")) == ["b", "c"]
    assert found["eval"][1]["#rejected"] == ["a", "e", "c"]
