"""InteractionGen's executor on small files."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest
from tfx.types import standard_artifacts

from components.all_events.executor import Executor as AllEvents
from components.data_profile import RejectedRows
from components.errors import InputError
from components.examples.past import Read, read_all
from components.examples.reading import ragged, read_columns, scalars
from components.interaction_gen.executor import Executor
from tests.components.interaction_gen.small import ROWS, generate, log_of, read_split

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


def _read(folder, content, before=None, **options):
    """Reads a log of rows by files, on from `before`; returns its examples, and these with all of their events."""
    (folder / "log").mkdir(exist_ok=True, parents=True)
    for name, rows in content.items():
        (folder / "log" / name).write_text(log_of(rows, ("user_id", "item_id", "timestamp", "event")))
    made, together, rejects = standard_artifacts.Examples(), standard_artifacts.Examples(), RejectedRows()
    place = folder / ("on" if before else "first")
    made.uri, together.uri, rejects.uri = str(place / "examples"), str(place / "all"), str(place / "rejects")
    context = Executor.Context(beam_pipeline_args=["--runner=FnApiRunner"], tmp_dir=str(place / "tmp"), unique_id="1")
    settings = {"columns": {"event": "event"}, "never_again": ["hide"], "split": {"eval_fraction": 0.5}, **options}
    properties = {"input_path": str(folder / "log" / "*"), "settings": json.dumps(settings), "keep": 2}
    inputs = {"before": [before]} if before else {}
    Executor(context).Do(inputs, {"examples": [made], "rejects": [rejects]}, properties)
    blessing = standard_artifacts.ModelBlessing()
    blessing.set_int_custom_property("blessed", 1)
    AllEvents().Do({"examples": [made], "blessing": [blessing]}, {"all_examples": [together]}, {})
    return made, together


def _by_event(examples, *splits):
    """What examples have but for their user_type, by user and time."""
    return {
        (row["user_id"][0], row["timestamp"][0]): {name: row[name] for name in row if name != "user_type"}
        for split in splits
        for row in read_split(Path(examples.uri).parent, split)
    }


def test_a_log_that_is_read_on_has_the_examples_of_one_that_is_read_as_a_whole(tmp_path):
    rng, partitions = random.Random(3), 7
    kinds = ["view", "view", "hide"]
    rows = [(f"u{k}", "i0", 10 * k, "view") for k in range(5)]  # or the first read drops users with negative ones alone
    rows += [
        # Some users, and with them parts of the log, have nothing new.
        (f"u{rng.randrange(5 if k < 40 else 2)}", f"i{rng.randrange(7)}", 10 * k, rng.choice(kinds))
        for k in range(5, 60)
    ]
    old, new = rows[:40], rows[40:]
    whole, _ = _read(tmp_path / "whole", {"1.csv": old, "2.csv": new}, partitions=partitions)
    _, base = _read(tmp_path / "parts", {"1.csv": old}, partitions=partitions)
    made, together = _read(tmp_path / "parts", {"2.csv": new}, base, partitions=partitions)
    assert json.loads(made.split_names) == ["train", "eval", "negative", "later_negative"]
    expected, found = _by_event(whole, "train", "eval"), _by_event(made, "train", "eval")
    assert found
    assert {when for _, when in found} == {10_000_000 * k for k in range(40, 60) if rows[k][3] == "view"}
    # The newer half of what is new is asked for.
    asked = {when for _, when in _by_event(made, "eval")}
    assert asked == {10_000_000 * k for k in range(50, 60) if rows[k][3] == "view"}
    for event, row in found.items():
        known = expected[event]
        assert {name: row[name] for name in row if name in known} == {n: known[n] for n in known if n in row}, event
    # What is of before lies beside it, and the next one goes on from all.
    views = [row for row in rows if row[3] == "view"]
    table = read_columns(made, "past", {"timestamp": int, "history": bytes})
    past = scalars(table, "timestamp")
    assert np.diff(ragged(table, "history")[1]).max() == 2
    assert sorted(past.tolist()) == [10_000_000 * k for k in range(40) if rows[k][3] == "view"]
    assert len(list(read_all(together.uri, "train", {"timestamp": int}, 1))) == len(views)
    assert len(list(read_all(together.uri, "negative", {"timestamp": int}, 1))) == len(rows) - len(views)
    read = Read.of(together.uri)
    assert ([Path(path).name for path in read.files], read.nights) == (["1.csv", "2.csv"], 1)
    profile = json.loads((Path(made.uri).parent / "rejects" / "profile.json").read_text())
    assert (profile["events"], profile["users"], profile["first"], profile["last"]) == (60, 5, 0, 590_000_000)
    with pytest.raises(InputError, match="has no file that was not read before"):
        _read(tmp_path / "parts", {}, together)


def test_only_a_window_of_days_is_kept(tmp_path):
    day = 86_400
    rows = [("u", f"i{k}", k * day, "view") for k in range(10)]
    made, base = _read(tmp_path, {"1.csv": rows}, window_days=4)
    assert sorted(when // 86_400_000_000 for _, when in _by_event(made, "train", "eval")) == [5, 6, 7, 8, 9]
    assert "dropped 5 (5 older than window_days 4)" in made.get_string_custom_property("summary")
    later = [("u", f"i{k}", k * day, "view") for k in (10, 11)]
    made, together = _read(tmp_path, {"2.csv": later}, base, window_days=4)
    queries = _by_event(made, "eval")
    assert {when // 86_400_000_000: row["history"] for (_, when), row in queries.items()} == {
        11: ["i10", "i9", "i8", "i7"]
    }
    times = [scalars(batch, "timestamp") for batch in read_all(together.uri, "train", {"timestamp": int}, 5)]
    assert sorted(np.concatenate(times) // 86_400_000_000) == [7, 8, 9, 10, 11]
