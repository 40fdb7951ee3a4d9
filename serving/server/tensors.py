"""TensorProto to NumPy and back, faster than TensorFlow's own conversion and safe against shapes that lie."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.server.status import invalid

MAX_RANK = 32  # NumPy 1's
_MAX_SHORT_FORMS = 64 << 20
"""Most bytes that the short forms (few values, large shape) of a request may blow up to: a request of a hundred bytes
must not make the server allocate gigabytes."""

_MANY = 64  # values from which NumPy is faster than Python
_PIECE = 1 << 14  # values that are Python's objects at the same time, which take ten times as much memory

_TYPES: dict[int, tuple[Any, str]] = {
    # dtype -> (NumPy dtype, field of TensorProto)
    types_pb2.DT_FLOAT: (np.float32, "float_val"),
    types_pb2.DT_DOUBLE: (np.float64, "double_val"),
    types_pb2.DT_INT32: (np.int32, "int_val"),
    types_pb2.DT_UINT8: (np.uint8, "int_val"),
    types_pb2.DT_UINT16: (np.uint16, "int_val"),
    types_pb2.DT_INT16: (np.int16, "int_val"),
    types_pb2.DT_INT8: (np.int8, "int_val"),
    types_pb2.DT_STRING: (np.object_, "string_val"),
    types_pb2.DT_INT64: (np.int64, "int64_val"),
    types_pb2.DT_BOOL: (np.bool_, "bool_val"),
    types_pb2.DT_UINT32: (np.uint32, "uint32_val"),
    types_pb2.DT_UINT64: (np.uint64, "uint64_val"),
}
_DTYPES = {np.dtype(numpy): dtype for dtype, (numpy, _) in _TYPES.items()}


def enum_name(dtype: int) -> str:
    """Name of a DataType as the protobuf has it, such as `DT_INT32`."""
    return types_pb2.DataType.Name(dtype) if dtype in types_pb2.DataType.values() else f"DT_{dtype}"


def dtype_name(dtype: int) -> str:
    """Name of a DataType, such as `int32` or `string`."""
    name = enum_name(dtype)
    return {"DT_FLOAT": "float32", "DT_DOUBLE": "float64"}.get(name, name[3:].lower())


def numpy_type(dtype: int) -> Any:
    """NumPy's type for a DataType.

    Raises:
        StatusError: INVALID_ARGUMENT, the server doesn't carry such tensors.
    """
    if dtype not in _TYPES:
        raise invalid(f"tensors of type {dtype_name(dtype)} are not supported")
    return _TYPES[dtype][0]


def to_arrays(protos: Mapping[str, tensor_pb2.TensorProto]) -> dict[str, np.ndarray]:
    """Reads a request's TensorProtos, by input name.

    Returns:
        Arrays of the messages' dtypes and shapes; byte strings as objects.

    Raises:
        StatusError: INVALID_ARGUMENT, a message contradicts itself, or they would blow up.
    """
    arrays, blown_up = {}, 0
    for alias, proto in protos.items():
        try:
            values, shape, dtype = _parse(proto)
            missing = math.prod(shape) - len(values)
            fill: Any = values[-1] if len(values) else (b"" if dtype.hasobject else 0)
            if missing:
                # TensorFlow keeps a copy of a string for each element.
                blown_up += missing * (24 + len(fill) if dtype.hasobject else dtype.itemsize)
            if missing < 0 or blown_up > _MAX_SHORT_FORMS:
                raise ValueError(f"{len(values)} values for shape {shape}")
            arrays[alias] = _filled(values, missing, fill, dtype).reshape(shape)
        except (ValueError, OverflowError) as error:
            raise invalid(f"tensor parsing error: {alias}: {error}") from None
    return arrays


def to_array(proto: tensor_pb2.TensorProto, alias: str) -> np.ndarray:
    """Reads one TensorProto; see `to_arrays`."""
    return to_arrays({alias: proto})[alias]


def _parse(proto: tensor_pb2.TensorProto) -> tuple[Any, list[int], np.dtype]:
    """The values that a message holds, its shape and its type."""
    dtype = np.dtype(numpy_type(proto.dtype))
    if proto.tensor_shape.unknown_rank:
        raise ValueError("a tensor without shape")
    if len(proto.tensor_shape.dim) > MAX_RANK:
        raise ValueError(f"a tensor of {len(proto.tensor_shape.dim)} dimensions")
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {shape} is not a shape")
    if not proto.tensor_content or dtype.hasobject:
        return getattr(proto, _TYPES[proto.dtype][1]), shape, dtype
    size = math.prod(shape) * dtype.itemsize
    if len(proto.tensor_content) != size:
        raise ValueError(f"{len(proto.tensor_content)} bytes for shape {shape}")
    return np.frombuffer(proto.tensor_content, dtype), shape, dtype


def _filled(values: Any, missing: int, fill: Any, dtype: np.dtype) -> np.ndarray:
    """The values as an array, and so many more that are missing."""
    if isinstance(values, np.ndarray):
        return values
    count = len(values)
    array = np.empty(count + missing, dtype)
    for start in range(0, count, _PIECE):
        array[start : min(start + _PIECE, count)] = values[start : start + _PIECE]
    array[count:] = fill
    return array


def magnitude(values: Any) -> int:
    """How large the largest value is, whether below 0 or above: bits of a number, or of the length of a byte string.

    Args:
        values: an array, or a list of numbers or of byte strings.

    Returns:
        At least 0; -1 where a value is no number, or infinite.
    """
    if isinstance(values, np.ndarray):
        if values.size > _MANY and not values.dtype.hasobject:
            values = np.array([values.max(), values.min()])  # which are NaN where one is
        values = values.ravel().tolist()
    if not len(values):
        return 0
    if isinstance(values[0], bytes):
        return max(map(len, values)).bit_length()
    largest = max(max(values), -min(values))
    return int(largest).bit_length() if math.isfinite(largest) and not math.isnan(sum(values)) else -1


def proto_magnitude(proto: tensor_pb2.TensorProto) -> int:
    """The magnitude of a TensorProto's values; -1 where it can't be told."""
    dtype, field = _TYPES.get(proto.dtype, (None, ""))
    if dtype is None:
        return -1
    if proto.tensor_content and dtype is not np.object_:
        whole = len(proto.tensor_content) % np.dtype(dtype).itemsize == 0
        return magnitude(np.frombuffer(proto.tensor_content, dtype)) if whole else -1
    return magnitude(getattr(proto, field))


def type_name(array: np.ndarray) -> str:
    """Name of an array's DataType, such as `DT_FLOAT`."""
    return enum_name(_DTYPES.get(array.dtype, types_pb2.DT_INVALID))


def to_proto(array: np.ndarray, proto: tensor_pb2.TensorProto) -> None:
    """Writes `array` into an empty `proto`, values in the typed field, as TensorFlow Serving answers."""
    if array.dtype not in _DTYPES:
        raise invalid(f"outputs of type {array.dtype} are not supported")
    proto.dtype = _DTYPES[array.dtype]
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    values, field = array.ravel(), getattr(proto, _TYPES[proto.dtype][1])
    for start in range(0, values.size, _PIECE):
        field.extend(values[start : start + _PIECE].tolist())
