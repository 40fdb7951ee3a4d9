"""Predict, Classify, Regress and MultiInference: TensorFlow Serving's requests in, its answers out.

Follows predict_util.cc, classifier.cc, regressor.cc and multi_inference.cc of TensorFlow Serving, texts of the errors
included.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from enum import Enum
from typing import Any, Callable, NamedTuple, Optional

import grpc
import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving import contract
from serving.server import metrics, observer, tensors
from serving.server.core import ServerCore
from serving.server.servable import Servable
from serving.server.status import StatusError, invalid

_INPUTS, _CLASSES, _SCORES, _OUTPUTS = "inputs", "classes", "scores", "outputs"
_LOGS = {"predict_log": "Predict", "classify_log": "Classify", "regress_log": "Regress"}
_CLASSIFY, _REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
_FEW_VALUES = 1024  # in and out: more take longer to read and write than the model runs
_MAX_SIZE = 1 << 16  # values of a request that joins a batch without a thread


class _Work(NamedTuple):
    """What a request wants to be run."""

    inputs: Mapping[str, np.ndarray]
    outputs: Sequence[str]
    """Names; all if empty."""
    answer: Callable[[int, Mapping[str, np.ndarray]], Any]
    """The response, of the version's number and its outputs."""


def answer(core: ServerCore, api: str, request: Any, timeout: Optional[float]) -> Any:
    """Answers a request of `Predict`, `Classify` or `Regress`, which `api` says, within `timeout` seconds.

    Raises:
        StatusError: as TensorFlow Serving; so do the others.
    """
    spec = _spec(request)
    with core.acquire(spec) as (version, servable):
        observer.about(spec, version)
        work = _WORK[api](servable, request)
        outputs = run(servable, spec, api, work.inputs, work.outputs, timeout)
    observer.answered(work.inputs, outputs)
    return work.answer(version, outputs)


def replay(servable: Servable, log: Any) -> None:
    """Answers the request of a PredictionLog, as a version's warm-up does, by the version itself.

    Raises:
        StatusError: also UNIMPLEMENTED, a kind of log that TensorFlow Serving doesn't warm up by either.
    """
    kind = log.WhichOneof("log_type")
    if kind == "multi_inference_log":
        _multi_inference(servable, 0, log.multi_inference_log.request, None)
    elif kind in _LOGS:
        request = getattr(log, kind).request
        work = _WORK[_LOGS[kind]](servable, request)
        work.answer(0, servable.run(request.model_spec.signature_name, work.inputs, work.outputs))
    elif kind is not None:
        raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")


class Way(Enum):
    """Where a request is best answered by who has a single thread for all."""

    HERE = "at once, it isn't worth a thread"
    BATCH = "by `submit`"
    THREAD = "in a thread"


def way(core: ServerCore, api: str, request: Any, alone: bool) -> Way:
    """Tells where to `answer` a request; `alone`: no other one is under way."""
    try:
        with core.acquire(_spec(request)) as (_, servable):
            # A few bytes can stand for a large tensor, which takes its time.
            size = _size(request.inputs) if api == "Predict" else 1
            if servable.batches:
                return Way.BATCH if size <= _MAX_SIZE else Way.THREAD
            here = (
                api == "Predict"
                and size <= _FEW_VALUES
                and servable.is_instant(request.model_spec.signature_name, size, _magnitude(request.inputs), alone)
            )
            return Way.HERE if here else Way.THREAD
    except StatusError:  # told at once
        return Way.HERE


def submit(
    core: ServerCore, api: str, request: Any, timeout: Optional[float]
) -> Optional[tuple[Future[list[np.ndarray]], Callable[[list[np.ndarray]], Any]]]:
    """Adds a request to a batch; the version is lent to it until it is answered or left.

    Args:
        core: where the version is, one with batching.
        api: `Predict`, `Classify` or `Regress`.
        request: as `answer` takes it.
        timeout: seconds.

    Returns:
        The future outputs and what makes the response of them; None for what can't be batched.
    """
    spec = _spec(request)
    started = time.perf_counter()
    with ExitStack() as lent:
        version, servable = lent.enter_context(core.acquire(spec))
        observer.about(spec, version)
        work = _WORK[api](servable, request)
        submitted = servable.submit(spec.signature_name, work.inputs, work.outputs, timeout)
        if submitted is None:
            return None
        names, future = submitted
        release = lent.pop_all().close

    def done(future: Future[list[np.ndarray]]) -> None:
        release()
        if not future.cancelled() and future.exception() is None:
            metrics.ran(spec.name, api, time.perf_counter() - started)

    def answer(found: list[np.ndarray]) -> Any:
        outputs = dict(zip(names, found))
        observer.answered(work.inputs, outputs)
        return work.answer(version, outputs)

    future.add_done_callback(done)
    return future, answer


def multi_inference(core: ServerCore, request: Any, timeout: Optional[float]) -> Any:
    """Answers a MultiInferenceRequest within `timeout` seconds, all of its tasks by one version."""
    deadline = None if timeout is None else time.monotonic() + timeout
    spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
    observer.about(spec)
    with core.acquire(spec) as (version, servable):
        observer.about(spec, version)
        response, count = _multi_inference(servable, version, request, deadline)
    metrics.examples(request.tasks[0].model_spec.name, count)
    return response


def _multi_inference(servable: Servable, version: int, request: Any, deadline: Optional[float]) -> tuple[Any, int]:
    """The response, and how many Examples the request has."""
    plans = _plans(servable, request.tasks)
    examples = _examples(request.input)
    response = inference_pb2.MultiInferenceResponse()
    for task, aliases in zip(request.tasks, plans):
        left = None if deadline is None else deadline - time.monotonic()
        outputs = servable.run(task.model_spec.signature_name, {_INPUTS: examples}, aliases, left)
        result = response.results.add(model_spec=_answered(task.model_spec, version))
        if task.method_name == _CLASSIFY:
            result.classification_result.CopyFrom(_classes(outputs, len(examples)))
        else:
            result.regression_result.CopyFrom(_values(outputs, len(examples)))
    return response, len(examples)


def run(
    servable: Servable,
    spec: Any,
    api: str,
    inputs: Mapping[str, np.ndarray],
    output_filter: Sequence[str],
    timeout: Optional[float],
) -> dict[str, np.ndarray]:
    """Runs the signature that the ModelSpec names and measures it; see `Servable.run`."""
    started = time.perf_counter()
    outputs = servable.run(spec.signature_name, inputs, output_filter, timeout)
    metrics.ran(spec.name, api, time.perf_counter() - started)
    return outputs


def _predict(_: Servable, request: Any) -> _Work:
    def answer(version: int, outputs: Mapping[str, np.ndarray]) -> Any:
        response = predict_pb2.PredictResponse(model_spec=_answered(request.model_spec, version))
        for alias, array in outputs.items():
            tensors.to_proto(array, response.outputs[alias])
        return response

    return _Work(tensors.to_arrays(request.inputs), request.output_filter, answer)


def _on_examples(
    aliases_of: Callable[[Any], Sequence[str]], response: Any, result: Callable[[Mapping[str, np.ndarray], int], Any]
) -> Callable[[Servable, Any], _Work]:
    """How Classify and Regress work: the outputs that they want of a signature, their response, and its result."""

    def work(servable: Servable, request: Any) -> _Work:
        aliases = aliases_of(_signature(servable, request.model_spec, "No signature was found with the name: "))
        examples = _examples(request.input)
        return _Work(
            {_INPUTS: examples},
            aliases,
            lambda version, outputs: response(
                model_spec=_answered(request.model_spec, version), result=result(outputs, len(examples))
            ),
        )

    return work


def _spec(request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    observer.about(request.model_spec)
    return request.model_spec


def _answered(spec: Any, version: int) -> Any:
    """The ModelSpec of an answer."""
    answered = model_pb2.ModelSpec(name=spec.name, signature_name=spec.signature_name or contract.DEFAULT)
    answered.version.value = version
    return answered


def _signature(servable: Servable, spec: Any, otherwise: str) -> Any:
    name = spec.signature_name or contract.DEFAULT
    if name not in servable.signatures:
        raise invalid(f"{otherwise}{name}")
    return servable.signatures[name]


def _plans(servable: Servable, tasks: Sequence[Any]) -> list[list[str]]:
    """The outputs that each task of a MultiInferenceRequest wants."""
    seen: set[str] = set()
    plans = []
    for task in tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != tasks[0].model_spec.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.model_spec.signature_name or contract.DEFAULT
        if name in seen:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        signature = _signature(servable, task.model_spec, "Requested signature not found in model graph: ")
        if task.method_name not in (_CLASSIFY, _REGRESS):
            raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        plans.append(_classification(signature) if task.method_name == _CLASSIFY else _regression(signature))
    return plans


def _classification(signature: Any) -> list[str]:
    """The outputs of a signature that can classify."""
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if _INPUTS not in signature.inputs:
        raise invalid(f"No classification inputs found in SignatureDef: {signature}")
    aliases = [alias for alias in (_CLASSES, _SCORES) if alias in signature.outputs]
    if not aliases:
        raise invalid(
            f'Expected classification signature outputs to contain at least one of "{_CLASSES}" or "{_SCORES}".'
            f" Signature was: {signature}"
        )
    return aliases


def _regression(signature: Any) -> list[str]:
    """The output of a signature that can regress."""
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if _INPUTS not in signature.inputs:
        raise invalid(f"No regression inputs found in SignatureDef: {signature}")
    if _OUTPUTS not in signature.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {signature}")
    return [_OUTPUTS]


def _examples(source: input_pb2.Input) -> np.ndarray:
    """The serialized Examples [N] of a request, each with the context before it."""
    kind = source.WhichOneof("kind")
    found = getattr(source, kind).examples if kind else ()
    if not found:
        raise invalid("Input is empty.")
    with_context = kind == "example_list_with_context"
    context = source.example_list_with_context.context.SerializeToString() if with_context else b""
    examples = np.empty(len(found), object)
    examples[:] = [context + example.SerializeToString() for example in found]
    return examples


def _classes(outputs: Mapping[str, np.ndarray], count: int) -> Any:
    """ClassificationResult of the outputs `classes` [N, C] and `scores` [N, C], of which one may be missing."""
    for alias, array in outputs.items():
        if array.ndim != 2:
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
        wanted = "DT_STRING" if alias == _CLASSES else "DT_FLOAT"
        if tensors.type_name(array) != wanted:
            raise invalid(f"Expected {alias} Tensor of {wanted}. Got: {tensors.type_name(array)}")
        if len(array) != count:
            raise invalid(f"Expected {alias} output batch size of {count}. Got: {len(array)}")
    sizes = [array.shape[1] for array in outputs.values()]
    if len(set(sizes)) > 1:
        raise invalid(f"Tensors class and score should match in dim_size(1). Got {sizes[0]} vs. {sizes[1]}")
    result = classification_pb2.ClassificationResult()
    for row in range(count):
        classes = result.classifications.add().classes
        for column in range(sizes[0]):
            found = classes.add()
            if _CLASSES in outputs:
                # A protobuf string, which can't hold all that a tensor can.
                found.label = outputs[_CLASSES][row, column].decode("utf-8", "replace")
            if _SCORES in outputs:
                found.score = outputs[_SCORES][row, column]
    return result


def _values(outputs: Mapping[str, np.ndarray], count: int) -> Any:
    """RegressionResult of the output `outputs`, [N] or [N, 1]."""
    array = outputs[_OUTPUTS]
    if array.ndim != 1 and array.shape[1:] != (1,):
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(array)}"
        )
    if len(array) != count:
        raise invalid(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if tensors.type_name(array) != "DT_FLOAT":
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {tensors.type_name(array)}")
    result = regression_pb2.RegressionResult()
    for value in array.ravel().tolist():
        result.regressions.add(value=value)
    return result


def _size(protos: Mapping[str, Any]) -> int:
    """How many values the tensors of a request have, if their shapes don't lie."""
    return sum(math.prod(dim.size for dim in proto.tensor_shape.dim[: tensors.MAX_RANK]) for proto in protos.values())


def _magnitude(protos: Mapping[str, Any]) -> int:
    """That of the largest value of a request's tensors, see `tensors.magnitude`."""
    found = [tensors.proto_magnitude(proto) for proto in protos.values()]
    return -1 if -1 in found else max(found, default=0)


def _shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"


_WORK: dict[str, Callable[[Servable, Any], _Work]] = {
    "Predict": _predict,
    "Classify": _on_examples(_classification, classification_pb2.ClassificationResponse, _classes),
    "Regress": _on_examples(_regression, regression_pb2.RegressionResponse, _values),
}
