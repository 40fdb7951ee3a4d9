"""JSON to tensors and back, as TensorFlow Serving's REST API has them."""

from __future__ import annotations

import contextlib
import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server import json_tensor, tensors
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
    _, arrays = read('{"inputs": [Inf, -Inf, -NaN, -Infinity, 1]}', ONE)
    assert arrays["x"].tolist()[:2] == [math.inf, -math.inf]
    assert math.isnan(arrays["x"][2])
    _, arrays = read('{"inputs": {"a": ["Inf \\"-NaN", "Inf"], "n": [1, 2]}, "z": Inf}', TWO)
    assert arrays["a"].tolist() == [b'Inf "-NaN', b"Inf"]


def test_a_byte_order_mark():
    assert read(b'\xef\xbb\xbf{"inputs": [1]}', ONE)[1]["x"].tolist() == [1]


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
        ('{"instances": [[1, 2], [3]]}', ONE, "Expecting tensor size: 2 but got: 1"),
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
        ('{"inputs": ' + "[" * 33 + "]" * 33 + "}", ONE, "nested too deeply"),
        ('{"inputs": ' + '{"a":' * 500 + "1" + "}" * 501, TWO, "formatted correctly for base64 data"),
        ('{"inputs": nope}', ONE, "JSON Parse error"),
        ('{"inputs": [Infinite]}', ONE, "JSON Parse error"),
        ('{"inputs": [1, 2, "3"]}', ONE, 'JSON Value: "3" Type: String'),
        ('{"inputs": {"a": ["p"], "n": [1, 2147483648]}}', TWO, "JSON Value: 2147483648 Type: Number"),
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


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("form", ["column", "row"])
@pytest.mark.parametrize("shape", [(70_000,), (7, 10_000), (2, 5, 7_000), (40_000, 2), (3, 0), (0,)])
def test_what_is_large_is_written_piece_by_piece(form, shape):
    found = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 8
    texts = np.array([b"%d" % number for number in range(len(found))], object)
    one = json.loads(json_tensor.dumps({"y": found}, form))
    assert np.array_equal(np.array(*one.values()).reshape(shape), found)
    answer = json.loads(json_tensor.dumps({"y": found, "t": texts}, form))
    if form == "column":
        assert np.array_equal(np.array(answer["outputs"]["y"]).reshape(shape), found)
        assert [int(text) for text in answer["outputs"]["t"]] == list(range(len(found)))
    else:
        assert [int(row["t"]) for row in answer["predictions"]] == list(range(len(found)))
        assert np.array_equal(np.array([row["y"] for row in answer["predictions"]]).reshape(shape), found)


@pytest.mark.slow
@pytest.mark.smoke
def test_a_number_takes_little_more_than_its_text():
    found = np.random.default_rng(0).random(1_000_000).astype(np.float32).reshape(1000, 1000)
    tracemalloc.start()
    try:
        text = json_tensor.dumps({"y": found}, "column")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(text) + (8 << 20)


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


ARRAYS = st.sampled_from(
    [np.float32, np.float64, np.int8, np.int32, np.int64, np.uint8, np.uint32, np.uint64, np.bool_]
).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=3, max_side=4)))
BYTES = hnp.arrays(object, hnp.array_shapes(max_dims=3, max_side=4), elements=st.binary(max_size=20))
TEXTS = hnp.arrays(
    object,
    hnp.array_shapes(max_dims=3, max_side=4),
    elements=st.text(st.characters(exclude_categories=["Cs"]), max_size=10).map(str.encode),
)


@pytest.mark.slow
@pytest.mark.smoke
@settings(max_examples=50, deadline=None)
@given(st.lists(ARRAYS | BYTES | TEXTS, min_size=1, max_size=3), st.booleans())
def test_what_is_written_can_be_read(arrays, by_rows):
    """Outputs sent back as inputs are the same arrays, bit by bit, in both formats."""
    rows = min(len(array) for array in arrays)
    texts = [array.dtype == object and all(_is_text(value) for value in array.ravel()) for array in arrays]
    outputs = {f"o{i}" if text else f"o{i}_bytes": a[:rows] for i, (a, text) in enumerate(zip(arrays, texts))}
    infos = {name: info(tensors.type_name(array)[3:]) for name, array in outputs.items()}
    answer = json_tensor.dumps(outputs, "row" if by_rows else "column")
    request = answer.replace(b"predictions", b"instances", 1).replace(b"outputs", b"inputs", 1)
    form, back = json_tensor.inputs_of(json_tensor.parse(request), infos)
    assert form == ("row" if by_rows else "column")
    for name, array in outputs.items():
        np.testing.assert_array_equal(back[name], array)
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)


def _is_text(value: bytes) -> bool:
    return value.decode("utf-8", "replace").encode() == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "n", "b64", "x"]), inner),
    max_leaves=20,
)


@pytest.mark.slow
@pytest.mark.smoke
@settings(max_examples=100, deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(["inputs", "instances", "examples", "context"], JSON)))
def test_any_json_is_read_or_refused(document):
    parsed = json_tensor.parse(json.dumps(document).encode())
    for infos in (ONE, TEXT, TWO):
        for reads in (lambda: json_tensor.inputs_of(parsed, infos), lambda: json_tensor.examples_of(parsed)):  # noqa: B023
            with contextlib.suppress(StatusError):
                reads()


def test_examples():
    document = {
        "context": {"c": "ä"},
        "examples": [{"i": [1, -2, True], "f": 2.5, "s": ["a", {"b64": "/w=="}], "e": [], "big": -(1 << 70)}, {}],
    }
    source = json_tensor.examples_of(json_tensor.parse(json.dumps(document).encode()))
    first, second = source.example_list_with_context.examples
    features = first.features.feature
    assert list(features["i"].int64_list.value) == [1, -2, 1]
    assert list(features["f"].float_list.value) == [2.5]
    assert list(features["s"].bytes_list.value) == [b"a", b"\xff"]
    assert features["e"].WhichOneof("kind") is None
    assert list(features["big"].float_list.value) == [-float(1 << 70)]
    assert not second.features.feature
    context = source.example_list_with_context.context.features.feature
    assert list(context["c"].bytes_list.value) == ["ä".encode()]
    assert json_tensor.examples_of({"examples": [{}, {}]}).WhichOneof("kind") == "example_list"
