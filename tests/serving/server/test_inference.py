"""Classify, Regress and MultiInference, over gRPC and REST, on the tiny servable and on outputs that don't fit."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.server import inference
from serving.server.status import StatusError
from tests.serving.fixtures import MODEL
from tests.serving.server.asking import call

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


@pytest.fixture(scope="module")
def prediction(server):
    with grpc.insecure_channel(server.grpc_target) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def examples(*values, context=None):
    """Input with one Example a value, which is the feature `x`; None leaves the feature out."""
    source = input_pb2.Input()
    target = source.example_list
    if context is not None:
        target = source.example_list_with_context
        target.context.features.feature["x"].float_list.value.append(context)
    for value in values:
        features = target.examples.add().features
        if value is not None:
            features.feature["x"].float_list.value.append(value)
    return source


def request(kind, signature, source, model=MODEL):
    message = kind(input=source)
    message.model_spec.name = model
    message.model_spec.signature_name = signature
    return message


def classification(signature="classify", source=None, **spec):
    return request(classification_pb2.ClassificationRequest, signature, source or examples(3), **spec)


def regression(signature="regress", source=None, **spec):
    return request(regression_pb2.RegressionRequest, signature, source or examples(3), **spec)


def test_classify(prediction):
    answer = prediction.Classify(classification(source=examples(3, -2.5)), timeout=10)
    assert (answer.model_spec.name, answer.model_spec.version.value) == (MODEL, 7)
    assert answer.model_spec.signature_name == "classify"
    found = [[(c.label, c.score) for c in row.classes] for row in answer.result.classifications]
    assert found == [[("small", -3), ("large", 3)], [("small", 2.5), ("large", -2.5)]]


def test_regress(prediction):
    answer = prediction.Regress(regression(source=examples(3, None)), timeout=10)
    assert [regression.value for regression in answer.result.regressions] == [1003, 1000]
    assert answer.model_spec.version.value == 7


def test_an_example_counts_more_than_the_context(prediction):
    answer = prediction.Regress(regression(source=examples(None, 8, context=5)), timeout=10)
    assert [regression.value for regression in answer.result.regressions] == [1005, 1008]


def test_multi_inference(prediction):
    message = inference_pb2.MultiInferenceRequest(input=examples(4))
    for signature, method in (("classify", CLASSIFY), ("regress", REGRESS)):
        task = message.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = MODEL, signature
    first, second = prediction.MultiInference(message, timeout=10).results
    assert [c.score for c in first.classification_result.classifications[0].classes] == [-4, 4]
    assert second.regression_result.regressions[0].value == 1004
    assert (first.model_spec.signature_name, second.model_spec.signature_name) == ("classify", "regress")
    assert first.model_spec.version.value == second.model_spec.version.value == 7


REFUSALS = [
    ("Classify", classification("nope"), "INVALID_ARGUMENT", "No signature was found with the name: nope"),
    ("Classify", classification(model="nope"), "NOT_FOUND", "Servable not found for request: Latest(nope)"),
    ("Classify", classification_pb2.ClassificationRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    ("Classify", classification(source=examples()), "INVALID_ARGUMENT", "Input is empty."),
    ("Classify", classification(source=input_pb2.Input()), "INVALID_ARGUMENT", "Input is empty."),
    ("Classify", classification("recommend"), "INVALID_ARGUMENT", "Expected one input Tensor."),
    ("Classify", classification("double"), "INVALID_ARGUMENT", "No classification inputs found in SignatureDef: inp"),
    ("Classify", classification("regress"), "INVALID_ARGUMENT", 'contain at least one of "classes" or "scores"'),
    ("Regress", regression("nope"), "INVALID_ARGUMENT", "No signature was found with the name: nope"),
    ("Regress", regression_pb2.RegressionRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    ("Regress", regression("classify"), "INVALID_ARGUMENT", "Expected one output Tensor."),
    ("Regress", regression("double"), "INVALID_ARGUMENT", "No regression inputs found in SignatureDef"),
    ("Regress", regression("recommend"), "INVALID_ARGUMENT", "Expected one input Tensor."),
]


@pytest.mark.parametrize(("method", "message", "code", "text"), REFUSALS)
def test_refusals(prediction, method, message, code, text):
    with pytest.raises(grpc.RpcError) as error:
        getattr(prediction, method)(message, timeout=10)
    assert text in error.value.details()
    assert error.value.code().name == code


@pytest.mark.parametrize(
    ("tasks", "code", "text"),
    [
        ([], "INVALID_ARGUMENT", "no name"),
        ([(MODEL, "classify", CLASSIFY), ("", "regress", REGRESS)], "INVALID_ARGUMENT", "empty model name"),
        ([(MODEL, "classify", CLASSIFY), ("b", "regress", REGRESS)], "INVALID_ARGUMENT", "must access the same model"),
        ([(MODEL, "regress", REGRESS)] * 2, "INVALID_ARGUMENT", "Duplicate evaluation of signature: regress"),
        ([(MODEL, "nope", REGRESS)], "INVALID_ARGUMENT", "Requested signature not found in model graph: nope"),
        ([(MODEL, "double", "predict")], "UNIMPLEMENTED", "Unsupported signature method_name: predict"),
        ([(MODEL, "classify", REGRESS)], "INVALID_ARGUMENT", "Expected one output Tensor."),
    ],
)
def test_wrong_tasks(prediction, tasks, code, text):
    message = inference_pb2.MultiInferenceRequest(input=examples(1))
    for model, signature, method in tasks:
        task = message.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = model, signature
    with pytest.raises(grpc.RpcError) as error:
        prediction.MultiInference(message, timeout=10)
    assert text in error.value.details()
    assert error.value.code().name == code


def core_of(**outputs):
    """A core with one servable, whose only signature has these outputs."""
    signature = SimpleNamespace(inputs={"inputs": None}, outputs=outputs)
    servable = SimpleNamespace(
        signatures={"serving_default": signature},
        run=lambda name, inputs, output_filter, timeout: {alias: outputs[alias] for alias in output_filter},
    )
    return SimpleNamespace(acquire=lambda spec: contextlib.nullcontext((1, servable)))


TEXTS = np.array([[b"a", b"b"]], object)


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"scores": np.float32([1])}, r"Expected Tensor shape: \[batch_size num_classes\] but got \[1\]"),
        ({"scores": np.float64([[1]])}, "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ({"classes": np.float32([[1]])}, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ({"scores": np.float32([[1], [2]])}, "Expected scores output batch size of 1. Got: 2"),
        ({"classes": TEXTS, "scores": np.float32([[1]])}, r"should match in dim_size\(1\). Got 2 vs. 1"),
        ({"a": TEXTS, "b": TEXTS, "c": TEXTS}, "Expected one or two output Tensors, found 3"),
    ],
)
def test_outputs_that_are_no_classes(arrays, text):
    with pytest.raises(StatusError, match=text) as error:
        inference.answer(core_of(**arrays), "Classify", classification(""), None)
    assert error.value.code == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.float32([[1, 2]]), r"either \[batch_size\] or \[batch_size, 1\] but got \[1,2\]"),
        (np.float32(1), r"either \[batch_size\] or \[batch_size, 1\] but got \[\]"),
        (np.float32([1, 2]), "Input batch size did not match output batch size: 1 vs. 2"),
        (np.int64([1]), "Expected output Tensor of DT_FLOAT.  Got: DT_INT64"),
    ],
)
def test_outputs_that_are_no_values(array, text):
    with pytest.raises(StatusError, match=text):
        inference.answer(core_of(outputs=array), "Regress", regression(""), None)


def test_classes_or_scores_alone():
    classes = inference.answer(core_of(classes=TEXTS), "Classify", classification(""), None).result
    assert [(c.label, c.score) for c in classes.classifications[0].classes] == [("a", 0), ("b", 0)]
    scores = inference.answer(
        core_of(scores=np.float32([[2.5]]), more=TEXTS), "Classify", classification(""), None
    ).result
    assert [(c.label, c.score) for c in scores.classifications[0].classes] == [("", 2.5)]


def test_regress_takes_a_flat_output():
    answer = inference.answer(core_of(outputs=np.float32([7])), "Regress", regression(""), None)
    assert [found.value for found in answer.result.regressions] == [7]


def rest(server, method, **body):
    return call(server, "POST", f"/v1/models/{MODEL}:{method}", json.dumps(body))


def test_rest_classify(server):
    assert rest(server, "classify", signature_name="classify", examples=[{"x": 0.1}, {"x": [-2.0]}]) == (
        200,
        {"results": [[["small", -0.1], ["large", 0.1]], [["small", 2.0], ["large", -2.0]]]},
    )


def test_rest_regress(server):
    answer = rest(server, "regress", signature_name="regress", context={"x": 5.0}, examples=[{}, {"x": 8.0}])
    assert answer == (200, {"results": [1005.0, 1008.0]})
    path = f"/v1/models/{MODEL}/versions/7:regress"
    assert call(server, "POST", path, '{"signature_name": "regress", "examples": [{}]}') == (200, {"results": [1000.0]})


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"examples": [{"x": 1.0}], "signature_name": "nope"}, "No signature was found with the name: nope"),
        ({}, "key 'examples' is expected and was not found"),
        ({"examples": 3}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [3]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{}], "context": []}, "Example must be JSON object but got JSON Array"),
        ({"examples": [{"x": [1.0, 2]}]}, "Unexpected element type in feature: x expecting type: float"),
        ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
        ({"examples": [{"x": {"a": 1}}]}, "Feature: x has element with unexpected JSON type: Object"),
        ({"examples": [{"x": [[1]]}]}, "Feature: x has element with unexpected JSON type: Array"),
        ({"examples": [{"x": 1 << 63}]}, "Feature: x has uint64_t element. Only int64_t is supported."),
    ],
)
def test_rest_refusals(server, body, text):
    status, answer = rest(server, "classify", **body)
    assert text in answer["error"]
    assert status == 400
