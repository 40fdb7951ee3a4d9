"""The server's reading of TensorProto: against TensorFlow's own, and against messages that lie."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2

from serving.server import tensors
from serving.server.status import StatusError


@pytest.mark.parametrize(
    "value",
    [
        np.float32([[1.5, -np.inf], [0, 3]]),
        np.float64(2.5),
        np.int32(7),
        np.int64([[-(2**63)], [2**63 - 1]]),
        np.uint8([0, 255]),
        np.bool_([True, False]),
        np.zeros((2, 0), np.float32),
        np.full((2, 3), 4.0, np.float32),
    ],
)
def test_reads_what_tensorflow_writes(value):
    # make_tensor_proto packs into tensor_content, and uses the short form where all values are one.
    array = tensors.to_array(tf.make_tensor_proto(value), "x")
    np.testing.assert_array_equal(array, value)
    assert array.dtype == value.dtype


def test_reads_strings():
    array = tensors.to_array(tf.make_tensor_proto([["a", "é"], ["", "🎬"]]), "x")
    assert array.tolist() == [[b"a", "é".encode()], [b"", "🎬".encode()]]


def message(dtype: int, shape: list[int], **fields: object):
    proto = tf.make_tensor_proto(0).__class__(dtype=dtype, **fields)
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    return proto


@pytest.mark.parametrize(
    ("proto", "text"),
    [
        (message(1, [2], float_val=[1, 2, 3]), "3 values for shape"),
        (message(1, [2], tensor_content=b"abc"), "3 bytes for shape"),
        (message(1, [-2], float_val=[1]), "is not a shape"),
        (message(7, [1 << 40], string_val=[b"bomb"]), "1 values for shape"),
        (message(1, [1 << 62, 1 << 62], float_val=[1]), "1 values for shape"),
        (message(4, [1], int_val=[300]), "parsing error"),
        (message(20, [1]), "not supported"),
        (message(0, []), "not supported"),
        (message(1, [1] * 33, float_val=[1]), "33 dimensions"),
        (message(1, [1 << 62] * 20 + [0]), "parsing error"),
        (message(7, [1 << 20], string_val=[b"x" * 100]), "1 values for shape"),
        (tensor_pb2.TensorProto(dtype=1, tensor_shape={"unknown_rank": True}), "without shape"),
    ],
)
def test_messages_that_lie(proto, text):
    if proto.int_val and np.lib.NumpyVersion(np.__version__) < "2.0.0":
        pytest.skip("NumPy 1 wraps integers that don't fit")
    with pytest.raises(StatusError, match=text) as error:
        tensors.to_array(proto, "x")
    assert error.value.code.name == "INVALID_ARGUMENT"


def test_short_forms_count_together():
    half = message(1, [(40 << 20) // 4], float_val=[2])
    assert tensors.to_arrays({"a": half})["a"][-1] == 2
    with pytest.raises(StatusError, match="b: 1 values for shape"):
        tensors.to_arrays({"a": half, "b": half})


ARRAYS = st.sampled_from(
    [np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, np.bool_]
).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)))
TEXTS = hnp.arrays(
    object, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), elements=st.binary(max_size=20)
)


@pytest.mark.slow
@pytest.mark.smoke
@settings(max_examples=100, deadline=None)
@given(ARRAYS | TEXTS)
def test_arrays_come_back(array):
    proto = tensor_pb2.TensorProto()
    tensors.to_proto(array, proto)
    assert not proto.tensor_content
    np.testing.assert_array_equal(tf.make_ndarray(proto), array)  # as TensorFlow reads it
    for message_ in (proto, tf.make_tensor_proto(array) if array.dtype != object else proto):
        back = tensors.to_array(tensor_pb2.TensorProto.FromString(message_.SerializeToString()), "x")
        np.testing.assert_array_equal(back, array)
        assert (back.dtype, back.shape) == (array.dtype, array.shape)


@pytest.mark.parametrize(
    ("values", "bits"),
    [
        ([], 0),
        ([0, -9, 3], 4),
        ([-(2**63)], 64),
        ([0.4], 0),
        ([True], 1),
        ([1.0, math.nan], -1),
        ([math.nan, 1.0], -1),
        ([-math.inf], -1),
        ([b"", b"four"], 3),
    ],
)
def test_magnitude(values, bits):
    assert tensors.magnitude(values) == bits
    array = np.array(values, object if values and isinstance(values[0], bytes) else None)
    assert tensors.magnitude(array) == bits
    assert tensors.magnitude(np.repeat(array, 100)) == bits
    proto = tf.make_tensor_proto(values, tf.int64) if not values else tf.make_tensor_proto(array)
    assert tensors.proto_magnitude(proto) == bits
    proto.dtype = 99
    assert tensors.proto_magnitude(proto) == -1


@pytest.mark.slow
@pytest.mark.smoke
def test_large_tensors_are_not_python_s_objects_all_at_once():
    array = np.arange(1 << 18, dtype=np.float32)
    proto = tensor_pb2.TensorProto()
    tracemalloc.start()
    try:
        tensors.to_proto(array, proto)
        found = tensors.to_array(proto, "x")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (found == array).all()
    assert peak < 4 * array.nbytes  # 32 bytes a value in all
