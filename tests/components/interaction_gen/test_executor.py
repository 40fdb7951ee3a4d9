"""InteractionGen's executor on small files."""

import csv
import io
import json

import pyarrow as pa
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components.errors import InputError
from components.interaction_gen.component import RejectedRows
from components.interaction_gen.executor import Executor

pytestmark = [pytest.mark.slow, pytest.mark.smoke]  # Beam takes its time


def generate(folder, content, options=None, users="", cutoff="", name="log.csv"):
    """Runs the executor on a log with `content`; returns {split: [examples]}, the summary and the folder of rejects."""
    if content is not None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    if users:
        (folder / "users.csv").write_text(users)
    examples, rejects = standard_artifacts.Examples(), RejectedRows()
    examples.uri, rejects.uri = str(folder / "examples"), str(folder / "rejects")
    beam_args = ["--runner=FnApiRunner", "--sdk_container_image=unused"]
    context = Executor.Context(beam_pipeline_args=beam_args, tmp_dir=str(folder / "tmp"), unique_id="1")
    properties = {
        "input_path": str(folder / name),
        "settings": json.dumps(options or {}),
        "users_path": str(folder / "users.csv") if users else "",
        "cutoff": cutoff,
    }
    Executor(context).Do({}, {"examples": [examples], "rejects": [rejects]}, properties)
    found = {part: read_split(folder, part) for part in ("train", "eval")}
    return found, examples.get_string_custom_property("summary"), folder / "rejects"


def read_split(folder, part):
    records = []
    for path in sorted((folder / "examples" / f"Split-{part}").iterdir()):
        for record in tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            records.append({name: values(feature) for name, feature in features.items()})
    return records


def values(feature):
    if feature.WhichOneof("kind") == "bytes_list":
        return [value.decode() for value in feature.bytes_list.value]
    return list(feature.float_list.value or feature.int64_list.value)


def log_of(rows, header=("user_id", "item_id", "timestamp")):
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    return text.getvalue()


ROWS = [(f"u{k % 4}", f"i{k % 7}", 1000 + k) for k in range(20)]


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
        "4 rows read: 2 train, 1 eval (cut 1970-01-01 00:00:30 UTC); "
        "dropped 1 (1 of a type not in event_weights); rejected 0"
    )


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


def test_ids_of_any_kind_come_through_exactly(tmp_path):
    users = ["a,b", 'say "hi"', " sp ace ", "😀", "1" * 39, "007", "NULL", "NaN"]
    rows = [(user, f"item {user}", k) for k, user in enumerate(users)]
    found, _, _ = generate(tmp_path, log_of(rows), name="log, with [odd] name.csv")
    events = found["train"] + found["eval"]
    assert {(e["user_id"][0], e["item_id"][0]) for e in events} == {(user, f"item {user}") for user in users}


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
        ("28", "item_id is not UTF-8"),
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
        ("user_id,item_id,timestamp\nu,i,x\n", {}, "1 of 1 rows can't be used.*timestamp is not a time"),
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


def test_a_fault_in_a_later_file_is_an_input_error_too(tmp_path):
    (tmp_path / "log-1.csv").write_text(log_of(ROWS))
    (tmp_path / "log-2.csv").write_text("user_id,timestamp\nu,1\n")
    with pytest.raises(InputError, match=r"log-2\.csv has no column 'item_id'"):
        generate(tmp_path, None, name="log-*.csv")
    (tmp_path / "log-2.csv").write_text('user_id,item_id,timestamp\nu,"i,1\n')
    with pytest.raises(InputError, match=r"log-2\.csv: a quote is opened and not closed"):
        generate(tmp_path, None, name="log-*.csv")
