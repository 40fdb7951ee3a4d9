"""gRPC to TensorFlow Serving's PredictionService and ModelService, with messages of our own (no TensorFlow)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import grpc
from google.protobuf.message import DecodeError

from serving.client import tensors, transport
from serving.client.errors import RecommenderError, ServerError
from serving.client.results import ModelMetadata, Signature, TensorSpec, VersionStatus
from serving.client.tensors import Tensor
from serving.client.transport import ModelRef
from serving.protos import serving_pb2

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # a batch with a large k passes gRPC's 4 MB
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),  # a server that comes back is found within seconds
    ("grpc.use_local_subchannel_pool", 1),  # one client's back-off must not hold up another
]


class GrpcTransport:
    """The gRPC transport; thread-safe."""

    def __init__(self, host: str, port: int):
        self._target = f"{host}:{port}"
        local = host in ("localhost", "::1", "[::1]") or host.startswith("127.")
        options = [*_OPTIONS, ("grpc.enable_http_proxy", 0)] if local else _OPTIONS
        self._channel = grpc.insecure_channel(self._target, options=options)
        self._predict = self._method("PredictionService/Predict", serving_pb2.PredictResponse)
        self._metadata = self._method("PredictionService/GetModelMetadata", serving_pb2.GetModelMetadataResponse)
        self._status = self._method("ModelService/GetModelStatus", serving_pb2.GetModelStatusResponse)

    def predict(
        self, model: ModelRef, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str], timeout: float
    ) -> tuple[dict[str, Tensor], Optional[int]]:
        """See `Transport`."""
        request = serving_pb2.PredictRequest(output_filter=outputs)
        _fill_spec(request.model_spec, model)
        request.model_spec.signature_name = signature
        for name, tensor in inputs.items():
            tensors.to_proto(tensor, request.inputs[name])
        answer = self._call(self._predict, request, model, timeout)
        spec = answer.model_spec
        version = spec.version.value if spec.HasField("version") else None
        return {name: tensors.from_proto(proto) for name, proto in answer.outputs.items()}, version

    def status(self, model: ModelRef, timeout: float) -> list[VersionStatus]:
        """See `Transport`."""
        request = serving_pb2.GetModelStatusRequest()
        _fill_spec(request.model_spec, model)
        states = serving_pb2.ModelVersionStatus.State
        return [
            VersionStatus(
                version=s.version,
                state=states.Name(s.state) if s.state in states.values() else str(s.state),
                error_code=s.status.error_code,
                error_message=s.status.error_message,
            )
            for s in self._call(self._status, request, model, timeout).model_version_status
        ]

    def metadata(self, model: ModelRef, timeout: float) -> ModelMetadata:
        """See `Transport`."""
        request = serving_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        _fill_spec(request.model_spec, model)
        answer = self._call(self._metadata, request, model, timeout)
        try:
            # The Any names TensorFlow Serving's own message; ours reads the same bytes.
            found = serving_pb2.SignatureDefMap.FromString(answer.metadata["signature_def"].value)
        except DecodeError as error:
            raise ServerError(f"{self._target} answered metadata that can't be read: {error}") from error
        return ModelMetadata(
            name=answer.model_spec.name,
            version=answer.model_spec.version.value,
            signatures={
                name: Signature(
                    inputs={k: _tensor_spec(v) for k, v in s.inputs.items()},
                    outputs={k: _tensor_spec(v) for k, v in s.outputs.items()},
                )
                for name, s in found.signature_def.items()
            },
        )

    def close(self) -> None:
        """See `Transport`."""
        self._channel.close()

    def _method(self, path: str, answer: Any) -> Any:
        def serialize(message: Any) -> bytes:
            return message.SerializeToString()

        return self._channel.unary_unary(f"/tensorflow.serving.{path}", serialize, answer.FromString)

    def _call(self, method: Any, request: Any, model: ModelRef, timeout: float) -> Any:
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise self._error(error, model, timeout) from None
        except ValueError as error:  # gRPC's word for a closed channel
            raise RecommenderError(f"the client is closed: {error}") from None

    def _error(self, error: Any, model: ModelRef, timeout: float) -> RecommenderError:
        kind, detail = error.code().name, error.details() or ""
        if kind == "DEADLINE_EXCEEDED":
            return transport.deadline_exceeded(self._target, timeout)
        if kind == "UNIMPLEMENTED" or "deserializing response" in detail or "http2" in detail.lower():
            return transport.not_a_model_server(self._target, detail, "gRPC port")
        return transport.from_status(kind, detail, self._target, model)


def _fill_spec(spec: Any, model: ModelRef) -> None:
    spec.name = model.name
    if model.version is not None:
        spec.version.value = model.version
    elif model.label is not None:
        spec.version_label = model.label


def _tensor_spec(info: serving_pb2.TensorInfo) -> TensorSpec:
    dims = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
    return TensorSpec(tensors.dtype_name(info.dtype), None if info.tensor_shape.unknown_rank else dims)
