"""TensorProto to NumPy and back, faster than TensorFlow's own conversion and safe against shapes that lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.server.status import invalid

_MAX_SHORT_FORM = 1 << 24
"""Most elements that TensorProto's short form (few values, large shape) may blow up to: a request of a hundred bytes
must not make the server allocate gigabytes."""

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


def to_array(proto: tensor_pb2.TensorProto, alias: str) -> np.ndarray:
    """Reads a TensorProto.

    Args:
        proto: the message, its values in the typed field or in `tensor_content`.
        alias: the input's name, for the message.

    Returns:
        Array of the message's dtype and shape; byte strings as objects.

    Raises:
        StatusError: INVALID_ARGUMENT, the message contradicts itself.
    """
    numpy = numpy_type(proto.dtype)
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise invalid(f"tensor parsing error: {alias}: shape {shape} is not a shape")
    size = math.prod(shape)
    if proto.tensor_content and numpy is not np.object_:
        if len(proto.tensor_content) != size * np.dtype(numpy).itemsize:
            raise invalid(f"tensor parsing error: {alias}: {len(proto.tensor_content)} bytes for shape {shape}")
        return np.frombuffer(proto.tensor_content, numpy).reshape(shape)
    values = list(getattr(proto, _TYPES[proto.dtype][1]))
    if len(values) > size or (len(values) < size and size > _MAX_SHORT_FORM):
        raise invalid(f"tensor parsing error: {alias}: {len(values)} values for shape {shape}")
    if len(values) < size:
        last: Any = values[-1] if values else (b"" if numpy is np.object_ else 0)
        values += [last] * (size - len(values))
    try:
        array = np.empty(size, numpy)
        array[:] = values
    except OverflowError as error:
        raise invalid(f"tensor parsing error: {alias}: {error}") from None
    return array.reshape(shape)


def to_proto(array: np.ndarray, proto: tensor_pb2.TensorProto) -> None:
    """Writes `array` into an empty `proto`, values in the typed field, as TensorFlow Serving answers."""
    if array.dtype not in _DTYPES:
        raise invalid(f"outputs of type {array.dtype} are not supported")
    proto.dtype = _DTYPES[array.dtype]
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    getattr(proto, _TYPES[proto.dtype][1]).extend(array.ravel().tolist())
