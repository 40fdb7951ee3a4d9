"""Tensors as the server writes them."""

from __future__ import annotations

import math
import struct

import pytest

from serving.client import ServerError, Tensor
from serving.client import tensors as client_tensors
from serving.protos import serving_pb2


def proto(dtype: int, shape: list[int], **fields: object) -> serving_pb2.TensorProto:
    message = serving_pb2.TensorProto(dtype=dtype, **fields)
    for size in shape:
        message.tensor_shape.dim.add().size = size
    return message


def test_tensor_content_and_short_form_are_read():
    content = struct.pack("<3f", 1.0, -2.5, math.inf)
    packed = client_tensors.from_proto(proto(serving_pb2.DT_FLOAT, [3], tensor_content=content))
    assert packed == Tensor("float32", (3,), (1.0, -2.5, math.inf))
    short = client_tensors.from_proto(proto(serving_pb2.DT_INT64, [2, 2], int64_val=[5, 6]))
    assert short.rows() == [[5, 6], [6, 6]]


@pytest.mark.parametrize(
    "message",
    [
        proto(serving_pb2.DT_FLOAT, [2], float_val=[1.0, 2.0, 3.0]),
        proto(serving_pb2.DT_FLOAT, [2]),
        proto(serving_pb2.DT_FLOAT, [2], tensor_content=b"abc"),
        proto(serving_pb2.DT_FLOAT, [-1], float_val=[1.0]),
        proto(serving_pb2.DT_STRING, [1 << 40, 1 << 40], string_val=[b"x"]),
        proto(99, [1]),
    ],
)
def test_tensors_that_contradict_themselves(message):
    with pytest.raises(ServerError):
        client_tensors.from_proto(message)
