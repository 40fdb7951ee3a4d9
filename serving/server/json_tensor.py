"""JSON of TensorFlow Serving's REST API to arrays and back: row format (`instances`), column format (`inputs`).

Also to Examples, and what models say of those to JSON. Follows tensorflow_serving/util/json_tensor.cc, texts of the
errors included.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Optional

import grpc
import numpy as np
from tensorflow.core.example import example_pb2
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import input_pb2

from serving.server import tensors
from serving.server.status import StatusError, invalid

ROW, COLUMN = "row", "column"

_DECODER = json.JSONDecoder()
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Inf)\b')
"""A string, or a number that TensorFlow Serving reads and Python doesn't."""
_INTEGERS = {
    types_pb2.DT_INT8: (-(1 << 7), (1 << 7) - 1),
    types_pb2.DT_INT16: (-(1 << 15), (1 << 15) - 1),
    types_pb2.DT_INT32: (-(1 << 31), (1 << 31) - 1),
    types_pb2.DT_INT64: (-(1 << 63), (1 << 63) - 1),
    types_pb2.DT_UINT8: (0, (1 << 8) - 1),
    types_pb2.DT_UINT16: (0, (1 << 16) - 1),
    types_pb2.DT_UINT32: (0, (1 << 32) - 1),
    types_pb2.DT_UINT64: (0, (1 << 64) - 1),
}
_FLOATS = (types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE)
_BYTES_SUFFIX = "_bytes"
_PIECE = 1 << 14  # values
_SHOWN = 256  # characters of a wrong value that an error shows


def parse(body: bytes) -> dict[str, Any]:
    """Reads a request's body.

    Raises:
        StatusError: INVALID_ARGUMENT, it isn't a JSON object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        text = body.decode("utf-8-sig").lstrip(" \t\r\n")
        try:
            document, _ = _DECODER.raw_decode(text)
        except json.JSONDecodeError:
            document, _ = _DECODER.raw_decode(_CONSTANT.sub(_spelt_out, text))
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from None
    except RecursionError:
        raise invalid("JSON Parse error: The document is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except ValueError as error:  # an integer of thousands of digits
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {_shown(document)} Is not object")
    if not isinstance(document.get("signature_name", ""), str):
        raise invalid(
            f"JSON Value: {_shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return document


def inputs_of(document: Mapping[str, Any], infos: Mapping[str, Any]) -> tuple[str, dict[str, np.ndarray]]:
    """Reads the tensors of a predict request.

    Args:
        document: the parsed body.
        infos: TensorInfo by name of the signature's inputs.

    Returns:
        The format, `ROW` or `COLUMN`, and the arrays by input name.

    Raises:
        StatusError: INVALID_ARGUMENT, they don't fit.
    """
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {_shown(document)} Not formatted correctly expecting only one of 'inputs' or 'instances'"
            " keys to exist "
        )
    if "instances" in document:
        instances = document["instances"]
        if not isinstance(instances, list):
            raise invalid(f"JSON Value: {_shown(document)} Expecting 'instances' to be an list/array")
        if not instances:
            raise invalid(f"JSON Value: {_shown(document)} No values in 'instances' array")
        return ROW, _from_rows(instances, infos)
    if "inputs" in document:
        return COLUMN, _from_columns(document["inputs"], infos)
    raise invalid("Missing 'inputs' or 'instances' key")


def dumps(outputs: Mapping[str, np.ndarray], form: str) -> bytes:
    """Writes a predict answer in the format of its request.

    NaN and infinities are written as `NaN`, `Infinity` and `-Infinity`, as TensorFlow Serving does.

    Raises:
        StatusError: INVALID_ARGUMENT, the outputs can't be written by rows.
    """
    if form == COLUMN:
        texts = {name: _text(name, outputs[name]) for name in sorted(outputs)}
        named = ", ".join(f"{_ENCODER.encode(name)}: {text}" for name, text in texts.items())
        answer = f"{{{named}}}" if len(texts) > 1 else next(iter(texts.values()))
        return f'{{"outputs": {answer}}}'.encode("utf-8", "replace")
    size = -1
    for name in sorted(outputs):
        shape = outputs[name].shape
        if not shape:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if size not in (-1, shape[0]):
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {shape[0]} expecting: {size}")
        size = shape[0]
    if len(outputs) == 1:
        rows = next(_text(name, array) for name, array in outputs.items())
    else:
        rows = f"[{', '.join(_rows(outputs, size))}]"
    return f'{{"predictions": {rows}}}'.encode("utf-8", "replace")


def examples_of(document: Mapping[str, Any]) -> input_pb2.Input:
    """Reads the Examples of a classify or regress request, and the context that they share, if there is one.

    Raises:
        StatusError: INVALID_ARGUMENT, they aren't right.
    """
    source = input_pb2.Input()
    target: Any = source.example_list
    if "context" in document:
        target = source.example_list_with_context
        _fill_example(document["context"], target.context)
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {_shown(document)} When method is classify, key 'examples' is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid(f"JSON Value: {_shown(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid(f"JSON Value: {_shown(document)} 'examples' value is an empty array")
    for example in examples:
        _fill_example(example, target.examples.add())
    return source


def dumps_classes(result: Any) -> bytes:
    """Writes a ClassificationResult: pairs of label and score by Example."""
    return _dumps(
        {
            "results": [
                [[found.label, _decimal(found.score)] for found in classifications.classes]
                for classifications in result.classifications
            ]
        }
    )


def dumps_values(result: Any) -> bytes:
    """Writes a RegressionResult: one value by Example."""
    return _dumps({"results": [_decimal(regression.value) for regression in result.regressions]})


def _fill_example(value: Any, example: example_pb2.Example) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {_kind(value)}")
    for name, content in value.items():
        feature = example.features.feature[_utf8(name)]
        for item in content if isinstance(content, list) else [content]:
            kind, found = _feature_value(name, item)
            if feature.WhichOneof("kind") not in (None, kind):
                held = feature.WhichOneof("kind").removesuffix("_list")
                raise invalid(f"Unexpected element type in feature: {name} expecting type: {held}")
            getattr(feature, kind).value.append(found)


def _feature_value(name: str, value: Any) -> tuple[str, Any]:
    """The kind of list that an element belongs to, and the element."""
    if isinstance(value, bool):
        return "int64_list", int(value)
    if isinstance(value, str):
        return "bytes_list", value.encode("utf-8", "replace")
    if _is_base64(value):
        return "bytes_list", _decode_base64(value)
    if isinstance(value, int) and value < 1 << 64:
        if value >= 1 << 63:
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        if value >= -1 << 63:
            return "int64_list", value
    if isinstance(value, (int, float)):
        try:
            return "float_list", float(value)
        except OverflowError as error:
            raise invalid(f"JSON Value: {error}") from None
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {_kind(value)}")


def _from_rows(instances: list[Any], infos: Mapping[str, Any]) -> dict[str, np.ndarray]:
    named = _is_row_object(instances[0])
    if not isinstance(instances[0], dict) and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per"
            " tensorinfo_map"
        )
    columns: dict[str, list[Any]] = {name: [] for name in infos}
    shapes: dict[str, tuple[int, ...]] = {}
    for index, instance in enumerate(instances):
        if named != _is_row_object(instance):
            kinds = ("object", "list") if named else ("value/list", "object")
            raise invalid(f"Expecting {kinds[0]} but got {kinds[1]} at item {index} of input list")
        row = instance if named else {next(iter(infos)): instance}
        for name, value in row.items():
            try:
                _add_row(name, value, infos, columns, shapes)
            except StatusError as error:
                key = f" key: {name}" if named else ""
                raise invalid(
                    f"Failed to process element: {index}{key} of 'instances' list. Error: INVALID_ARGUMENT:"
                    f" {error.message}"
                ) from None
        if row.keys() != infos.keys():
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {_shown(instance)} keys must be"
                f" equal to: {','.join(sorted(infos))}"
            )
    return {
        name: _array(values, (len(instances), *shapes[name]), infos[name].dtype) for name, values in columns.items()
    }


def _add_row(
    name: str,
    value: Any,
    infos: Mapping[str, Any],
    columns: dict[str, list[Any]],
    shapes: dict[str, tuple[int, ...]],
) -> None:
    if name not in infos:
        raise invalid(f"JSON object: does not have named input: {name}")
    values, shape = _flatten(value, infos[name].dtype)
    expected = shapes.setdefault(name, shape)
    if math.prod(shape) != math.prod(expected):
        raise invalid(f"Expecting tensor size: {math.prod(expected)} but got: {math.prod(shape)}")
    if shape != expected:
        raise invalid(f"Expecting shape {_shape_text(expected)} but got: {_shape_text(shape)}")
    columns[name].extend(values)


def _from_columns(value: Any, infos: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if not isinstance(value, dict) or _is_base64(value):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per"
                " tensorinfo_map"
            )
        value = {next(iter(infos)): value}
    arrays = {}
    for name, info in infos.items():
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        values, shape = _flatten(value[name], info.dtype)
        arrays[name] = _array(values, shape, info.dtype)
    return arrays


def _flatten(value: Any, dtype: int) -> tuple[list[Any], tuple[int, ...]]:
    """Values of nested lists in row-major order, and their shape."""
    shape: list[int] = []
    probe = value
    while isinstance(probe, list):
        shape.append(len(probe))
        if len(shape) > tensors.MAX_RANK:
            raise invalid(f"Lists are nested too deeply, at most {tensors.MAX_RANK} levels make a tensor")
        if not probe:
            break
        probe = probe[0]
    values = _flatten_regular(value, shape, dtype) if shape else None
    if values is None:
        values = []
        _fill(value, 0, shape, dtype, values)
    return values, tuple(shape)


def _flatten_regular(items: list[Any], shape: list[int], dtype: int) -> Optional[list[Any]]:
    """The values, level by level and so many times faster than one by one; None if they aren't all as they should."""
    for size in shape[1:]:
        if set(map(type, items)) != {list} or set(map(len, items)) != {size}:
            return None
        items = list(itertools.chain.from_iterable(items))
    kinds = set(map(type, items))
    if not kinds or (dtype in _FLOATS and kinds <= {int, float}):
        return items
    if dtype == types_pb2.DT_STRING and kinds == {str}:
        # JSON can escape half a surrogate pair, UTF-8 can't hold it.
        return [item.encode("utf-8", "replace") for item in items]
    if dtype in _INTEGERS and kinds == {int}:
        low, high = _INTEGERS[dtype]
        return items if low <= min(items) and max(items) <= high else None
    return None


def _fill(value: Any, level: int, shape: list[int], dtype: int, values: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at level:"
                f" {len(shape)}"
            )
        values.append(_leaf(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        _fill(item, level + 1, shape, dtype, values)


def _leaf(value: Any, dtype: int) -> Any:
    if dtype == types_pb2.DT_STRING:
        if isinstance(value, str):
            # JSON can escape half a surrogate pair, UTF-8 can't hold it.
            return value.encode("utf-8", "replace")
        if isinstance(value, dict):
            return _decode_base64(value)
    elif dtype == types_pb2.DT_BOOL:
        if isinstance(value, bool):
            return value
    elif dtype in _FLOATS:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
    elif dtype in _INTEGERS:
        low, high = _INTEGERS[dtype]
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
    else:
        raise StatusError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Conversion of JSON Value: {_shown(value)} to type: {tensors.dtype_name(dtype)}",
        )
    raise invalid(
        f"JSON Value: {_shown(value)} Type: {_kind(value)} is not of expected type: {tensors.dtype_name(dtype)}"
    )


def _decode_base64(value: dict[str, Any]) -> bytes:
    if not _is_base64(value):
        raise invalid(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    text = value["b64"].strip()
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _is_row_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _array(values: list[Any], shape: tuple[int, ...], dtype: int) -> np.ndarray:
    array = np.empty(len(values), tensors.numpy_type(dtype))
    try:
        array[:] = values
    except OverflowError as error:  # an integer too long for a float
        raise invalid(f"JSON Value: {error}") from None
    return array.reshape(shape)


def _rows(outputs: Mapping[str, np.ndarray], size: int) -> Iterator[str]:
    """The rows of several outputs, piece by piece."""
    piece = max(1, _PIECE * size // max(1, sum(array.size for array in outputs.values())))
    for start in range(0, size, piece):
        columns = {name: _to_json(name, outputs[name][start : start + piece]) for name in sorted(outputs)}
        yield _ENCODER.encode([dict(zip(columns, row)) for row in zip(*columns.values())])[1:-1]


def _text(name: str, array: np.ndarray) -> str:
    """An output, written piece by piece: as Python's objects values take ten times as much memory as their text."""
    if array.size <= _PIECE:
        return _ENCODER.encode(_to_json(name, array))
    piece = max(1, _PIECE * len(array) // array.size)
    if piece == 1 and array.ndim > 1:
        return f"[{', '.join(_text(name, row) for row in array)}]"
    return f"[{', '.join(_text(name, array[start : start + piece])[1:-1] for start in range(0, len(array), piece))}]"


def _to_json(name: str, array: np.ndarray) -> Any:
    if array.dtype == np.object_:
        if name.endswith(_BYTES_SUFFIX):
            values: list[Any] = [{"b64": base64.b64encode(value).decode()} for value in array.ravel()]
        else:
            values = [value.decode("utf-8", "replace") for value in array.ravel()]
        return _nested(values, array.shape)
    if array.dtype == np.float32:
        # Shortest decimals that mean the float32: 0.2, not 0.20000000298023224.
        array = array.astype(str).astype(np.float64)
    return array.tolist()


def _nested(values: list[Any], shape: tuple[int, ...]) -> Any:
    nested = np.empty(len(values), object)
    nested[:] = values
    return nested.reshape(shape).tolist()


def _dumps(value: Any) -> bytes:
    return _ENCODER.encode(value).encode("utf-8", "replace")


def _decimal(value: float) -> float:
    """A float32 as the shortest decimal that means it."""
    return float(str(np.float32(value)))


def _utf8(text: str) -> str:
    """Text that UTF-8 can hold: JSON can escape half a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


def _spelt_out(match: re.Match[str]) -> str:
    return {"-NaN": "NaN", "Inf": "Infinity", "-Inf": "-Infinity"}.get(match[0], match[0])


def _shown(value: Any) -> str:
    """The beginning of a value, which may be long and deep, as JSON."""
    text = ""
    for part in _ENCODER.iterencode(value):
        text += part
        if len(text) >= _SHOWN:
            break
    return text[:_SHOWN]


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "Null" if value is None else str(value)
    kinds: dict[type, str] = {dict: "Object", list: "Array", str: "String"}
    return kinds.get(type(value), "Number")


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
