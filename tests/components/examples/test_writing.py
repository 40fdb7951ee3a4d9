"""Serialized examples against protobuf's own, and shards that appear whole."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.examples.writing import serialize, varint, write_shard

TEXT = st.none() | st.text(max_size=200)
LISTS = st.none() | st.lists(st.text(max_size=50), max_size=5)
NUMBERS = st.none() | st.lists(st.floats(width=32, allow_nan=False), max_size=40)
FLOATS = st.none() | st.floats(width=32, allow_nan=False)
INTEGERS = st.none() | st.integers(-(2**63), 2**63 - 1)


def expected(row):
    example = tf.train.Example()
    for name, value in row.items():
        if value is None:
            continue
        feature = example.features.feature[name]
        if name == "text":
            feature.bytes_list.value.append(value.encode())
        elif name in ("list", "shared"):
            feature.bytes_list.value.extend(each.encode() for each in value)
            feature.bytes_list.SetInParent()
        elif name == "float":
            feature.float_list.value.append(value)
        elif name == "numbers":
            feature.float_list.value.extend(value)
            feature.float_list.SetInParent()
        else:
            feature.int64_list.value.append(value)
    return example.SerializeToString(deterministic=True)


@pytest.mark.slow
@pytest.mark.smoke
@settings(deadline=None)
@given(st.lists(st.tuples(TEXT, LISTS, NUMBERS, FLOATS, INTEGERS), max_size=6), st.integers(0, 2))
def test_records_are_those_of_protobuf(rows, skipped):
    text, lists, numbers, floats, integers = zip(*rows) if rows else ((), (), (), (), ())
    values = pa.array(lists, pa.list_(pa.string()))
    columns = {
        "text": pa.array(text, pa.string()),
        "list": values,
        "numbers": pa.array(numbers, pa.list_(pa.float32())),
        "float": pa.array(floats, pa.float32()),
        "long_name_of_an_integer": pa.array(integers, pa.int64()),
        "shared": pa.ListArray.from_arrays(
            pa.array(np.arange(len(rows) + 1), pa.int32()),
            pa.array([f"item {k % 2}" for k in range(len(rows))], pa.string()).dictionary_encode(),
        ),
    }
    columns = {name: column.slice(skipped) for name, column in columns.items()}
    plain = {name: column.to_pylist() for name, column in columns.items()}
    count = len(plain["text"])
    assert serialize(columns) == [expected({name: plain[name][k] for name in plain}) for k in range(count)]


def test_varint():
    assert [varint(value) for value in (0, 127, 128, 300)] == [b"\x00", b"\x7f", b"\x80\x01", b"\xac\x02"]


def test_a_shard_is_readable_and_always_the_same(tmp_path):
    records = [b"one", b"", b"three" * 1000]
    digests = set()
    for number in range(2):
        path = tmp_path / f"{number}" / "data_tfrecord-00000-of-00001.gz"
        write_shard(str(path), records, str(tmp_path / "tmp"))
        assert list(tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator()) == records
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_an_interrupted_shard_does_not_appear(tmp_path):
    def broken():
        yield b"one"
        raise KeyError("gone")

    with pytest.raises(KeyError):
        write_shard(str(tmp_path / "split" / "shard.gz"), broken(), str(tmp_path / "tmp"))
    assert not (tmp_path / "split").exists()
