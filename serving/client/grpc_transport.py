"""gRPC to TensorFlow Serving's PredictionService and ModelService, with messages of our own (no TensorFlow).

gRPC's own retries and hedging are not used: the client's are the same over REST, know the replicas and are counted.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from typing import Any, Callable, Optional, Union

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from serving.client import certificates, tensors, transport
from serving.client.certificates import Certificates
from serving.client.errors import RecommenderError, ServerError
from serving.client.policies import Connection, Tls
from serving.client.results import ModelMetadata, Signature, TensorSpec, VersionStatus
from serving.client.transport import Answer, Message, Metadata, ModelRef, Predict, Request, Status
from serving.protos import serving_pb2

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # a batch with a large k passes gRPC's 4 MB
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),  # a server that comes back is found within seconds
    ("grpc.use_local_subchannel_pool", 1),  # one client's back-off must not hold up another
    # A name that stands for several addresses is asked at all of them in turn.
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
]
_METHODS: dict[type, tuple[str, Any]] = {
    Predict: ("PredictionService/Predict", serving_pb2.PredictResponse),
    Metadata: ("PredictionService/GetModelMetadata", serving_pb2.GetModelMetadataResponse),
    Status: ("ModelService/GetModelStatus", serving_pb2.GetModelStatusResponse),
}
_OF_GRPC = ("UNAVAILABLE", "INTERNAL", "UNKNOWN", "CANCELLED")
"""Codes by which gRPC tells of connections that broke and of what can't be read."""
_BY_PROXY = re.compile(r"http2 header with status: (429|50[234])")
_KEEPALIVE_TIMEOUT_MS = 10_000
_MARGIN_SECONDS = 1.0
_AT_ONCE = 100
"""Requests under way at once where no thread bounds them; more wait, for servers refuse what comes all at once."""


def encode(request: Request) -> bytes:
    """The request's message, serialized.

    Raises:
        InvalidRequest: an input's values are not of its dtype.
    """
    if isinstance(request, Predict):
        message: Any = serving_pb2.PredictRequest(output_filter=request.outputs)
        message.model_spec.signature_name = request.method
        for name, tensor in request.inputs.items():
            tensors.to_proto(tensor, message.inputs[name])
    elif isinstance(request, Status):
        message = serving_pb2.GetModelStatusRequest()
    else:
        message = serving_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    _fill_spec(message.model_spec, request.model)
    return message.SerializeToString()


class _Open:
    """An open channel."""

    def __init__(self, channel: Any):
        self.channel = channel
        self.methods = {
            kind: channel.unary_unary(f"/tensorflow.serving.{path}", bytes, answer.FromString)
            for kind, (path, answer) in _METHODS.items()
        }
        self.until = 0.0
        """When the last of its calls has ended for certain."""


class _Channel:
    """What the blocking and the asyncio channel have in common; `api` is `grpc` or `grpc.aio`."""

    def __init__(self, api: Any, host: str, port: int, connection: Connection):
        self._target = transport.address(host, port)
        # A proxy of the environment is for the web, and would take what is meant for a neighbour.
        options: list[tuple[str, Any]] = [*_OPTIONS, ("grpc.enable_http_proxy", int(connection.proxy))]
        if connection.keepalive is not None:
            options += [
                ("grpc.keepalive_time_ms", int(1000 * connection.keepalive)),
                ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
                ("grpc.http2.ping_timeout_ms", _KEEPALIVE_TIMEOUT_MS),  # of newer versions, a minute by default
                ("grpc.http2.max_pings_without_data", 0),
            ]
        compression = grpc.Compression.Gzip if connection.compression else None
        tls = connection.tls
        if tls is not None and tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", tls.server_name))

        def opened(credentials: Optional[grpc.ChannelCredentials]) -> _Open:
            if credentials is None:
                return _Open(api.insecure_channel(self._target, options=options, compression=compression))
            return _Open(api.secure_channel(self._target, credentials, options=options, compression=compression))

        self._opened = opened
        self._lock = threading.Lock()
        self._certificates = None if tls is None else Certificates(tls, _credentials)
        self._credentials = None if self._certificates is None else self._certificates.current()
        self._open = opened(self._credentials)
        self._left: list[_Open] = []
        self._closed = False

    def _call(self, message: Message) -> Callable[..., Any]:
        with self._lock:
            if self._certificates is not None and not self._closed:
                self._renew(self._certificates.current())
            self._open.until = max(self._open.until, time.monotonic() + message.timeout)
            return self._open.methods[type(message.request)]

    def _renew(self, credentials: grpc.ChannelCredentials) -> None:
        """Opens another channel where these are new; those that were left are closed when their calls have ended."""
        if credentials is not self._credentials:
            self._left.append(self._open)
            self._credentials, self._open = credentials, self._opened(credentials)
        over = [left for left in self._left if left.until + _MARGIN_SECONDS < time.monotonic()]
        self._left = [left for left in self._left if left not in over]
        for left in over:
            self._leave(left.channel)

    def _leave(self, channel: Any) -> None:
        """Closes a channel that no call uses any more."""
        raise NotImplementedError

    def _close(self) -> list[Any]:
        """From now on no call is made; returns the channels that are to be closed."""
        with self._lock:
            self._closed = True
            return [one.channel for one in (self._open, *self._left)]

    def _error(self, error: Any, message: Message) -> RecommenderError:
        kind, detail = error.code().name, error.details() or ""
        if kind == "DEADLINE_EXCEEDED":
            said = "" if detail.lower().startswith("deadline exceeded") else detail  # these are gRPC's own words
            return transport.deadline_exceeded(self._target, message.timeout, said)
        if kind in _OF_GRPC:  # of the others the server says more than gRPC does, and may use the same words
            # "Stream removed" is a connection that broke, of which gRPC can't always tell more than UNKNOWN
            # (grpc/grpc#34076); a proxy in front of a server that is gone answers 502, 503 or 504.
            if "RST_STREAM" in detail or "Stream removed" in detail or _BY_PROXY.search(detail):
                return transport.unavailable(self._target, detail)
            if "deserializing response" in detail or ("http2" in detail.lower() and "GOAWAY" not in detail):
                return transport.not_a_model_server(self._target, detail, "gRPC port")
        if kind == "UNIMPLEMENTED":
            return transport.not_a_model_server(self._target, detail, "gRPC port")
        told = dict(error.trailing_metadata() or ()).get(transport.RETRY_AFTER)
        return transport.from_status(kind, detail, self._target, message.request.model, told)


class BlockingTransport(_Channel):
    """The blocking gRPC transport; thread-safe."""

    def __init__(self, host: str, port: int, connection: Connection):
        super().__init__(grpc, host, port, connection)

    def send(self, message: Message) -> Answer:
        """See `Transport`."""
        try:
            answer = self._call(message)(message.wire, timeout=message.timeout, metadata=_metadata(message))
        except grpc.RpcError as error:
            raise self._error(error, message) from None
        except ValueError:  # gRPC's word for a closed channel
            raise transport.closed() from None
        return _decode(message.request, answer, self._target)

    def start(self, message: Message, done: Callable[[Union[Answer, RecommenderError]], None]) -> transport.Pending:
        """See `Transport`."""
        method: Any = self._call(message)
        try:
            call = method.future(message.wire, timeout=message.timeout, metadata=_metadata(message))
        except ValueError:
            raise transport.closed() from None

        def finish(_: Any) -> None:
            try:
                done(_decode(message.request, call.result(), self._target))
            except grpc.RpcError as error:
                done(self._error(error, message))
            except RecommenderError as error:
                done(error)
            except grpc.FutureCancelledError:
                pass

        call.add_done_callback(finish)
        return call

    def close(self) -> None:
        """See `Transport`."""
        for channel in self._close():
            channel.close()

    def _leave(self, channel: Any) -> None:
        channel.close()


class AsyncioTransport(_Channel):
    """The asyncio gRPC transport, of the event loop in which it is made."""

    def __init__(self, host: str, port: int, connection: Connection):
        super().__init__(grpc.aio, host, port, connection)
        self._leaving: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def send(self, message: Message) -> Answer:
        """See `AsyncTransport`. The time in which it waits for others to end is part of the message's."""
        if not self._slots.locked():
            await self._slots.acquire()  # at once
            left = message.timeout
        else:
            started = time.monotonic()
            try:
                await asyncio.wait_for(self._slots.acquire(), message.timeout)
            except asyncio.TimeoutError:
                raise transport.deadline_exceeded(self._target, message.timeout) from None
            left = max(0.0, message.timeout - (time.monotonic() - started))
        try:
            if self._closed:
                raise transport.closed()
            return await self._send(message, left)
        finally:
            self._slots.release()

    async def _send(self, message: Message, timeout: float) -> Answer:
        try:
            answer = await self._call(message)(message.wire, timeout=timeout, metadata=_metadata(message))
        except grpc.RpcError as error:
            raise self._error(error, message) from None
        except asyncio.CancelledError:
            if self._closed:  # which cancels what is under way, but not whoever awaits it
                raise transport.closed() from None
            raise
        return _decode(message.request, answer, self._target)

    async def close(self) -> None:
        """See `AsyncTransport`."""
        for channel in self._close():
            await channel.close()

    def _leave(self, channel: Any) -> None:
        task = asyncio.get_running_loop().create_task(channel.close())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    certificates.context(tls)  # gRPC would find out with the first connection
    return grpc.ssl_channel_credentials(tls.read("ca"), tls.read("key"), tls.read("certificate"))


def _metadata(message: Message) -> tuple[tuple[str, str], ...]:
    return tuple(message.metadata.items())


def _decode(request: Request, answer: Any, target: str) -> Answer:
    """Reads the answer's message; ServerError if there is none, or it contradicts itself."""
    if answer is None:  # gRPC's way to say so where the status is OK all the same
        raise transport.not_a_model_server(target, "its answer has no message that can be read", "gRPC port")
    if isinstance(request, Predict):
        spec = answer.model_spec
        version = spec.version.value if spec.HasField("version") else None
        return Answer({name: tensors.from_proto(proto) for name, proto in answer.outputs.items()}, version)
    if isinstance(request, Status):
        states = serving_pb2.ModelVersionStatus.State
        return Answer(
            [
                VersionStatus(
                    version=s.version,
                    state=states.Name(s.state) if s.state in states.values() else str(s.state),
                    error_code=s.status.error_code,
                    error_message=s.status.error_message,
                )
                for s in answer.model_version_status
            ]
        )
    try:
        # The Any names TensorFlow Serving's own message; ours reads the same bytes.
        found = serving_pb2.SignatureDefMap.FromString(answer.metadata["signature_def"].value)
    except DecodeError as error:
        raise ServerError(f"{target} answered metadata that can't be read: {error}") from error
    version = answer.model_spec.version.value
    signatures = {
        name: Signature(
            inputs={k: _tensor_spec(v) for k, v in s.inputs.items()},
            outputs={k: _tensor_spec(v) for k, v in s.outputs.items()},
        )
        for name, s in found.signature_def.items()
    }
    return Answer(ModelMetadata(answer.model_spec.name, version, signatures), version)


def _fill_spec(spec: Any, model: ModelRef) -> None:
    spec.name = model.name
    if model.version is not None:
        spec.version.value = model.version
    elif model.label is not None:
        spec.version_label = model.label


def _tensor_spec(info: serving_pb2.TensorInfo) -> TensorSpec:
    dims = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
    return TensorSpec(tensors.dtype_name(info.dtype), None if info.tensor_shape.unknown_rank else dims)
