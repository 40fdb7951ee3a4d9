"""Classify, Regress and MultiInference over gRPC, classify and regress over REST."""

from __future__ import annotations

import re
from typing import Any, Optional

import grpc
import pytest
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, regression_pb2

from tests.serving.wire.conftest import CANARY, MODEL, Server

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def inputs(*values: Optional[float], context: Optional[float] = None) -> input_pb2.Input:
    """One Example a value, which is the feature `x`; None leaves it out."""
    found = input_pb2.Input()
    examples = found.example_list if context is None else found.example_list_with_context
    for value in values:
        example = examples.examples.add()
        if value is not None:
            example.features.feature["x"].float_list.value.append(value)
    if context is not None:
        found.example_list_with_context.context.features.feature["x"].float_list.value.append(context)
    return found


def classify(source: input_pb2.Input, signature: str = "classify", model: str = MODEL) -> Any:
    """A ClassificationRequest."""
    return classification_pb2.ClassificationRequest(
        model_spec={"name": model, "signature_name": signature}, input=source
    )


def regress(source: input_pb2.Input, signature: str = "regress", model: str = MODEL) -> Any:
    """A RegressionRequest."""
    return regression_pb2.RegressionRequest(model_spec={"name": model, "signature_name": signature}, input=source)


def multi(source: input_pb2.Input, *tasks: tuple[str, str, str]) -> inference_pb2.MultiInferenceRequest:
    """A request for (model, signature, method) tasks."""
    request = inference_pb2.MultiInferenceRequest(input=source)
    for model, signature, method in tasks:
        request.tasks.add(model_spec={"name": model, "signature_name": signature}, method_name=method)
    return request


def test_classify(wire: Server) -> None:
    answer = wire.prediction.Classify(classify(inputs(3, -2.5)), timeout=30)
    spec = answer.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == (MODEL, CANARY, "classify")
    found = [[(each.label, each.score) for each in row.classes] for row in answer.result.classifications]
    assert found == [[("small", -3), ("large", 3)], [("small", 2.5), ("large", -2.5)]]


def test_regress(wire: Server) -> None:
    answer = wire.prediction.Regress(regress(inputs(3, None)), timeout=30)
    assert answer.model_spec.version.value == CANARY
    assert [each.value for each in answer.result.regressions] == [1000 * CANARY + 3, 1000 * CANARY]


def test_what_an_example_says_counts_more_than_the_context(wire: Server) -> None:
    answer = wire.prediction.Regress(regress(inputs(None, 8, context=5)), timeout=30)
    assert [each.value - 1000 * CANARY for each in answer.result.regressions] == [5, 8]


def test_multi_inference(wire: Server) -> None:
    request = multi(inputs(4), (MODEL, "classify", CLASSIFY), (MODEL, "regress", REGRESS))
    first, second = wire.prediction.MultiInference(request, timeout=30).results
    assert [each.score for each in first.classification_result.classifications[0].classes] == [-4, 4]
    assert second.regression_result.regressions[0].value == 1000 * CANARY + 4
    assert (first.model_spec.signature_name, second.model_spec.signature_name) == ("classify", "regress")


ONE = inputs(1)
REFUSALS: dict[str, tuple[str, Any, str, str]] = {
    "no such signature": ("Classify", classify(ONE, "nope"), "INVALID_ARGUMENT", "No signature was found.*: nope"),
    "no such model": ("Classify", classify(ONE, model="nope"), "NOT_FOUND", r"Latest\(nope\)"),
    "no spec": ("Classify", classification_pb2.ClassificationRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    "no examples": ("Classify", classify(inputs()), "INVALID_ARGUMENT", "Input is empty"),
    "no input": ("Regress", regress(input_pb2.Input()), "INVALID_ARGUMENT", "Input is empty"),
    "too many inputs": ("Classify", classify(ONE, "recommend"), "INVALID_ARGUMENT", "Expected one input Tensor"),
    "another input": ("Classify", classify(ONE, "double"), "INVALID_ARGUMENT", "No classification inputs found"),
    "other outputs": ("Classify", classify(ONE, "regress"), "INVALID_ARGUMENT", "at least one of"),
    "too many outputs": ("Regress", regress(ONE, "classify"), "INVALID_ARGUMENT", "Expected one output Tensor"),
    "no tasks": ("MultiInference", multi(ONE), "INVALID_ARGUMENT", "(?i)no name|empty model name"),
    "other models": (
        "MultiInference",
        multi(ONE, (MODEL, "regress", REGRESS), ("other", "regress", REGRESS)),
        "INVALID_ARGUMENT",
        "same model name",
    ),
    "a signature twice": (
        "MultiInference",
        multi(ONE, (MODEL, "regress", REGRESS), (MODEL, "regress", REGRESS)),
        "INVALID_ARGUMENT",
        "Duplicate evaluation of signature: regress",
    ),
    "a task without its signature": (
        "MultiInference",
        multi(ONE, (MODEL, "nope", REGRESS)),
        "INVALID_ARGUMENT",
        "Requested signature not found in model graph: nope",
    ),
    "another method": (
        "MultiInference",
        multi(ONE, (MODEL, "regress", "tensorflow/serving/predict")),
        "UNIMPLEMENTED",
        "Unsupported signature method_name: tensorflow/serving/predict",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(wire: Server, case: str) -> None:
    method, request, code, text = REFUSALS[case]
    with pytest.raises(grpc.RpcError, match=text) as error:
        getattr(wire.prediction, method)(request, timeout=30)
    assert error.value.code().name == code


REST: dict[str, tuple[str, Any, int, Any]] = {
    "classify": (
        ":classify",
        {"signature_name": "classify", "examples": [{"x": 3.0}]},
        200,
        {"results": [[["small", -3.0], ["large", 3.0]]]},
    ),
    "regress": (
        "/labels/stable:regress",
        {"signature_name": "regress", "context": {"x": 5.0}, "examples": [{}, {"x": [7.0]}]},
        200,
        {"results": [1005.0, 1007.0]},
    ),
    "no examples": (":classify", {"signature_name": "classify"}, 400, "'examples' is expected and was not found"),
    "an empty list": (":regress", {"signature_name": "regress", "examples": []}, 400, "value is an empty array"),
    "examples that are no list": (":regress", {"examples": 1}, 400, "value to be an list/array"),
    "an example that is no object": (":regress", {"examples": [1]}, 400, "Example must be JSON object but got JSON"),
    "a feature of two types": (
        ":regress",
        {"examples": [{"x": [1.0, "a"]}]},
        400,
        "Unexpected element type in feature",
    ),
    "no such signature": (":regress", {"signature_name": "nope", "examples": [{}]}, 400, "No signature was found"),
}


@pytest.mark.parametrize("case", REST)
def test_rest(wire: Server, case: str) -> None:
    path, body, status, expected = REST[case]
    answered, answer = wire.http("POST", f"/v1/models/{MODEL}{path}", body)
    if status == 200:
        assert answer == expected
    else:
        assert re.search(expected, answer["error"]), answer
    assert answered == status
