"""What Beam makes of files, partitions and users."""

import csv
import datetime
import json

import pyarrow as pa
import pytest

from components import suppression
from components.errors import InputError
from tests.components.interaction_gen.small import ROWS, generate, log_of

pytestmark = [pytest.mark.slow, pytest.mark.smoke]  # Beam takes its time


def test_users_are_joined(tmp_path):
    options = {"users": {"id": "id", "features": {"age": {"type": "number"}, "job": {"type": "category"}}}}
    log = log_of(ROWS)
    found, _, _ = generate(tmp_path, log, options, users="id,age,job\nu1,33,smith\nu2,,\n")
    by_user = {example["user_id"][0]: example for example in found["train"]}
    assert (by_user["u1"]["age"], by_user["u1"]["job"]) == ([33.0], ["smith"])
    assert "age" not in by_user["u2"]
    assert "job" not in by_user["u3"]
    for users, message in (
        ("id,age,job\nu1,33,smith\nu1,34,smith\n", r"users are listed more than once: 'u1' \(rows 2, 3\)"),
        ("id,age,job\nU1,33,smith\n", "lists none of the log's users"),
        ("id,age\nu1,33\n", "no column 'job'"),
    ):
        with pytest.raises(InputError, match=message):
            generate(tmp_path, log, options, users=users)


def test_users_who_are_forgotten_are_not_read(tmp_path):
    path = str(tmp_path / "suppression.json")
    suppression.add(path, ["u2"])
    # A row of the user's that can't be used is counted, but not written down.
    log = log_of(ROWS) + "u2,i1,never\nu3,i1,nor this\n"
    options = {"max_rejected_fraction": 0.5}
    found, summary, rejects = generate(tmp_path, log, options, suppression=path)
    without = tmp_path / "without"
    without.mkdir()
    rows = [row for row in ROWS if row[0] != "u2"]
    expected, _, _ = generate(without, log_of(rows), options)
    for part in ("train", "eval"):
        one, other = (sorted(events[part], key=lambda event: event["timestamp"]) for events in (found, expected))
        assert one == other
    assert "dropped 5 (5 of users who are forgotten); rejected 2" in summary
    assert [row["line"] for row in csv.DictReader((rejects / "rejected.csv").open())] == ["", "u3,i1,nor this"]


def test_output_does_not_depend_on_the_number_of_partitions_and_its_bytes_are_stable(tmp_path):
    contents = []
    for partitions in (1, 1, 5):
        folder = tmp_path / str(len(contents))
        folder.mkdir()
        found, _, _ = generate(folder, log_of(ROWS), {"partitions": partitions, "min_item_events": 2})
        shards = sorted((folder / "examples").rglob("data_tfrecord-*"))
        assert len(shards) == 2 * partitions
        assert not [path for path in (folder / "examples").rglob("*") if path.is_file() and path not in shards]
        contents.append((found, [path.read_bytes() for path in shards]))
    assert contents[0][1] == contents[1][1]
    for part in ("train", "eval"):
        one, five = (sorted(found[part], key=lambda event: event["timestamp"]) for found, _ in contents[1:])
        assert one == five


def test_files_and_formats_give_the_same_events(tmp_path):
    import pyarrow.parquet as pq

    table = pa.table({"user_id": [row[0] for row in ROWS], "item_id": [row[1] for row in ROWS]})
    (tmp_path / "p").mkdir()
    times = pa.array([row[2] for row in ROWS], pa.timestamp("s"))
    pq.write_table(table.append_column("timestamp", times), tmp_path / "p" / "log.parquet", row_group_size=6)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "log-1.csv").write_text(log_of(ROWS[:9]))
    (tmp_path / "c" / "log-2.csv").write_text(log_of(ROWS[9:]))
    parquet, _, _ = generate(tmp_path / "p", None, name="log.parquet")
    parts, _, _ = generate(tmp_path / "c", None, name="log-*.csv")
    assert parquet["eval"] == parts["eval"]
    assert sorted(e["timestamp"] for e in parquet["train"]) == sorted(e["timestamp"] for e in parts["train"])


def test_the_split_by_files(tmp_path):
    (tmp_path / "test.csv").write_text(log_of([("u0", "new", 3000), ("u0", "i0", 1000)]))
    options = {"split": {"method": "files", "eval_path": str(tmp_path / "test.csv")}}
    found, summary, _ = generate(tmp_path, log_of(ROWS), options)
    # The second row repeats an event of the training file.
    assert [(e["item_id"], len(e["history"]), e["user_type"]) for e in found["eval"]] == [(["new"], 5, ["known"])]
    assert "20 train, 1 eval; dropped 1 (1 duplicates)" in summary


@pytest.mark.parametrize("partitions", [1, 5])
def test_top_users_are_those_with_most_training_events(tmp_path, partitions):
    # cat has most events of all, but all of them later than the cut.
    rows = [("ann", f"i{k}", k) for k in range(3)] + [("bob", f"i{k}", k) for k in range(3)] + [("dan", "i1", 1)]
    rows += [("eve", "i2", 2), ("eve", "i3", 3), ("bob", "i4", 50)] + [("cat", f"i{k}", 50 + k) for k in range(9)]
    options = {"top_users": 2, "partitions": partitions}
    cutoff = "1970-01-01T00:00:00.000040Z"
    found, summary, _ = generate(tmp_path, log_of(rows), {**options, "timestamp_unit": "us"}, cutoff=cutoff)
    assert sorted(event["user_id"][0] for event in found["train"]) == ["ann"] * 3 + ["bob"] * 3
    assert [event["user_id"] for event in found["eval"]] == [["bob"]]
    assert "12 of users beyond top_users 2" in summary


def test_a_fault_in_a_later_file_is_an_input_error_too(tmp_path):
    (tmp_path / "log-1.csv").write_text(log_of(ROWS))
    (tmp_path / "log-2.csv").write_text("user_id,timestamp\nu,1\n")
    with pytest.raises(InputError, match=r"log-2\.csv has no column 'item_id'"):
        generate(tmp_path, None, name="log-*.csv")
    (tmp_path / "log-2.csv").write_text('user_id,item_id,timestamp\nu,"i,1\n')
    with pytest.raises(InputError, match=r"log-2\.csv: a quote is opened and not closed"):
        generate(tmp_path, None, name="log-*.csv")


BY_CASE = {
    "an object that no setting names": ({}, "log.jsonl", "json"),
    "no header and two colons between columns": (
        {"names": ["user_id", "item_id", "timestamp"], "delimiter": "::", "format": "csv"},
        "ratings.dat",
        "dat",
    ),
    "Twitter's times": ({"timestamp_format": "%a %b %d %H:%M:%S %z %Y"}, "log.csv", "%a %b %d %H:%M:%S +0000 %Y"),
    "BigQuery's times": ({}, "log.csv", "%Y-%m-%d %H:%M:%S UTC"),
    "Hive's folders": ({"columns": {"timestamp": "dt"}}, "events", "folders"),
}


@pytest.mark.parametrize("case", BY_CASE)
def test_files_as_people_have_them_give_the_same_events(tmp_path, case):
    options, name, kind = BY_CASE[case]
    days = [datetime.datetime(2020, 9, 14) + datetime.timedelta(days=k // 5) for k in range(20)]
    rows = [(f"u{k % 4}", f"i{k % 7}", day) for k, day in enumerate(days)]
    if kind == "folders":
        for day in sorted(set(days)):
            (tmp_path / name / f"dt={day:%Y-%m-%d}").mkdir(parents=True)
            part = log_of([row[:2] for row in rows if row[2] == day], ("user_id", "item_id"))
            (tmp_path / name / f"dt={day:%Y-%m-%d}" / "part-0.csv").write_text(part)
        (tmp_path / name / "_SUCCESS").touch()
        content = None
    elif kind == "json":
        items = [
            {"user_id": user, "item_id": item, "timestamp": str(day), "style": {"x": 1}} for user, item, day in rows
        ]
        content = "".join(f"{json.dumps(item)}\n" for item in items)
    elif kind == "dat":
        content = "".join(
            f"{user}::{item}::{day.replace(tzinfo=datetime.timezone.utc).timestamp():.0f}\n" for user, item, day in rows
        )
    else:
        content = log_of([(user, item, day.strftime(kind)) for user, item, day in rows])
    plain = log_of([(user, item, str(day)) for user, item, day in rows])
    (tmp_path / "plain").mkdir()
    expected, _, _ = generate(tmp_path / "plain", plain)
    found, summary, _ = generate(tmp_path, content, options, name=name)
    assert summary.startswith("20 rows read: 16 train, 4 eval (cut 2020-09-17 00:00:00 UTC)"), summary
    for part in ("train", "eval"):
        events = [
            sorted((e["user_id"], e["item_id"], e["timestamp"]) for e in some[part]) for some in (found, expected)
        ]
        assert events[0] == events[1]


def test_a_word_for_none_is_said_and_a_setting_takes_it_for_one(tmp_path):
    rows = [("NA" if k % 3 else f"u{k % 4}", f"i{k % 7}", 1_600_000_000 + k) for k in range(60)]
    _, summary, rejects = generate(tmp_path, log_of(rows))
    warning = "one user, 'NA', has 40 of 60 events: if that stands for a missing user_id, set missing: ['NA']"
    assert summary.endswith(f"rejected 0; warning: {warning}")
    report = json.loads((rejects / "report.json").read_text())
    assert report["warnings"] == [warning]
    assert report["span"] == [1_600_000_000_000_000, 1_600_000_059_000_000]
    with pytest.raises(InputError, match=r"40 of 60 rows can't be used.*\n.*40 × user_id is missing"):
        generate(tmp_path, log_of(rows), {"missing": ["NA"]})


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("log.csv", log_of([("u", "i", 20200913 + k % 3) for k in range(9)]), {}, r"log\.csv: .* looks like YYYYMMDD"),
        ("log.csv", log_of([("u", "i", 44087.5 + k) for k in range(9)]), {}, "looks like the days of a spreadsheet"),
        (
            "log.tsv",
            "user_id\titem_id\ttitle\ttimestamp\n"
            + "".join("u{k}\ti\t{quote}Heroes\t{k}\n".format(k=k, quote='"' * (k in (3, 7))) for k in range(9)),
            {"delimiter": "\t"},
            r"log\.tsv, row 5: a value that begins with '\"Heroes\\t3' runs over 5 lines .*set quote: null",
        ),
        ("log.csv", "1,2,3\n" * 9, {}, "the first row looks like data: has the file a header"),
    ],
)
def test_what_would_be_something_else_without_a_word_stops(tmp_path, name, content, options, message):
    with pytest.raises(InputError, match=message):
        generate(tmp_path, content, options, name=name)
