"""InteractionGen: the rules on arrays, and its executor on small files."""

import csv
import io
import json

import numpy as np
import pyarrow as pa
import pydantic
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tfx.types import standard_artifacts

from components.drivers.fingerprint import fingerprint
from components.errors import InputError
from components.hashing import hash_text
from components.interaction_gen import partition, split
from components.interaction_gen.component import RejectedRows
from components.interaction_gen.events import by_partition, clean
from components.interaction_gen.executor import Executor
from components.interaction_gen.settings import InteractionSettings
from components.tables import reading
from components.tables.arrow_bytes import add_counts, from_bytes, to_bytes

pytestmark = [pytest.mark.slow, pytest.mark.smoke]  # most of them run Beam

# ---------------------------------------------------------------- pure core


def core(rows, cut=None, **options):
    """Runs the core on rows of (user, item, time); returns {split: [example dicts]} and the report."""
    config = InteractionSettings.model_validate(options)
    users, items, times = zip(*rows) if rows else ((), (), ())
    columns = {"user_id": pa.array(users, pa.string()), "item_id": pa.array(items, pa.string())}
    if config.columns.timestamp:
        columns["timestamp"] = pa.array(times, pa.int64())
    block = reading.Block(np.arange(2, len(rows) + 2), columns)
    events, report = clean(block, reading.TableFile("log.csv", "csv", 1, 0), config, "us", False)
    table, more = partition.ordered([events], config)
    report.dropped.update(more.dropped)
    if config.split.method == "time" and cut is None:
        cut = find_cut(table, config.split.eval_fraction)
    marked = partition.mark(table, config, cut)
    common = None
    if config.min_item_events > 1:
        counts = from_bytes(add_counts([to_bytes(partition.event_counts(marked, "item_id"))]))
        common = pa.array([i for i, n in zip(*counts.to_pydict().values()) if n >= config.min_item_events], pa.string())
    found = partition.examples(marked, config, cut, common, report)
    result = {}
    for name, slices in found.items():
        result[name] = []
        for arrays in slices:
            values = {column: array.to_pylist() for column, array in arrays.items()}
            result[name] += [{c: values[c][k] for c in values} for k in range(len(values["item_id"]))]
    return result, report, cut


def find_cut(table, fraction, bits=2):
    time, order = table["timestamp"].to_numpy(), table["#order"].to_numpy()
    place = split.locate(split.histogram(time, bits), fraction)
    if place is None:
        return None
    inside = time >> bits == place[0]
    return split.cut_at(time[inside], order[inside], place[1])


def brief(examples):
    return [(e["user_id"], e["item_id"], e["timestamp"], tuple(e["history"])) for e in examples]


TIES = st.sampled_from(["exclude", "log_order"])
LOG = st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from("abcd"), st.integers(0, 12)), min_size=1, max_size=40)


@settings(deadline=None, max_examples=60)
@given(LOG, st.sampled_from([0.1, 0.2, 0.5, 0.9]))
def test_the_cut_by_time_is_exact_and_keeps_the_files_order_in_ties(rows, fraction):
    found, _, _ = core(rows, deduplicate=False, split={"eval_fraction": fraction})
    by_time = sorted(range(len(rows)), key=lambda k: rows[k][2])
    expected = by_time[len(rows) - round(len(rows) * fraction) :]
    assert sorted(event[:3] for event in brief(found["eval"])) == sorted(rows[k] for k in expected)
    assert len(found["train"]) + len(found["eval"]) == len(rows)


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
    known = {example["user_id"] for example in found["train"]}
    assert all(example["user_type"] == ("known" if example["user_id"] in known else "new") for example in found["eval"])
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


def test_leave_last_n_keeps_short_users_in_training():
    rows = [("u", "a", 1), ("u", "b", 2), ("u", "c", 2), ("v", "a", 1), ("v", "b", 9)]
    found, _, _ = core(rows, split={"method": "leave_last_n", "n": 2})
    assert sorted(event[:2] for event in brief(found["eval"])) == [("u", "b"), ("u", "c")]
    assert sorted(event[:2] for event in brief(found["train"])) == [("u", "a"), ("v", "a"), ("v", "b")]


def test_the_split_by_hash_has_about_its_fraction_and_does_not_depend_on_other_rows():
    rows = [(f"u{k % 50}", f"i{k % 70}", k) for k in range(4000)]
    found, _, _ = core(rows, split={"method": "hash", "eval_fraction": 0.25})
    assert len(found["eval"]) == pytest.approx(1000, abs=3 * (4000 * 0.25 * 0.75) ** 0.5)
    fewer, _, _ = core(rows[:2000], split={"method": "hash", "eval_fraction": 0.25})
    assert {e[:3] for e in brief(fewer["eval"])} == {e[:3] for e in brief(found["eval"]) if e[2] < 2000}


def test_ties_in_the_order_of_the_log():
    # b, c and a share their time, and the file has another user's row between them.
    rows = [("u", "a", 1), ("u", "b", 2), ("v", "z", 2), ("u", "c", 2), ("u", "a", 2), ("u", "d", 3)]
    options = {"split": {"method": "leave_last_n", "n": 2}}
    found, _, _ = core(rows, **options)
    assert brief(found["eval"]) == [("u", "a", 2, ("a",)), ("u", "d", 3, ("a", "c", "b", "a"))]
    found, _, _ = core(rows, **options, history={"ties": "log_order"})
    assert sorted(brief(found["train"])) == [
        ("u", "a", 1, ()),
        ("u", "b", 2, ("a",)),
        ("u", "c", 2, ("b", "a")),
        ("v", "z", 2, ()),
    ]
    assert brief(found["eval"]) == [("u", "a", 2, ("c", "b", "a")), ("u", "d", 3, ("a", "c", "b", "a"))]
    assert [example["seen"] for example in found["eval"]] == [["c", "b", "a"], ["a", "c", "b"]]


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


def test_partitions_are_stable_and_complete():
    assert hash_text(pa.array(["a", "é"])).tolist() == [
        3187963305867457774,
        1136047645494374104,
    ]  # SplitMix64 of their CRC-32
    table = pa.table({"user_id": [f"u{k % 20}" for k in range(100)], "row": list(range(100))})
    parts = dict(by_partition(table, 4))
    assert sorted(row for part in parts.values() for row in part["row"].to_pylist()) == list(range(100))
    homes = {user: number for number, part in parts.items() for user in part["user_id"].to_pylist()}
    assert all(homes[user] == number for number, part in parts.items() for user in part["user_id"].to_pylist())
    assert len(parts) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colums": {}}, "colums"),
        ({"event_weights": {"buy": 1}}, "needs columns.event"),
        ({"event_weights": {"buy": -1}, "columns": {"event": "e"}}, "greater than 0"),
        ({"min_rating": 4}, "needs columns.rating"),
        ({"drop_unrated": True}, "drop_unrated needs columns.rating"),
        ({"rating_weights": {5: 1}}, "rating_weights needs columns.rating"),
        ({"rating_weights": {5: 0}, "columns": {"rating": "r"}}, "greater than 0"),
        ({"rating_weights": {"good": 1}, "columns": {"rating": "r"}}, "valid number"),
        ({"history": {"ties": "file"}}, "'exclude' or 'log_order'"),
        ({"delimiter": "::"}, "one ASCII character"),
        ({"features": {"history": {"type": "number"}}}, "reserved"),
        ({"features": {"a b": {"type": "number"}}}, "letters, digits"),
        ({"features": {"x": {"type": "text", "min": 1}}}, "min and max are for features of type number"),
        ({"features": {"x": {"type": "number"}}, "users": {"features": {"x": {"type": "number"}}}}, "both have x"),
        ({"split": {"method": "files"}}, "eval_path is needed"),
        ({"split": {"eval_fraction": 1.0}}, "less than 1"),
        ({"weight_transform": "log"}, "needs columns.weight"),
        ({"top_users": 0}, "greater than or equal to 1"),
        ({"deduplicate": "item"}, "user_item"),
        ({"rating_range": [5, 1], "columns": {"rating": "r"}}, "lowest and the highest"),
    ],
)
def test_settings_that_make_no_sense(options, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        InteractionSettings.model_validate(options)


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


# ---------------------------------------------------------------- executor


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


def test_the_fingerprint_goes_by_content(tmp_path):
    (tmp_path / "log.csv").write_text("a")
    (tmp_path / "users.csv").write_text("b")
    properties = {"input_path": f"{tmp_path}/log.csv", "users_path": f"{tmp_path}/users.csv", "settings": "{}"}
    first = fingerprint(properties)
    (tmp_path / "log.csv").write_text("a")
    assert fingerprint(properties) == first
    (tmp_path / "users.csv").write_text("c")
    assert fingerprint(properties) != first
    (tmp_path / "users.csv").unlink()
    with pytest.raises(InputError, match=r"users: there is no file"):
        fingerprint(properties)
