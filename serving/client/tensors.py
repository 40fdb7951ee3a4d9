"""Tensors between Python lists and TensorProto, without NumPy."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Union

from serving.client.errors import InvalidRequest, ServerError
from serving.protos import serving_pb2

Value = Union[str, bytes, float, int, bool]

_MAX_ELEMENTS = 1 << 27
"""An answer with more elements than this is taken for garbage rather than allocated."""

_FIELDS: dict[serving_pb2.DataType, tuple[str, str, str]] = {
    # dtype -> (name, field of TensorProto, struct format of tensor_content)
    serving_pb2.DT_FLOAT: ("float32", "float_val", "f"),
    serving_pb2.DT_DOUBLE: ("float64", "double_val", "d"),
    serving_pb2.DT_INT32: ("int32", "int_val", "i"),
    serving_pb2.DT_UINT8: ("uint8", "int_val", "B"),
    serving_pb2.DT_UINT16: ("uint16", "int_val", "H"),
    serving_pb2.DT_INT16: ("int16", "int_val", "h"),
    serving_pb2.DT_INT8: ("int8", "int_val", "b"),
    serving_pb2.DT_STRING: ("string", "string_val", ""),
    serving_pb2.DT_INT64: ("int64", "int64_val", "q"),
    serving_pb2.DT_BOOL: ("bool", "bool_val", "?"),
    serving_pb2.DT_UINT32: ("uint32", "uint32_val", "I"),
    serving_pb2.DT_UINT64: ("uint64", "uint64_val", "Q"),
}
_DTYPES = {name: dtype for dtype, (name, _, _) in _FIELDS.items()}


@dataclass(frozen=True)
class Tensor:
    """A dense tensor: dtype by NumPy's name (`string` for byte strings), shape, and the values in row-major order.

    Strings are `str` or `bytes` on their way to the server, and `str` on their way back.
    """

    dtype: str
    shape: tuple[int, ...]
    values: Sequence[Value]

    def rows(self) -> list[list[Any]]:
        """The values of a rank-2 tensor, one list a row."""
        width = self.shape[1]
        return [list(self.values[i * width : (i + 1) * width]) for i in range(self.shape[0])]


def dtype_name(dtype: serving_pb2.DataType) -> str:
    """Name of TensorFlow's DataType enum value, such as `float32`."""
    return _FIELDS[dtype][0] if dtype in _FIELDS else f"DataType({dtype})"


def to_proto(tensor: Tensor, proto: serving_pb2.TensorProto) -> None:
    """Writes `tensor` into an empty `proto`.

    Raises:
        InvalidRequest: the values are not of the dtype.
    """
    if tensor.dtype not in _DTYPES:
        raise InvalidRequest(f"dtype {tensor.dtype!r}: it is one of {', '.join(sorted(_DTYPES))}")
    proto.dtype = _DTYPES[tensor.dtype]
    for size in tensor.shape:
        proto.tensor_shape.dim.add().size = size
    values = tensor.values
    if tensor.dtype == "string":
        values = [v.encode() if isinstance(v, str) else v for v in values]
    try:
        getattr(proto, _FIELDS[proto.dtype][1]).extend(values)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"these values are no {tensor.dtype}: {error}") from None


def from_proto(proto: serving_pb2.TensorProto) -> Tensor:
    """Reads a TensorProto, be its values in the typed field or in `tensor_content`.

    Raises:
        ServerError: the message contradicts itself.
    """
    if proto.dtype not in _FIELDS:
        raise ServerError(f"the server answered a tensor of a type that the client can't read: {proto.dtype}")
    name, field, code = _FIELDS[proto.dtype]
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    size = math.prod(shape)
    if proto.tensor_shape.unknown_rank or any(dim < 0 for dim in shape) or size > _MAX_ELEMENTS:
        raise ServerError(f"the server answered a tensor of impossible shape {shape}")
    values: Sequence[Value]
    if proto.tensor_content and code:
        if len(proto.tensor_content) != size * struct.calcsize(f"<{code}"):
            raise ServerError(f"the server answered {len(proto.tensor_content)} bytes for {name} of shape {shape}")
        values = struct.unpack(f"<{size}{code}", proto.tensor_content)
    else:
        values = getattr(proto, field)
        if name == "string":
            values = [v.decode("utf-8", "replace") for v in values]  # type: ignore[union-attr]
        # TensorProto's short form: the last value stands for all that are left out.
        if values and len(values) < size:
            values = [*values, *[values[-1]] * (size - len(values))]
        if len(values) != size:
            raise ServerError(f"the server answered {len(values)} values for a tensor of shape {shape}")
    return Tensor(name, shape, values)


def from_json(value: Any) -> Tensor:
    """Reads nested lists, as a REST answer has them; the dtype is the widest that the values need.

    Raises:
        ServerError: ragged lists, or values of different kinds.
    """
    shape: list[int] = []
    level: list[Any] = [value]
    while level and isinstance(level[0], list):
        sizes = {len(v) if isinstance(v, list) else -1 for v in level}
        if len(sizes) > 1:
            raise ServerError("the server answered lists of uneven length")
        shape.append(sizes.pop())
        level = [item for sub in level for item in sub]
    level = [_from_base64(v) if isinstance(v, dict) else v for v in level]
    kinds = {type(v) for v in level}
    if kinds <= {str}:
        dtype = "string"
    elif kinds <= {bool}:
        dtype = "bool"
    elif kinds <= {int}:
        dtype = "int64"
    elif kinds <= {int, float}:
        dtype = "float32"
        level = [float(v) for v in level]
    else:
        raise ServerError("the server answered values of mixed kinds")
    return Tensor(dtype, tuple(shape), level)


def _from_base64(value: dict[str, Any]) -> str:
    """The text of a string output whose name ends in `_bytes`."""
    try:
        return base64.b64decode(value["b64"], validate=True).decode("utf-8", "replace")
    except (KeyError, TypeError, ValueError):
        raise ServerError("the server answered an object where a value should be") from None
