"""The gRPC API of the embedded server, asked by TensorFlow Serving's own stubs."""

from __future__ import annotations

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
from serving.server.grpc_service import Admin
from tests.serving.fixtures import MODEL
from tests.serving.in_process import serve
from tests.serving.server.asking import predict_request, recommend_inputs


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc_target) as opened:
        yield opened


@pytest.fixture(scope="module")
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


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


@pytest.mark.slow
@pytest.mark.smoke
def test_a_deadline_ends_the_work(prediction):
    with pytest.raises(grpc.RpcError) as error:
        prediction.Predict(predict_request("slow", seconds=np.float64(600)), timeout=0.5)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    # With a thread left that still worked on it, as many as there are threads would make the server wait for them.
    waiting = [
        prediction.Predict.future(predict_request("slow", seconds=np.float64(600)), timeout=0.5) for _ in range(40)
    ]
    codes = {future.exception().code() for future in waiting}
    # Those of which it is foreseen that they would come too late are refused at once.
    assert grpc.StatusCode.DEADLINE_EXCEEDED in codes
    assert codes <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert prediction.Predict(predict_request("double", x=[[1.0, 2.0]]), timeout=60).outputs["y"].float_val == [2, 4]


@pytest.mark.parametrize("service", ["", "PredictionService", "tensorflow.serving.ModelService"])
def test_health(channel, service):
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.slow
@pytest.mark.smoke
def test_a_reload_says_what_it_changed(servable, tmp_path):
    request = model_management_pb2.ReloadConfigRequest(metric_names=["/tensorflow/serving/nope"])
    with serve(servable, tmp_path) as own, grpc.insecure_channel(own.grpc_target) as channel:
        request.config.CopyFrom(settings.single_model(MODEL, own.core.models()[0].base_path))
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


@pytest.mark.slow
@pytest.mark.smoke
def test_a_port_of_its_own_for_reloads(servable, tmp_path):
    with (
        serve(servable, tmp_path, grpc={"admin": Admin("127.0.0.1", 0)}) as own,
        grpc.insecure_channel(own.grpc_target) as public,
        grpc.insecure_channel(own.admin_target) as admin,
    ):
        request = model_management_pb2.ReloadConfigRequest()
        request.config.CopyFrom(settings.single_model(MODEL, own.core.models()[0].base_path))
        request.config.model_config_list.config[0].version_labels["stable"] = 7
        with pytest.raises(grpc.RpcError) as error:
            model_service_pb2_grpc.ModelServiceStub(public).HandleReloadConfigRequest(request, timeout=20)
        assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert error.value.details() == "the config is replaced over --admin_port only"
        by_label = predict_request("double", x=[[1.0, 2.0]])
        by_label.model_spec.version_label = "stable"
        stubs = [prediction_service_pb2_grpc.PredictionServiceStub(channel) for channel in (public, admin)]
        with pytest.raises(grpc.RpcError, match="Unrecognized servable version label"):
            stubs[0].Predict(by_label, timeout=20)
        model_service_pb2_grpc.ModelServiceStub(admin).HandleReloadConfigRequest(request, timeout=20)
        assert [list(stub.Predict(by_label, timeout=20).outputs["y"].float_val) for stub in stubs] == [[2, 4]] * 2
        for channel in (public, admin):
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
