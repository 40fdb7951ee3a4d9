"""JSON to tensors and back, as TensorFlow Serving's REST API has them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server import json_tensor
from serving.server.status import StatusError


def info(dtype: str, **_: object) -> meta_graph_pb2.TensorInfo:
    return meta_graph_pb2.TensorInfo(dtype=types_pb2.DataType.Value(f"DT_{dtype}"))


ONE = {"x": info("FLOAT")}
TEXT = {"x": info("STRING")}
TWO = {"a": info("STRING"), "n": info("INT32")}


def read(body: str | bytes, infos):
    return json_tensor.inputs_of(json_tensor.parse(body.encode() if isinstance(body, str) else body), infos)


def test_row_format_of_one_input():
    form, arrays = read('{"instances": [[1, 2], [3.5, -4]]}', ONE)
    assert form == "row"
    np.testing.assert_array_equal(arrays["x"], np.float32([[1, 2], [3.5, -4]]))
    _, named = read('{"instances": [{"x": 1}, {"x": 2}]}', ONE)
    np.testing.assert_array_equal(named["x"], np.float32([1, 2]))


def test_row_format_of_several_inputs():
    _, arrays = read('{"instances": [{"a": ["p", "q"], "n": 1}, {"n": 2, "a": ["r", "s"]}]}', TWO)
    assert arrays["a"].tolist() == [[b"p", b"q"], [b"r", b"s"]]
    assert arrays["n"].tolist() == [1, 2]
    assert arrays["n"].dtype == np.int32


def test_column_format():
    form, arrays = read('{"inputs": {"a": [["p"], ["q"]], "n": 3, "ignored": 0}}', TWO)
    assert form == "column"
    assert arrays["a"].tolist() == [[b"p"], [b"q"]]
    assert arrays["n"].shape == ()
    _, plain = read('{"inputs": [1, 2]}', ONE)
    assert plain["x"].tolist() == [1, 2]


def test_empty_lists_keep_their_shape():
    assert read('{"inputs": [[], []]}', TEXT)[1]["x"].shape == (2, 0)
    assert read('{"instances": [[], []]}', TEXT)[1]["x"].shape == (2, 0)
    assert read('{"inputs": []}', TEXT)[1]["x"].shape == (0,)


def test_base64_and_text():
    _, arrays = read('{"instances": [{"b64": "/wA="}, {"b64": "YQ"}]}', TEXT)
    assert arrays["x"].tolist() == [b"\xff\x00", b"a"]
    _, arrays = read('{"inputs": ["ä", "\\ud83c\\udfac", "\\ud800", ""]}', TEXT)
    assert arrays["x"].tolist() == ["ä".encode(), "🎬".encode(), b"?", b""]


def test_numbers_that_json_has_not_and_trailing_text():
    _, arrays = read(' {"inputs": [NaN, Infinity, -Infinity]} and more', ONE)
    assert np.isnan(arrays["x"][0])
    assert arrays["x"][1:].tolist() == [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("body", "infos", "text"),
    [
        ("", ONE, "The document is empty"),
        ("{", ONE, "JSON Parse error"),
        (b"\xff{}", ONE, "Invalid encoding"),
        ("[" * 200_000, ONE, "nested too deeply"),
        ('{"inputs": ' + "9" * 5000 + "}", ONE, "JSON"),
        ("[1]", ONE, "Is not object"),
        ("{}", ONE, "Missing 'inputs' or 'instances' key"),
        ('{"inputs": [1], "instances": [1]}', ONE, "only one of 'inputs' or 'instances'"),
        ('{"signature_name": 3, "inputs": [1]}', ONE, "'signature_name' key must be a string value"),
        ('{"instances": 3}', ONE, "Expecting 'instances' to be an list/array"),
        ('{"instances": []}', ONE, "No values in 'instances' array"),
        ('{"instances": [1, 2]}', TWO, "instances is a plain list, but expecting list of objects"),
        ('{"instances": [{"x": 1}, 2]}', ONE, "Expecting object but got list at item 1"),
        ('{"instances": [1, {"x": 2}]}', ONE, "Expecting value/list but got object at item 1"),
        ('{"instances": [{"a": "p"}]}', TWO, "keys must be equal to: a,n"),
        ('{"instances": [{"a": "p", "n": 1, "z": 1}]}', TWO, "does not have named input: z"),
        ('{"instances": [[1, 2], [3]]}', ONE, r"Expecting shape \[2\] but got: \[1\]"),
        ('{"inputs": [[1, 2], [3]]}', ONE, "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ('{"inputs": [[1], 2]}', ONE, "found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ('{"inputs": [1, [2]]}', ONE, "Encountered list at unexpected level: 1 expected < 1"),
        ('{"inputs": ["1"]}', ONE, 'JSON Value: "1" Type: String is not of expected type: float'),
        ('{"inputs": [true]}', ONE, "Type: True is not of expected type: float"),
        ('{"inputs": [null]}', ONE, "Type: Null is not of expected type: float"),
        ('{"inputs": [1]}', TEXT, "Type: Number is not of expected type: string"),
        ('{"inputs": {"a": "p", "n": 1.0}}', TWO, "is not of expected type: int32"),
        ('{"inputs": {"a": "p", "n": 2147483648}}', TWO, "is not of expected type: int32"),
        ('{"inputs": {"a": "p", "n": true}}', TWO, "is not of expected type: int32"),
        ('{"inputs": {"a": "p"}}', TWO, "Missing named input: n in 'inputs' object"),
        ('{"inputs": [1]}', TWO, "inputs is a plain value/list, but expecting an object"),
        ('{"inputs": [{"b64": "!"}]}', TEXT, "Unable to base64 decode"),
        ('{"inputs": [{"c64": "YQ=="}]}', TEXT, "not formatted correctly for base64 data"),
        ('{"inputs": [1' + "0" * 400 + "]}", ONE, "JSON Value"),
    ],
)
def test_wrong_requests(body, infos, text):
    with pytest.raises(StatusError, match=text) as error:
        read(body, infos)
    assert error.value.code.name == "INVALID_ARGUMENT"


def test_answers_by_column_and_by_row():
    outputs = {"s": np.float32([[0.2, -np.inf], [np.nan, 9e6]]), "i": np.array([["a", ""], ["b", "c"]], object)}
    outputs["i"] = np.array([[b"a", b""], [b"b", "🎬".encode()]], object)
    column = json_tensor.dumps(outputs, "column").decode()
    assert '"s": [[0.2, -Infinity], [NaN, 9000000.0]]' in column
    assert json.loads(column)["outputs"]["i"] == [["a", ""], ["b", "🎬"]]
    rows = json.loads(json_tensor.dumps(outputs, "row"))["predictions"]
    assert rows[0] == {"i": ["a", ""], "s": [0.2, -math.inf]}
    assert len(rows) == 2


def test_a_single_output_comes_without_its_name():
    assert json.loads(json_tensor.dumps({"y": np.int64([1, 2])}, "column")) == {"outputs": [1, 2]}
    assert json.loads(json_tensor.dumps({"y": np.bool_([True])}, "row")) == {"predictions": [True]}


def test_outputs_of_bytes():
    outputs = {"raw_bytes": np.array([b"\xff"], object), "text": np.array([b"\xff"], object)}
    assert json.loads(json_tensor.dumps(outputs, "column"))["outputs"] == {
        "raw_bytes": [{"b64": "/w=="}],
        "text": ["�"],
    }


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"a": np.float32(1)}, "has no shape information"),
        ({"a": np.zeros(2), "b": np.zeros(3)}, "inconsistent batch size: 3 expecting: 2"),
    ],
)
def test_outputs_that_have_no_rows(outputs, text):
    with pytest.raises(StatusError, match=text):
        json_tensor.dumps(outputs, "row")
