"""The embedded server on the wire, asked by TensorFlow Serving's own stubs and by plain HTTP."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import math

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.server import settings
from tests.serving.fixtures import MODEL
from tests.serving.in_process import serve


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc_target) as opened:
        yield opened


@pytest.fixture(scope="module")
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict_request(signature="recommend", model=MODEL, version=None, **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def recommend_inputs(**changes):
    empty = np.zeros((1, 0), "S1")
    return {"user_id": ["ann"], "history": empty, "exclude": empty, "k": np.int32(2), **changes}


def test_predict_answers_as_tensorflow_serving(prediction):
    response = prediction.Predict(predict_request(**recommend_inputs()), timeout=10)
    assert response.model_spec.name == MODEL
    assert response.model_spec.version.value == 7
    assert response.model_spec.signature_name == "recommend"
    assert sorted(response.outputs) == ["item_ids", "scores", "source"]
    assert tf.make_ndarray(response.outputs["item_ids"]).tolist() == [[b"3", b"4"]]
    assert list(response.outputs["scores"].float_val) == [998.0, 997.0]  # typed fields, no tensor_content


def test_output_filter(prediction):
    request = predict_request(**recommend_inputs())
    request.output_filter.append("scores")
    assert sorted(prediction.Predict(request, timeout=10).outputs) == ["scores"]


def test_default_signature(prediction):
    response = prediction.Predict(predict_request("", examples=np.array([b""])), timeout=10)
    assert response.model_spec.signature_name == "serving_default"
    assert tf.make_ndarray(response.outputs["item_ids"]).tolist() == [[b"1", b"2", b"3"]]


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (predict_request(model="nope"), "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        (predict_request(version=3), "NOT_FOUND", "Servable not found for request: Specific(tiny, 3)"),
        (predict_request(model=""), "INVALID_ARGUMENT", "no name"),
        (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (predict_request("nope"), "FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
        (
            predict_request(user_id=["ann"]),
            "INVALID_ARGUMENT",
            "1!=4 len({user_id}) != len({exclude,history,k,user_id}). Sent extra: {}. Missing but required:"
            " {exclude,history,k}.",
        ),
        (predict_request("double", z=[[1.0, 2.0]]), "INVALID_ARGUMENT", "expected to be in the set {x}, received {z}"),
        (predict_request("double", x=np.int32([[1, 2]])), "INVALID_ARGUMENT", '"x" must be float32 but int32 was sent'),
        (predict_request("double", x=np.float32([1, 2])), "INVALID_ARGUMENT", "must have shape [?,2]"),
        (predict_request("double", x=np.float32([[1, 2, 3]])), "INVALID_ARGUMENT", "but [1,3] was sent"),
        (
            predict_request(**recommend_inputs(k=np.float32(2))),
            "INVALID_ARGUMENT",
            '"k" must be int32 but float32 was sent',
        ),
        (predict_request(**recommend_inputs(k=np.int32(0))), "INVALID_ARGUMENT", "k must be at least 1"),
        (predict_request(**recommend_inputs(k=np.int32([1]))), "INVALID_ARGUMENT", '"k" must have shape []'),
    ],
)
def test_refusals(prediction, request_, code, text):
    with pytest.raises(grpc.RpcError) as error:
        prediction.Predict(request_, timeout=10)
    assert error.value.code().name == code
    assert text in error.value.details()


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["nope"], "output tensor alias not found in signature: nope Outputs expected to be in the set"),
        (["scores", "scores"], "duplicate output tensor alias"),
    ],
)
def test_wrong_output_filters(prediction, names, text):
    request = predict_request(**recommend_inputs())
    request.output_filter.extend(names)
    with pytest.raises(grpc.RpcError, match=text) as error:
        prediction.Predict(request, timeout=10)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_unknown_label(prediction):
    request = predict_request(**recommend_inputs())
    request.model_spec.version_label = "stable"
    with pytest.raises(grpc.RpcError, match="Unrecognized servable version label: stable"):
        prediction.Predict(request, timeout=10)


def test_metadata(prediction):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = MODEL
    response = prediction.GetModelMetadata(request, timeout=10)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    assert response.model_spec.version.value == 7
    assert found.signature_def["double"].method_name == "tensorflow/serving/predict"
    for fields, text in (([], "at least one metadata_field"), (["weights"], "Metadata field weights is not supported")):
        wrong = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        wrong.model_spec.name = MODEL
        with pytest.raises(grpc.RpcError, match=text):
            prediction.GetModelMetadata(wrong, timeout=10)


def test_status(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = MODEL
    (status,) = stub.GetModelStatus(request, timeout=10).model_version_status
    assert (status.version, status.state, status.status.error_code) == (7, 30, 0)


def test_a_reload_takes_a_list_of_models_only(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    with pytest.raises(grpc.RpcError, match="Only ModelConfigList is currently supported") as error:
        stub.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(), timeout=10)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_long_error_is_cut(prediction):
    request = predict_request("double", **{"x" * 5000: [[1.0, 2.0]]})
    with pytest.raises(grpc.RpcError) as error:
        prediction.Predict(request, timeout=10)
    assert error.value.details().endswith("...TRUNCATED")
    assert len(error.value.details()) == 1024 + len("...TRUNCATED")


def test_a_deadline_ends_the_work(prediction):
    with pytest.raises(grpc.RpcError) as error:
        prediction.Predict(predict_request("slow", seconds=np.float64(600)), timeout=0.5)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    # With a thread left that still worked on it, as many as there are threads would make the server wait for them.
    waiting = [
        prediction.Predict.future(predict_request("slow", seconds=np.float64(600)), timeout=0.5) for _ in range(40)
    ]
    assert {future.exception().code() for future in waiting} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert prediction.Predict(predict_request("double", x=[[1.0, 2.0]]), timeout=60).outputs["y"].float_val == [2, 4]


@pytest.mark.parametrize("service", ["", "PredictionService", "tensorflow.serving.ModelService"])
def test_health(channel, service):
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def call(server, method, path, body=None):
    """Status and parsed JSON of a HTTP request."""
    host, port = server.rest_target.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request(method, path, body.encode() if isinstance(body, str) else body)
        response = connection.getresponse()
        assert response.headers["Content-Type"].startswith("application/json")
        return response.status, json.loads(response.read())
    finally:
        connection.close()


PREDICT = f"/v1/models/{MODEL}:predict"


def test_rest_row_format(server):
    assert call(server, "POST", PREDICT, '{"signature_name": "by_user", "instances": ["ann", "nobody"]}') == (
        200,
        {
            "predictions": [
                {"item_ids": ["3", "4", "5"], "scores": [998.0, 997.0, 996.0]},
                {"item_ids": ["1", "2", "3"], "scores": [1020.0, 1019.0, 1018.0]},
            ]
        },
    )
    assert call(server, "POST", PREDICT, '{"instances": [{"b64": ""}]}')[1]["predictions"][0]["item_ids"] == [
        "1",
        "2",
        "3",
    ]


def test_rest_column_format_with_padding(server):
    body = {
        "signature_name": "recommend",
        "inputs": {"user_id": ["ann"], "history": [[]], "exclude": [[]], "k": 20},
    }
    status, answer = call(server, "POST", f"/v1/models/{MODEL}/versions/7:predict", json.dumps(body))
    assert status == 200
    assert answer["outputs"]["source"] == ["user"]
    assert answer["outputs"]["item_ids"][0][-2:] == ["", ""]
    assert answer["outputs"]["scores"][0][-1] == -math.inf


def test_rest_echo(server):
    inputs = {"floats": [0.1, 1], "ints": [9007199254740993], "flags": [True], "texts": ["ä", {"b64": "/w=="}]}
    _, answer = call(server, "POST", PREDICT, json.dumps({"signature_name": "echo", "inputs": inputs}))
    assert answer["outputs"] == {
        "floats": [0.1, 1.0],
        "ints": [9007199254740993],
        "flags": [True],
        "texts": ["ä", "�"],
        "texts_bytes": [{"b64": "w6Q="}, {"b64": "/w=="}],
    }


def test_rest_status(server):
    expected = {
        "model_version_status": [
            {"version": "7", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    for path in (f"/v1/models/{MODEL}", f"/v1/models/{MODEL}/versions/7", f"/V1/Models/{MODEL}?x=1"):
        assert call(server, "GET", path) == (200, expected)


def raw(server, method, path, body=None, **headers):
    """Status, headers and bytes of a HTTP request."""
    host, port = server.rest_target.split(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def test_rest_takes_the_whole_address_of_a_request(server):
    assert raw(server, "GET", f"http://some.host/v1/models/{MODEL}")[0] == 200


def test_rest_errors_are_printed_as_tensorflow_serving_prints_them(server):
    assert raw(server, "GET", "/v1/models/nope")[2] == (
        b'{\n    "error": "Could not find any versions of model nope"\n}'
    )


def test_rest_reads_gzip(server):
    body = b'{"signature_name": "double", "inputs": [[1, 2]]}'
    parts = gzip.compress(body[:20]) + gzip.compress(body[20:])
    assert json.loads(raw(server, "POST", PREDICT, parts, Content_Encoding="gzip")[2]) == {"outputs": [[2.0, 4.0]]}
    for broken in (body, parts[:-1], gzip.compress(body)[:-4] + b"1234"):
        status, _, answer = raw(server, "POST", PREDICT, broken, Content_Encoding="gzip")
        assert status == 400
        assert b"Failed to uncompress the gzipped body" in answer


def test_rest_answers_in_gzip_who_asks_for_it(server):
    path = f"/v1/models/{MODEL}/metadata"
    plain = raw(server, "GET", path)
    assert "Content-Encoding" not in plain[1]
    for accepted in ("gzip", "br, GZIP;q=0.5"):
        _, headers, body = raw(server, "GET", path, Accept_Encoding=accepted)
        assert headers["Content-Encoding"] == "gzip"
        assert headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(body) == plain[2]
        assert len(body) < len(plain[2]) / 2
    assert raw(server, "GET", path, Accept_Encoding="gzip;q=0.0")[2] == plain[2]
    # A short answer isn't worth it.
    assert "Content-Encoding" not in raw(server, "GET", f"/v1/models/{MODEL}", Accept_Encoding="gzip")[1]


def test_rest_head_has_no_body(server):
    status, headers, body = raw(server, "HEAD", f"/v1/models/{MODEL}")
    assert (status, body) == (400, b"")
    assert int(headers["Content-Length"]) > 0


def test_rest_preflight(server):
    status, headers, body = raw(server, "OPTIONS", PREDICT, Origin="https://shop.example")
    assert (status, body) == (200, b"")
    assert "Access-Control-Allow-Origin" not in headers
    assert raw(server, "OPTIONS", PREDICT)[0] == 400


@pytest.fixture(scope="module")
def own(servable, tmp_path_factory):
    """A server with a short timeout for REST, which says that pages of other origins may ask it."""
    with serve(servable, tmp_path_factory.mktemp("own"), rest={"timeout": 0.3, "cors": True}) as found:
        yield found


def test_rest_timeout(own):
    body = '{"signature_name": "slow", "inputs": 600}'
    assert call(own, "POST", PREDICT, body) == (504, {"error": "Timed out waiting for notification"})


def test_rest_for_pages_of_other_origins(own):
    for method, path in (("OPTIONS", PREDICT), ("GET", f"/v1/models/{MODEL}"), ("GET", "/v1/models/nope")):
        _, headers, _ = raw(own, method, path, Origin="https://shop.example")
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert headers["Access-Control-Allow-Methods"] == "POST, GET"
        assert headers["Access-Control-Allow-Headers"] == "Content-Type"


def test_a_reload_says_what_it_changed(own):
    request = model_management_pb2.ReloadConfigRequest(metric_names=["/tensorflow/serving/nope"])
    request.config.CopyFrom(settings.single_model(MODEL, own.core.models()[0].base_path))
    with grpc.insecure_channel(own.grpc_target) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        answer = stub.HandleReloadConfigRequest(request, timeout=60)
        assert answer.HasField("status")
        assert answer.status.error_code == 0
        assert [(metric.name, metric.int64_value_increase) for metric in answer.metric] == [
            ("/tensorflow/serving/nope", 0)
        ]
        request.config.model_config_list.config[0].base_path = "relative"
        with pytest.raises(grpc.RpcError) as error:
            stub.HandleReloadConfigRequest(request, timeout=60)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_rest_metadata(server):
    _, answer = call(server, "GET", f"/v1/models/{MODEL}/metadata")
    assert answer["model_spec"] == {"name": MODEL, "signature_name": "", "version": "7"}
    double = answer["metadata"]["signature_def"]["signature_def"]["double"]
    assert double["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in double["inputs"]["x"]["tensor_shape"]["dim"]] == ["-1", "2"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "/v1/models/nope:predict", "{}", 404, "Servable not found for request: Latest(nope)"),
        ("POST", f"/v1/models/{MODEL}/versions/3:predict", '{"instances": [1]}', 404, "Specific(tiny, 3)"),
        ("POST", f"/v1/models/{MODEL}/versions/{10**30}:predict", "{}", 400, "Failed to convert version"),
        ("POST", f"/v1/models/{MODEL}/labels/stable:predict", "{}", 400, "Unrecognized servable version label: stable"),
        ("GET", "/v1/models/nope", None, 404, "Could not find any versions of model nope"),
        ("GET", f"/v1/models/{MODEL}/versions/3", None, 404, "Could not find version 3 of model tiny"),
        ("GET", "/v1/models", None, 400, "Missing model name in request."),
        ("GET", PREDICT, None, 400, f"Malformed request: GET {PREDICT}"),
        ("POST", f"/v1/models/{MODEL}", "{}", 400, "Malformed request: POST"),
        ("PUT", PREDICT, "{}", 400, "Malformed request: PUT"),
        ("GET", "/v1/../../etc/passwd", None, 400, "Malformed request"),
        ("GET", "/", None, 404, "Not found: /"),
        ("POST", f"/v1/models/{MODEL}:Predict", "{}", 400, "Malformed request: POST"),
        ("POST", f"/v1/models/{MODEL}:predict/more", "{}", 400, "Malformed request: POST"),
        ("GET", "/v1/models/..%2F..%2Fetc%2Fpasswd", None, 404, "versions of model ../../etc/passwd"),
        ("GET", "/v1/models/a%0d%0aSet-Cookie%3a%20b", None, 404, "versions of model a\r\nSet-Cookie: b"),
        ("POST", PREDICT, "", 400, "The document is empty"),
        ("POST", PREDICT, b"\xff", 400, "JSON Parse error"),
        (
            "POST",
            PREDICT,
            '{"signature_name": "nope", "instances": [1]}',
            400,
            'Serving signature name: "nope" not found',
        ),
        ("POST", PREDICT, '{"signature_name": "double", "inputs": [[1, 2, 3]]}', 400, "must have shape [?,2]"),
        ("POST", PREDICT, '{"signature_name": "double", "inputs": [["1", 2]]}', 400, "is not of expected type: float"),
        ("POST", PREDICT, '{"signature_name": "slow", "inputs": "no"}', 400, "is not of expected type: float64"),
        (
            "POST",
            PREDICT,
            '{"signature_name": "recommend", "instances": [{"user_id": "a", "history": [], "exclude": [], "k": 3}]}',
            400,
            '"k" must have shape []',
        ),
    ],
)
def test_rest_refusals(server, method, path, body, status, text):
    answered, answer = call(server, method, path, body)
    assert list(answer) == ["error"]
    assert text in answer["error"]
    assert answered == status


def test_the_log_is_quiet(server):
    """After all of the above: what was loaded and where it serves, nothing of TensorFlow or gRPC."""
    lines = server.log().strip().splitlines()
    # What an older protobuf library says of text that isn't UTF-8, which other tests have sent.
    models, serves, ready = [line for line in lines if not line.startswith("[libprotobuf ERROR")]
    assert models.endswith("models: tiny")
    assert "version 7 serves" in serves
    assert ready.startswith("ready model=tiny version=7 ")
