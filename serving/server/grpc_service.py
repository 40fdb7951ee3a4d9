"""The gRPC side: PredictionService, ModelService and the health service, on tensorflow-serving-api's own stubs."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent import futures
from typing import Any, Callable, Optional, Union

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving.server import inference, metrics
from serving.server.core import ServerCore
from serving.server.status import StatusError, invalid

_LOGGER = logging.getLogger("serving.server")
_SIGNATURE_DEF = "signature_def"
_MAX_MESSAGE = 1024  # characters of an error, as TensorFlow Serving cuts it; gRPC sends them in a header
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
        port: TCP port; 0 picks a free one, None is for the socket alone.
        socket_path: a UNIX socket to answer on as well.
        credentials: TLS, on the port and on the socket.
        max_threads: requests that run at the same time; more wait, and those that are given up meanwhile never run.
        max_message_bytes: longest request.
        options: more options of gRPC's.

    Raises:
        OSError: the port or the socket can't be bound.
    """

    def __init__(
        self,
        core: ServerCore,
        *,
        host: str,
        port: Optional[int],
        socket_path: Optional[str] = None,
        credentials: Optional[grpc.ServerCredentials] = None,
        max_threads: int,
        max_message_bytes: int,
        options: Sequence[tuple[str, Union[int, str]]] = (),
    ):
        self._core = core
        logging.getLogger("grpc").setLevel(logging.CRITICAL)  # it writes a traceback for each malformed message
        self._server = grpc.server(
            futures.ThreadPoolExecutor(max_threads, thread_name_prefix="grpc"),
            options=[
                # Two servers on one port would share the requests at random.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
                *options,
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_PredictionService(core), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(core), self._server)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = None if port is None else self._bind(f"{host}:{port}", credentials)
        if socket_path:
            self._bind(f"unix:{socket_path}", credentials)
        self.update_health()

    def _bind(self, address: str, credentials: Optional[grpc.ServerCredentials]) -> int:
        try:
            port: int = (
                self._server.add_insecure_port(address)
                if credentials is None
                else self._server.add_secure_port(address, credentials)
            )
        except RuntimeError as error:
            raise OSError(str(error)) from None
        if port == 0:  # how older gRPC says it
            raise OSError(f"can't bind {address}")
        return port

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

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Runs a signature on tensors."""
        return _measured(context, "Predict", request, lambda left: inference.predict(self._core, request, left))

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Runs a classification signature on Examples."""
        return _measured(context, "Classify", request, lambda left: inference.classify(self._core, request, left))

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Runs a regression signature on Examples."""
        return _measured(context, "Regress", request, lambda left: inference.regress(self._core, request, left))

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Runs several signatures on the same Examples."""
        return _answer(context, lambda left: inference.multi_inference(self._core, request, left))

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Returns the signatures."""
        return _answer(context, lambda _: self._metadata(request))

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
        return _answer(context, lambda _: self._status(request))

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Serves the models of a new config instead; returns when they are available."""
        return _answer(context, lambda left: self._reload(request, left))

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

    def _reload(self, request: Any, timeout: Optional[float]) -> Any:
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently"
                " supported"
            )
        before = [metrics.value(name) for name in request.metric_names]
        self._core.reload(request.config, timeout)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()  # error_code OK
        for name, value in zip(request.metric_names, before):
            response.metric.add(name=name, int64_value_increase=metrics.value(name) - value)
        return response


def _measured(context: grpc.ServicerContext, api: str, request: Any, work: Callable[[Optional[float]], Any]) -> Any:
    started = time.perf_counter()
    return _answer(
        context,
        work,
        lambda code: metrics.answered(request.model_spec.name, code.name, api, "GRPC", time.perf_counter() - started),
    )


def _answer(
    context: grpc.ServicerContext,
    work: Callable[[Optional[float]], Any],
    done: Callable[[grpc.StatusCode], None] = lambda _: None,
) -> Any:
    """Runs `work` with the seconds that the request has left; `done` gets the status."""
    try:
        response = work(context.time_remaining())
    except StatusError as error:
        code, message = error.code, error.message
    except Exception as error:
        _LOGGER.exception("a request failed")
        code, message = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
    else:
        done(grpc.StatusCode.OK)
        return response
    done(code)
    return context.abort(code, message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}...TRUNCATED")
