"""InteractionGen's executor on small files."""

import csv
import json

import pytest

from components.errors import InputError
from tests.components.interaction_gen.small import ROWS, generate, log_of

pytestmark = [pytest.mark.slow, pytest.mark.smoke]  # Beam takes its time


def test_examples_hold_what_the_architecture_says(tmp_path):
    rows = [
        ("u", "a", 10, "buy", 4, "x|y", "2.5"),
        ("u", "b", 20, "view", 3, "", ""),
        ("u", "c", 25, "click", 5, "", ""),
        ("u", "a", 30, "buy", 2.5, "z", "nan"),
    ]
    options = {
        "columns": {"event": "kind", "rating": "rating"},
        "event_weights": {"buy": 5, "view": 0.5},
        "features": {"tags": {"type": "categories"}, "cost": {"type": "number", "column": "price"}},
        "split": {"eval_fraction": 0.34},
    }
    header = ("user_id", "item_id", "timestamp", "kind", "rating", "tags", "price")
    found, summary, _ = generate(tmp_path, log_of(rows, header), options)
    assert found["eval"] == [
        {
            "user_id": ["u"],
            "item_id": ["a"],
            "timestamp": [30_000_000],
            "#place": [0],
            "weight": [5.0],
            "event": ["buy"],
            "rating": [2.5],
            "tags": ["z"],
            "history": ["b", "a"],
            "seen": ["b", "a"],
            "user_type": ["known"],
        }
    ]
    first = next(example for example in found["train"] if example["item_id"] == ["a"])
    assert (first["tags"], first["cost"], first["history"]) == (["x", "y"], [2.5], [])
    assert summary == (
        "4 rows read: 2 train, 1 eval (cut 1970-01-01 00:00:30 UTC), 1 of them of items that their users had; "
        "dropped 1 (1 of a type not in event_weights); rejected 0; "
        "warning: times begin before 1990 (1970-01-01 00:00:10 to 1970-01-01 00:00:30): are timestamp_unit, "
        "timestamp_format and timezone right?"
    )


def test_ids_of_any_kind_come_through_exactly(tmp_path):
    users = ["a,b", 'say "hi"', " sp ace ", "😀", "1" * 39, "007", "NULL", "NaN"]
    rows = [(user, f"item {user}", k) for k, user in enumerate(users)]
    found, _, _ = generate(tmp_path, log_of(rows), name="log, with [odd] name.csv")
    events = found["train"] + found["eval"]
    assert {(e["user_id"][0], e["item_id"][0]) for e in events} == {(user, f"item {user}") for user in users}


def test_a_cutoff_overrides_the_fraction(tmp_path):
    found, summary, _ = generate(tmp_path, log_of(ROWS), cutoff="1970-01-01T00:16:58Z")  # second 1018
    assert len(found["eval"]) == 2
    assert "(cut 1970-01-01 00:16:58 UTC)" in summary
    for cutoff, message in (("tomorrow", "'tomorrow' is no ISO 8601 time"), ("2030-01-01", "cutoff is after the last")):
        with pytest.raises(InputError, match=message):
            generate(tmp_path, log_of(ROWS), cutoff=cutoff)


def test_rejected_rows_are_counted_written_and_over_the_limit_end_the_run(tmp_path):
    bad = [("", "i1", 1), ("u1", "", 1), ("u1", "i1", ""), ("u1", "i1", "soon"), ("u1", "i\n1", 1), ("u1",)]
    content = log_of([*ROWS, *bad]).encode() + b"u1,\xff,1\r\n"
    found, summary, rejects = generate(tmp_path, content, {"max_rejected_fraction": 0.5, "timestamp_unit": "s"})
    assert len(found["train"]) + len(found["eval"]) == 20
    assert "rejected 8 (2 item_id has a line break, 1 1 columns instead of 3, " in summary
    with open(rejects / "rejected.csv", newline="", encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    assert [(row["row"], row["reason"]) for row in rows] == [
        ("22", "user_id is missing"),
        ("23", "item_id is missing"),
        ("24", "timestamp is missing"),
        ("25", "timestamp is not a time between 1900 and 2200 (read as seconds)"),
        ("26", "item_id has a line break"),
        ("27", "1 columns instead of 3"),
        ("28", "item_id is not UTF-8 (see encoding)"),
    ]
    assert rows[3]["line"] == "u1,i1,soon"
    assert json.loads((rejects / "report.json").read_text())["rows"] == 28
    with pytest.raises(InputError) as caught:
        generate(tmp_path, content)
    message = str(caught.value)
    assert "8 of 28 rows can't be used, more than max_rejected_fraction 0.01 allows" in message
    assert f"{tmp_path}/log.csv: 1 × user_id is missing (rows 22: ',i1,1')" in message


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, {}, "there is no file"),
        ("", {}, "is empty"),
        ("user_id,item_id,timestamp\n", {}, "there are no rows"),
        ("user_id,item_id,time\nu,i,1\n", {}, "has no column 'timestamp'; it has .* did you mean 'time'"),
        (
            "user_id,item_id,timestamp\nu,i,x\n",
            {},
            r"log.csv: column 'timestamp' holds 'x', neither a number nor a time",
        ),
        (log_of(ROWS), {"min_user_events": 50}, "no training event is left.*min_user_events 50"),
        (
            log_of(ROWS),
            {"min_user_events": 50, "split": {"method": "hash"}},
            "no event is left; of 20 rows, dropped are 20",
        ),
        (log_of([*ROWS[:2]]), {}, "the evaluation split is empty: too few events for split.eval_fraction"),
        (log_of(ROWS), {"split": {"method": "leave_last_n", "n": 9}}, "no user has more than split.n = 9 events"),
        (log_of(ROWS), {"colums": {}}, "settings of InteractionGen.*\n*colums"),
        (log_of(ROWS), {"users": {"features": {}}}, "users_path is not"),
    ],
)
def test_bad_input_ends_with_one_clear_message(tmp_path, content, options, message):
    with pytest.raises(InputError, match=f"(?s){message}"):
        generate(tmp_path, content, options)


def test_sessions_spread_out_capped_and_aged_are_counted(tmp_path):
    """The last of five sessions is for evaluation; the one before it is too long."""
    start = 1_600_000_000
    rows = [
        (f"s{k}", " ".join(f"i{(k * m) % 7}" for m in range(4 + 4 * (k == 3))), start + k * 86_400) for k in range(5)
    ]
    options = {
        "columns": {"user_id": "session", "item_id": "items"},
        "spread": True,
        "separator": " ",
        "max_user_events": 4,
        "max_item_events": 5,
        "half_life": 3.5,
    }
    content = log_of(rows, ("session", "items", "timestamp"))
    found, summary, rejects = generate(tmp_path, content, options, cutoff="2020-09-17T12:26:40Z")
    assert summary == (
        "5 rows with lists spread out into 24 rows read: 14 train (2 of them older than half_life), 4 eval "
        "(cut 2020-09-17 12:26:40 UTC); dropped 6 (4 of users beyond max_user_events 4, 2 of items beyond "
        "max_item_events 5); rejected 0"
    )
    # i0 is all of s0 and in each of the others: of seven events two are too many, the oldest.
    assert [e["item_id"] for e in found["train"] if e["user_id"] == ["s0"]] == [["i0"]] * 2
    assert found["eval"][-1]["history"] == ["i1", "i4", "i0"]
    assert json.loads((rejects / "report.json").read_text())["facts"]["rows spread out"] == 5
