"""The gRPC side: PredictionService, ModelService and the health service, on tensorflow-serving-api's own stubs."""

from __future__ import annotations

import logging
from concurrent import futures
from typing import Any, Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.server import tensors
from serving.server.core import ServerCore
from serving.server.servable import DEFAULT_SIGNATURE
from serving.server.status import StatusError, invalid

_LOGGER = logging.getLogger("serving.server")
_SIGNATURE_DEF = "signature_def"
_SERVICES = (
    "",
    "ModelService",  # the two names that TensorFlow Serving registers
    "PredictionService",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.PredictionService",
)


class GrpcServer:
    """The gRPC server; binds at construction, answers after `start`.

    Args:
        core: what answers.
        host: address to bind to.
        port: TCP port; 0 picks a free one.
        max_threads: requests that run at the same time; more wait.
        max_message_bytes: longest request.

    Raises:
        OSError: the port can't be bound.
    """

    def __init__(self, core: ServerCore, host: str, port: int, max_threads: int, max_message_bytes: int):
        self._core = core
        self._server = grpc.server(
            futures.ThreadPoolExecutor(max_threads, thread_name_prefix="grpc"),
            options=[
                # Two servers on one port would share the requests at random.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_PredictionService(core), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(core), self._server)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self.port = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(str(error)) from None
        if self.port == 0:  # how older gRPC says it
            raise OSError(f"can't bind {host}:{port}")
        self.update_health()

    def start(self) -> None:
        """Starts to answer."""
        self._server.start()

    def update_health(self) -> None:
        """Tells the health service whether a model is there to answer."""
        status = health_pb2.HealthCheckResponse
        for service in _SERVICES:
            self._health.set(service, status.SERVING if self._core.serves() else status.NOT_SERVING)

    def stop(self, grace: float) -> None:
        """Refuses new requests, and waits up to `grace` seconds for those that run."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait()


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, core: ServerCore):
        self._core = core

    def Predict(self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext) -> Any:
        """Runs a signature."""
        return _answer(context, lambda: self._predict(request, context))

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Returns the signatures."""
        return _answer(context, lambda: self._metadata(request))

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Not served."""
        return _unimplemented(context, "Classify")

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Not served."""
        return _unimplemented(context, "Regress")

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Not served."""
        return _unimplemented(context, "MultiInference")

    def _predict(self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext) -> Any:
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        spec = request.model_spec
        inputs = {alias: tensors.to_array(proto, alias) for alias, proto in request.inputs.items()}
        with self._core.acquire(spec) as (version, servable):
            outputs = servable.run(spec.signature_name, inputs, request.output_filter, context.time_remaining())
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        response.model_spec.signature_name = spec.signature_name or DEFAULT_SIGNATURE
        for alias, array in outputs.items():
            tensors.to_proto(array, response.outputs[alias])
        return response

    def _metadata(self, request: Any) -> Any:
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != _SIGNATURE_DEF:
                raise invalid(f"Metadata field {name} is not supported")
        with self._core.acquire(request.model_spec) as (version, servable):
            signatures = servable.signatures
        found = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in signatures.items():
            found.signature_def[name].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        response.metadata[_SIGNATURE_DEF].Pack(found)
        return response


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, core: ServerCore):
        self._core = core

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Returns the states of the model's versions."""
        return _answer(context, lambda: self._status(request))

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Not served."""
        return _unimplemented(context, "HandleReloadConfigRequest")

    def _status(self, request: Any) -> Any:
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        response = get_model_status_pb2.GetModelStatusResponse()
        for state in self._core.states(request.model_spec):
            entry = response.model_version_status.add(version=state.version)
            entry.state = get_model_status_pb2.ModelVersionStatus.State.Value(state.state)
            entry.status.error_code = state.code.value[0]
            entry.status.error_message = state.message
        return response


def _answer(context: grpc.ServicerContext, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except StatusError as error:
        code, message = error.code, error.message
    except Exception as error:
        _LOGGER.exception("a request failed")
        code, message = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
    return context.abort(code, message)


def _unimplemented(context: grpc.ServicerContext, method: str) -> Any:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not served by the embedded model server")
