"""Columnar reading of tf.Examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from components.errors import InputError
from components.examples import reading
from components.examples.writing import write_columns
from tests.components.conftest import write_examples

FEATURES = {"user_id": bytes, "timestamp": int, "weight": float, "history": bytes}


@pytest.fixture
def uri(tmp_path: Path) -> Path:
    rows = [
        {"user_id": "ann", "timestamp": 3, "weight": 0.5, "history": ["a", "b", "a"]},
        {"user_id": "bob", "timestamp": -1},
        {"user_id": 'cleo 🦆, "q"', "timestamp": 2**53 + 1, "weight": 2.0, "history": ["c"]},
    ]
    write_examples(tmp_path, "eval", rows)
    return tmp_path


def test_columns_come_in_file_order_and_keep_their_types(uri: Path) -> None:
    table = reading.read_columns(str(uri), "eval", FEATURES)
    assert table.column_names == list(FEATURES)
    assert [user.decode() for user in reading.scalars(table, "user_id")] == ["ann", "bob", 'cleo 🦆, "q"']
    assert reading.scalars(table, "timestamp").tolist() == [3, -1, 2**53 + 1]
    weights = reading.scalars(table, "weight", 1.0)
    assert weights.tolist() == [0.5, 1.0, 2.0]
    assert weights.dtype == np.float32


def test_ragged_and_padded(uri: Path) -> None:
    table = reading.read_columns(str(uri), "eval", FEATURES)
    values, offsets = reading.ragged(table, "history")
    assert values.tolist() == [b"a", b"b", b"a", b"c"]
    assert offsets.tolist() == [0, 3, 3, 4]
    assert reading.padded(table, "history").tolist() == [[b"a", b"b", b"a"], [b"", b"", b""], [b"c", b"", b""]]
    assert reading.padded(table, "history", 2).tolist() == [[b"a", b"b"], [b"", b""], [b"c", b""]]
    assert reading.padded(table, "history", 4)[2].tolist() == [b"c", b"", b"", b""]
    assert reading.padded(table, "history", 0).shape == (3, 0)


def test_a_slice_of_a_batch_has_its_own_values(uri: Path) -> None:
    batch = next(reading.read_batches(str(uri), "eval", FEATURES)).slice(1, 2)
    assert reading.padded(batch, "history").tolist() == [[b""], [b"c"]]
    assert reading.scalars(batch, "user_id").tolist()[0] == b"bob"


def test_small_batches_give_the_same_table(uri: Path) -> None:
    table = reading.read_columns(str(uri), "eval", FEATURES, batch_size=2)
    assert [len(batch) for batch in table.to_batches()] == [2, 1]
    assert table.equals(reading.read_columns(str(uri), "eval", FEATURES))


def test_shards_follow_each_other(tmp_path: Path) -> None:
    write_examples(tmp_path, "train", [{"item_id": str(number)} for number in range(5)], shards=2)
    table = reading.read_columns(str(tmp_path), "train", {"item_id": bytes})
    assert reading.scalars(table, "item_id").tolist() == [b"0", b"2", b"4", b"1", b"3"]


def test_uncompressed_files_are_read_too(uri: Path) -> None:
    import tensorflow as tf

    (uri / "Split-plain").mkdir()
    record = tf.train.Example(
        features=tf.train.Features(feature={"a": tf.train.Feature(int64_list=tf.train.Int64List(value=[7]))})
    )
    with tf.io.TFRecordWriter(str(uri / "Split-plain" / "data")) as writer:
        writer.write(record.SerializeToString())
    assert reading.scalars(reading.read_columns(str(uri), "plain", {"a": int}), "a").tolist() == [7]


def test_an_artifact_can_be_given_instead_of_its_uri(uri: Path) -> None:
    class Artifact:
        pass

    artifact = Artifact()
    artifact.uri = str(uri)
    assert reading.read_columns(artifact, "eval", {"user_id": bytes}).num_rows == 3


def test_an_empty_split_has_columns_but_no_rows(tmp_path: Path) -> None:
    write_examples(tmp_path, "eval", [])
    table = reading.read_columns(str(tmp_path), "eval", FEATURES)
    assert table.num_rows == 0
    assert table.column_names == list(FEATURES)
    assert reading.padded(table, "history").shape == (0, 0)
    assert reading.scalars(table, "user_id").tolist() == []


def test_absent_features(uri: Path) -> None:
    table = reading.read_columns(str(uri), "eval", {**FEATURES, "colour": bytes})
    assert reading.has_feature(table, "history")
    assert not reading.has_feature(table, "colour")
    assert reading.scalars(table, "colour", b"none").tolist() == [b"none"] * 3
    with pytest.raises(InputError, match="'weight' is missing in row 1"):
        reading.scalars(table, "weight")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda uri: reading.read_columns(uri, "test", FEATURES), "Split-test: no such split"),
        (lambda uri: reading.read_columns(uri, "eval", {"user_id": int}), 'wrong type.*"user_id"'),
        (
            lambda uri: reading.scalars(reading.read_columns(uri, "eval", FEATURES), "history", b""),
            "'history' has 3 values in row 0, expected one",
        ),
    ],
)
def test_wrong_input_is_named(uri: Path, call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(str(uri))


def test_a_damaged_file_is_named(uri: Path) -> None:
    file = next((uri / "Split-eval").iterdir())
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(InputError, match=f"{file.name}: a damaged TFRecord file"):
        reading.read_columns(str(uri), "eval", FEATURES)


def test_columns_are_read_as_examples_are(tmp_path: Path) -> None:
    table = pa.table(
        {
            "item_id": ["a", "b", None],
            "timestamp": [1, 2, 3],
            "weight": pa.array([0.5, None, 2.0], pa.float32()),
            "history": pa.array([["x", "y"], [], ["z"]], pa.list_(pa.string())),
            "else": ["not", "asked", "for"],
        }
    )
    path = str(tmp_path / "new" / "data.parquet")
    write_columns(path, [table.slice(0, 2), table.slice(2)], str(tmp_path / "temporary"))
    types = {"history": bytes, "item_id": bytes, "timestamp": int, "weight": float, "missing": int}
    found = pa.Table.from_batches(list(reading.read_file(path, types, 2)))
    assert found.schema == reading.decode([], types).schema
    assert found.to_pydict() == {
        "history": [[b"x", b"y"], [], [b"z"]],
        "item_id": [[b"a"], [b"b"], []],
        "timestamp": [[1], [2], [3]],
        "weight": [[0.5], [], [2.0]],
        "missing": [None] * 3,
    }
    assert reading.scalars(found, "weight", 0).tolist() == [0.5, 0, 2]
    write_columns(str(tmp_path / "none.parquet"), [], str(tmp_path / "temporary"))
    assert not (tmp_path / "none.parquet").exists()
    assert not list((tmp_path / "temporary").iterdir())
