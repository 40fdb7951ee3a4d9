"""Predict over gRPC: values, types and shapes of answers, and what is refused with which status."""

from __future__ import annotations

from typing import Any, Optional

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from tests.serving.wire.conftest import CANARY, MODEL, STABLE, Server

EMPTY = np.zeros((1, 0), "S1")


def predict(
    signature: str = "recommend",
    model: str = MODEL,
    version: Optional[int] = None,
    label: Optional[str] = None,
    **inputs: Any,
) -> predict_pb2.PredictRequest:
    """A request; inputs are arrays, lists, or TensorProtos as they are."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    for name, value in inputs.items():
        proto = value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        request.inputs[name].CopyFrom(proto)
    return request


def recommend(**changes: Any) -> predict_pb2.PredictRequest:
    """A good request for two items, with changes to the spec or to inputs."""
    return predict(**{"user_id": ["ann"], "history": EMPTY, "exclude": EMPTY, "k": np.int32(2), **changes})


def echo(**changes: Any) -> predict_pb2.PredictRequest:
    """A request whose outputs are its inputs."""
    inputs = {"floats": np.float32([]), "ints": np.int64([]), "flags": np.zeros(0, bool), "texts": np.zeros(0, "S1")}
    return predict("echo", **{**inputs, **changes})


def filtered(*outputs: str) -> predict_pb2.PredictRequest:
    """A good request for these outputs."""
    request = recommend()
    request.output_filter.extend(outputs)
    return request


def content(dtype: int, shape: list[int], data: bytes) -> tensor_pb2.TensorProto:
    """A tensor as raw bytes."""
    proto = tensor_pb2.TensorProto(dtype=dtype, tensor_content=data)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def repeated(shape: list[int], *values: float) -> tensor_pb2.TensorProto:
    """A float tensor with fewer values than places: the last one is repeated."""
    proto = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, float_val=values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


FLOAT, INT64 = tf.float32.as_datatype_enum, tf.int64.as_datatype_enum
ANSWERS = {
    "newest version": (recommend(), {"item_ids": [[b"3", b"4"]], "scores": [[1998.0, 1997.0]], "source": [b"user"]}),
    "by version": (recommend(version=STABLE), {"scores": [[998.0, 997.0]]}),
    "by label": (recommend(label="stable"), {"scores": [[998.0, 997.0]]}),
    "by another label": (recommend(label="canary"), {"scores": [[1998.0, 1997.0]]}),
    "history of the request": (
        recommend(user_id=["nobody"], history=[["z", ""]], exclude=[["y"]]),
        {"item_ids": [[b"v", b"x"]], "scores": [[1999.0, 1998.0]], "source": [b"history"]},
    ),
    "unicode": (recommend(history=[["🎬"]]), {"item_ids": [[b"two words", "ä".encode()]]}),
    "nobody": (recommend(user_id=[""]), {"item_ids": [[b"1", b"2"]], "source": [b"popular"]}),
    "no rows": (
        recommend(user_id=np.zeros(0, "S1"), history=np.zeros((0, 0), "S1"), exclude=np.zeros((0, 3), "S1")),
        {"item_ids": np.zeros((0, 2), object), "scores": np.zeros((0, 2)), "source": np.zeros(0, object)},
    ),
    "default signature": (
        predict("", examples=np.array([b""])),
        {"item_ids": [[b"1", b"2", b"3"]], "scores": [[2020.0, 2019.0, 2018.0]]},
    ),
    "numbers as they are": (
        echo(floats=np.float32([0.1, -np.inf]), ints=[2**53 + 1], flags=[True, False], texts=[b"\xff\0", b""]),
        {
            "floats": np.float32([0.1, -np.inf]),
            "ints": [2**53 + 1],
            "flags": [True, False],
            "texts": [b"\xff\0", b""],
            "texts_bytes": [b"\xff\0", b""],
        },
    ),
    "raw bytes": (
        echo(floats=content(FLOAT, [2], np.float32([1, 2]).tobytes()), ints=content(INT64, [1], b"\1" + bytes(7))),
        {"floats": [1.0, 2.0], "ints": [1]},
    ),
    "the last value repeated": (predict("double", x=repeated([2, 2], 1.0, 2.0)), {"y": [[2.0, 4.0], [4.0, 4.0]]}),
    "one output": (filtered("scores"), {"scores": [[1998.0, 1997.0]]}),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answers(wire: Server, case: str) -> None:
    request, expected = ANSWERS[case]
    response = wire.prediction.Predict(request, timeout=30)
    spec = request.model_spec
    version = STABLE if STABLE in (spec.version.value, {"stable": STABLE}.get(spec.version_label)) else CANARY
    assert (response.model_spec.name, response.model_spec.version.value) == (MODEL, version)
    assert response.model_spec.signature_name == (spec.signature_name or "serving_default")
    assert response.model_spec.version_label == ""
    for name, value in expected.items():
        array = tf.make_ndarray(response.outputs[name])
        assert array.tolist() == np.asarray(value, array.dtype).tolist()


@pytest.mark.parametrize("name", ["floats", "ints", "flags", "texts"])
def test_answers_have_typed_fields(wire: Server, name: str) -> None:
    """One entry for each value, in the dtype's own field."""
    request = echo(floats=np.float32([1, 1]), ints=np.int64([3, 3]), flags=[True, True], texts=["a", "a"])
    output = wire.prediction.Predict(request, timeout=30).outputs[name]
    typed = {"floats": "float_val", "ints": "int64_val", "flags": "bool_val", "texts": "string_val"}[name]
    assert output.tensor_content == b""
    assert len(getattr(output, typed)) == 2
    assert [dim.size for dim in output.tensor_shape.dim] == [2]


@pytest.mark.parametrize(("names", "outputs"), [((), ["item_ids", "scores", "source"]), (("source",), ["source"])])
def test_output_filter(wire: Server, names: tuple[str, ...], outputs: list[str]) -> None:
    assert sorted(wire.prediction.Predict(filtered(*names), timeout=30).outputs) == outputs


REFUSALS = {
    "no such model": (recommend(model="nope"), "NOT_FOUND", r"Servable not found for request: Latest\(nope\)"),
    "no such version": (recommend(version=3), "NOT_FOUND", r"Servable not found for request: Specific\(tiny, 3\)"),
    "version 0": (recommend(version=0), "NOT_FOUND", r"Specific\(tiny, 0\)"),
    "no such label": (recommend(label="nope"), "INVALID_ARGUMENT", "Unrecognized servable version label: nope"),
    "label of no such model": (recommend(model="nope", label="stable"), "INVALID_ARGUMENT", "label: stable"),
    "no name": (recommend(model=""), "INVALID_ARGUMENT", "no name"),
    "no spec": (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    "no such signature": (predict("nope"), "FAILED_PRECONDITION", 'Serving signature key "nope" not found'),
    "no inputs": (predict("recommend"), "INVALID_ARGUMENT", r"Missing but required: \{exclude,history,k,user_id\}"),
    "an input missing": (predict("echo", ints=np.int64([1])), "INVALID_ARGUMENT", "1!=4.*Missing but required:.*flags"),
    "an input too many": (recommend(more=[1]), "INVALID_ARGUMENT", r"5!=4.*Sent extra: \{more\}"),
    "another input": (predict("double", z=np.float32([[1, 2]])), "INVALID_ARGUMENT", r"\bz\b|\bx\b"),
    "wrong dtype": (recommend(k=np.float32(2)), "INVALID_ARGUMENT", "int32 but float"),
    "text for a number": (predict("double", x=[["1", "2"]]), "INVALID_ARGUMENT", "float.* but string"),
    "wrong rank": (recommend(k=np.int32([2])), "INVALID_ARGUMENT", "."),
    "the model's own check": (recommend(k=np.int32(0)), "INVALID_ARGUMENT", "k must be at least 1"),
    "bytes too few": (predict("double", x=content(FLOAT, [1, 2], b"abc")), "INVALID_ARGUMENT", "(?i)tensor|x"),
    "negative size": (predict("double", x=content(FLOAT, [-1, 2], b"")), "INVALID_ARGUMENT", "."),
    "no such output": (filtered("nope"), "INVALID_ARGUMENT", "output tensor alias not found in signature: nope"),
    "an output twice": (filtered("scores", "scores"), "INVALID_ARGUMENT", "duplicate output tensor alias: scores"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(wire: Server, case: str) -> None:
    request, code, text = REFUSALS[case]
    with pytest.raises(grpc.RpcError, match=text) as error:
        wire.prediction.Predict(request, timeout=30)
    assert error.value.code().name == code


def test_a_deadline_stops_the_work(wire: Server) -> None:
    """More long calls than any server has threads for, each given up at once: the next one is answered soon."""
    for _ in range(3):
        calls = [
            wire.prediction.Predict.future(predict("slow", seconds=np.float64(600)), timeout=0.3) for _ in range(20)
        ]
        # The embedded server refuses those of which it foresees that they would come too late.
        codes = {call.code() for call in calls}
        assert codes <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert grpc.StatusCode.DEADLINE_EXCEEDED in codes
    assert wire.prediction.Predict(recommend(), timeout=60).outputs["source"].string_val == [b"user"]


def test_cancelling_is_answered(wire: Server) -> None:
    call = wire.prediction.Predict.future(predict("slow", seconds=np.float64(2)), timeout=60)
    assert call.cancel()
    assert call.code() == grpc.StatusCode.CANCELLED


def test_gzip(wire: Server) -> None:
    response = wire.prediction.Predict(recommend(), timeout=30, compression=grpc.Compression.Gzip)
    assert response.model_spec.version.value == CANARY


def test_a_message_that_is_no_request(wire: Server) -> None:
    call = wire.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(grpc.RpcError) as error:
        call(b"\xff\xff\xff", timeout=30)
    assert error.value.code() != grpc.StatusCode.DEADLINE_EXCEEDED
    unknown = wire.channel.unary_unary("/tensorflow.serving.PredictionService/Nope")
    with pytest.raises(grpc.RpcError) as error:
        unknown(b"", timeout=30)
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("service", ["", "ModelService", "PredictionService"])
def test_health(wire: Server, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(wire.channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
