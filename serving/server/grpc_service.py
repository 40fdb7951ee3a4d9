"""The gRPC side: PredictionService, ModelService and the health service, on asyncio.

One thread has the event loop. A request that is done sooner than a thread is woken for it runs right there, one that is
batched waits there for its batch, and all others run in threads.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Callable, Optional, TypeVar, Union

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from serving import traceparent
from serving.server import inference, metrics, observer
from serving.server.admission import Admission, Pace
from serving.server.core import ServerCore
from serving.server.observer import Observer, Request
from serving.server.status import StatusError, invalid

_SIGNATURE_DEF = "signature_def"
_MAX_MESSAGE = 1024  # characters of an error, as TensorFlow Serving cuts it; gRPC sends them in a header
_SMALL_MESSAGE = 64 << 10  # bytes: a request is read in the event loop, an answer needn't be counted
_UNREAD_SECONDS = 120.0  # for which an answer counts that nobody reads
_RELOADS = 2  # at the same time; they may wait for minutes
_PENDING = 128  # requests that wait for the event loop
_TOGETHER_SECONDS = 1.0  # after two requests at a time, that two may come again
_LOOK_EVERY = 8  # requests
_SERVICES = (
    "",
    "ModelService",  # the two names that TensorFlow Serving registers
    "PredictionService",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.PredictionService",
)
_T = TypeVar("_T")

Outcome = tuple[grpc.StatusCode, Union[bytes, str]]
"""OK and the response, or another code and its message."""
_RETRY_AFTER = "retry-after"  # trailing metadata: seconds
Handler = Callable[[bytes, Any], Awaitable[Outcome]]
"""What answers a request, of its bytes and context."""


@dataclass(frozen=True)
class Admin:
    """A port of its own for those who may reload the config, which the others refuse then."""

    host: str
    port: int
    """0 picks a free one."""
    credentials: Optional[grpc.ServerCredentials] = None


class GrpcServer:
    """The gRPC server; binds at construction, answers after `start`.

    Args:
        core: what answers.
        host: address to bind to.
        port: TCP port; 0 picks a free one, None is for the socket alone.
        socket_path: a UNIX socket to answer on as well.
        credentials: TLS, on the port and on the socket.
        max_threads: requests that run in threads at the same time; more wait, and those that are given up meanwhile
            never run.
        max_message_bytes: longest request.
        options: more options of gRPC's.
        admission: how many requests are taken on; without it all are.
        admin: a port of its own for reloads, which answers all the rest too.
        watch: what is told of each request; without it nothing is.

    Raises:
        OSError: a port or the socket can't be bound.
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
        admission: Optional[Admission] = None,
        admin: Optional[Admin] = None,
        watch: Optional[Observer] = None,
    ):
        self._core = core
        logging.getLogger("grpc").setLevel(logging.CRITICAL)  # it writes a traceback when a client goes away
        settings: dict[str, Union[int, str]] = {
            # Two servers on one port would share the requests at random.
            "grpc.so_reuseport": 0,
            "grpc.max_receive_message_length": max_message_bytes,
            "grpc.max_send_message_length": -1,
            # To refuse a request takes the loop as long as to answer a small one. Those that it doesn't get to are
            # ended by gRPC itself: the client is told CANCELLED.
            "grpc.server.max_pending_requests": _PENDING,
            "grpc.server.max_pending_requests_hard_limit": _PENDING,
        }
        self._options = list({**settings, **dict(options)}.items())
        self._servers: list[grpc.aio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._services = _Services(
            core,
            max_threads,
            _Waits(self._loop),
            admission or Admission(sys.maxsize, sys.maxsize),
            watch or Observer(),
        )
        self.thread = threading.Thread(target=self._loop.run_forever, name="grpc", daemon=True)
        self.thread.start()
        try:
            self.port, self.admin_port = self._call(self._open(host, port, socket_path, credentials, admin))
        except BaseException:
            self._end()
            raise

    async def _open(
        self,
        host: str,
        port: Optional[int],
        socket_path: Optional[str],
        credentials: Optional[grpc.ServerCredentials],
        admin: Optional[Admin],
    ) -> tuple[Optional[int], Optional[int]]:
        self._health = _Health()
        public = self._add_server(may_reload=admin is None)
        bound = None if port is None else _bind(public, _address(host, port), credentials)
        if socket_path:
            _bind(public, f"unix:{socket_path}", credentials)
        admin_port = None
        if admin is not None:
            admin_port = _bind(self._add_server(True), _address(admin.host, admin.port), admin.credentials)
        self._health.set(self._core.serves())
        return bound, admin_port

    def _add_server(self, may_reload: bool) -> grpc.aio.Server:
        server = grpc.aio.server(options=self._options)
        server.add_generic_rpc_handlers(self._services.handlers(may_reload))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self._servers.append(server)
        return server

    def start(self) -> None:
        """Starts to answer."""
        for server in self._servers:
            self._call(server.start())

    @property
    def waiting(self) -> int:
        """Requests that wait for a thread."""
        return self._services.waiting

    def update_health(self) -> None:
        """Tells the health service whether a model is there to answer."""
        self._loop.call_soon_threadsafe(self._health.set, self._core.serves())

    def stop(self, grace: float) -> None:
        """Refuses new requests, and waits up to `grace` seconds for those that run."""
        self._call(self._stop(grace))
        self._end()

    async def _stop(self, grace: float) -> None:
        self._health.drain()
        await asyncio.gather(*(server.stop(grace) for server in self._servers))

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.thread.join()
        self._services.close()

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _bind(server: grpc.aio.Server, address: str, credentials: Optional[grpc.ServerCredentials]) -> int:
    try:
        port: int = (
            server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
        )
    except RuntimeError as error:
        raise OSError(str(error)) from None
    if port == 0:  # how older gRPC says it
        raise OSError(f"can't bind {address}")
    return port


class _Health(health_pb2_grpc.HealthServicer):
    """The health service. grpc_health's own for asyncio forgets all watchers of a service when one of them leaves."""

    def __init__(self) -> None:
        self._serves = False
        self._drains = False
        self._changed = asyncio.Event()

    def set(self, serves: bool) -> None:
        """Says whether the server can answer."""
        self._serves = serves
        self._changed.set()
        self._changed = asyncio.Event()

    def drain(self) -> None:
        """From now on it can't."""
        self._drains = True
        self.set(False)

    def _status(self, service: str) -> Optional[int]:
        if service not in _SERVICES:
            return None
        status = health_pb2.HealthCheckResponse
        return int(status.SERVING if self._serves and not self._drains else status.NOT_SERVING)

    async def Check(self, request: Any, context: Any) -> Any:
        """Tells the status."""
        status = self._status(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(self, request: Any, _: Any) -> AsyncIterator[Any]:
        """Tells the status, and again when it has changed."""
        told = None
        while True:
            changed, status = self._changed, self._status(request.service)
            if status is None:
                status = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            if status != told:
                yield health_pb2.HealthCheckResponse(status=status)
                told = status
            await changed.wait()


class _Waits:
    """Lets coroutines wait for other threads, whose results often come together: the loop is woken once for them."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self._over: deque[asyncio.Future[None]] = deque()
        self._woken = False
        self._count = 0
        self._together = -math.inf
        self._asked = 0

    def alone(self) -> bool:
        """Whether requests come one by one, as far as can be seen: now and then it says no, to see more.

        Those that run in the loop see nobody beside them, for the others are not read until they are done.
        """
        now = time.monotonic()
        if self._count:
            self._together = now
        self._asked += 1
        return now - self._together > _TOGETHER_SECONDS and self._asked % _LOOK_EVERY != 0

    async def wait(self, future: Future[Any]) -> None:
        """Waits until a future of a thread is done; cancels it if this wait is."""
        wait = self._loop.create_future()

        def done(_: Future[Any]) -> None:
            self._over.append(wait)
            if not self._woken:
                self._woken = True
                self._loop.call_soon_threadsafe(self._end)

        future.add_done_callback(done)
        self._count += 1
        try:
            await wait
        except asyncio.CancelledError:
            future.cancel()
            raise
        finally:
            self._count -= 1

    def _end(self) -> None:
        self._woken = False  # first: what comes now wakes the loop again
        while self._over:
            wait = self._over.popleft()
            if not wait.done():
                wait.set_result(None)


class _Services:
    """PredictionService and ModelService."""

    def __init__(self, core: ServerCore, max_threads: int, waits: _Waits, admission: Admission, watch: Observer):
        self._core = core
        self._waits = waits
        self._admission = admission
        self._watch = watch
        self._threads = _Threads(max_threads, waits)
        self._reloads = ThreadPoolExecutor(_RELOADS, thread_name_prefix="reload")

    def handlers(self, may_reload: bool) -> tuple[grpc.GenericRpcHandler, ...]:
        """What gRPC calls by name."""

        def inferring(api: str, kind: Any) -> Handler:
            return _Inference(self._core, self._threads, self._waits, api, kind).answer

        bounded = {
            "Predict": inferring("Predict", predict_pb2.PredictRequest),
            "Classify": inferring("Classify", classification_pb2.ClassificationRequest),
            "Regress": inferring("Regress", regression_pb2.RegressionRequest),
            "MultiInference": self._multi_inference,
        }
        metadata = self._here(get_model_metadata_pb2.GetModelMetadataRequest, _metadata)
        models = {
            "GetModelStatus": self._here(get_model_status_pb2.GetModelStatusRequest, _status),
            "HandleReloadConfigRequest": self._reload if may_reload else _refuse_reload,
        }
        return (
            _service(
                "PredictionService",
                {
                    **{
                        name: _bounded(name, handler, self._admission, self._watch) for name, handler in bounded.items()
                    },
                    "GetModelMetadata": _method("GetModelMetadata", metadata, self._watch),
                },
            ),
            _service("ModelService", {name: _method(name, handler, self._watch) for name, handler in models.items()}),
        )

    @property
    def waiting(self) -> int:
        """Requests that wait for a thread."""
        return self._threads.waiting

    def close(self) -> None:
        """Ends the threads, when they have nothing more to do."""
        self._threads.close()
        self._reloads.shutdown(wait=False)

    def _here(self, kind: Any, work: Callable[[ServerCore, Any], Any]) -> Handler:
        """What is quick."""

        async def answer(raw: bytes, _: Any) -> Outcome:
            return _outcome(lambda: work(self._core, _parsed(kind, raw)))

        return answer

    async def _multi_inference(self, raw: bytes, context: Any) -> Outcome:
        def work(raw: bytes) -> Outcome:
            parsed = _parsed(inference_pb2.MultiInferenceRequest, raw)
            return _outcome(lambda: inference.multi_inference(self._core, parsed, context.time_remaining()))

        return await self._threads.run(work, raw, context.time_remaining())

    async def _reload(self, raw: bytes, context: Any) -> Outcome:
        def work() -> Any:
            parsed = _parsed(model_management_pb2.ReloadConfigRequest, raw)
            return _reload(self._core, parsed, context.time_remaining(), given_up.is_set)

        given_up = threading.Event()
        future = self._reloads.submit(_outcome, work)
        try:
            await self._waits.wait(future)
        except asyncio.CancelledError:  # the next one may have the thread
            given_up.set()
            self._core.remind()
            raise
        return future.result()


class _Threads:
    """The threads that run requests; those that wait for one and are given up leave nothing behind."""

    def __init__(self, count: int, waits: _Waits):
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="grpc")
        self._pace = Pace(count)
        self._waits = waits

    @property
    def waiting(self) -> int:
        """Requests that wait for one."""
        return self._pace.waiting

    async def run(self, work: Callable[[Any], Outcome], request: Any, timeout: Optional[float]) -> Outcome:
        """Does the work on a request, which has so many seconds, in a thread.

        Raises:
            StatusError: RESOURCE_EXHAUSTED, it would have to wait for too long.
        """
        self._pace.wait(timeout)
        held = [request]  # who is given up stays in the pool's queue, but without this

        def begin() -> Outcome:
            self._pace.leave()
            started = time.perf_counter()
            try:
                return work(held.pop())
            finally:
                self._pace.ran(time.perf_counter() - started)

        future = self._pool.submit(contextvars.copy_context().run, begin)
        try:
            await self._waits.wait(future)
        finally:
            if future.cancelled():
                held.clear()
                self._pace.leave()
        return future.result()

    def close(self) -> None:
        """Ends the threads, when they have nothing more to do."""
        self._pool.shutdown(wait=False)


class _Inference:
    """Predict, Classify or Regress, which `api` says."""

    def __init__(self, core: ServerCore, threads: _Threads, waits: _Waits, api: str, kind: Any):
        self._core = core
        self._threads = threads
        self._waits = waits
        self._api = api
        self._kind = kind

    async def answer(self, raw: bytes, context: Any) -> Outcome:
        """Answers a request."""
        started = time.perf_counter()
        request: Any = raw
        if len(raw) <= _SMALL_MESSAGE:
            request = _parsed(self._kind, raw)
            alone = self._waits.alone()
            way = inference.way(self._core, self._api, request, alone)
            if way is inference.Way.HERE:
                return self._run(request, context, started)
            if way is inference.Way.BATCH:
                outcome = await self._batch(request, context, started)
                if outcome is not None:
                    return outcome
        # The version is acquired and released there: it must not be closed under a run whose client has gone.
        return await self._threads.run(
            lambda request: self._run(request, context, started), request, context.time_remaining()
        )

    def _run(self, request: Any, context: Any, started: float) -> Outcome:
        if isinstance(request, bytes):
            request = _parsed(self._kind, request)
        outcome = _outcome(lambda: inference.answer(self._core, self._api, request, context.time_remaining()))
        self._count(request, outcome[0], started)
        return outcome

    async def _batch(self, request: Any, context: Any, started: float) -> Optional[Outcome]:
        """Lets a request run in a batch; None for one that can't."""
        try:
            submitted = inference.submit(self._core, self._api, request, context.time_remaining())
        except Exception as error:
            outcome = _failure(error)
        else:
            if submitted is None:
                return None
            future, answer = submitted
            try:
                await self._waits.wait(future)
            except asyncio.CancelledError:
                self._count(request, _given_up(future, context), started)
                raise
            failed = future.exception()
            outcome = _outcome(lambda: answer(future.result())) if failed is None else _failure(failed)
        self._count(request, outcome[0], started)
        return outcome

    def _count(self, request: Any, code: grpc.StatusCode, started: float) -> None:
        metrics.answered(request.model_spec.name, code.name, self._api, "GRPC", time.perf_counter() - started)


def _service(name: str, methods: dict[str, grpc.RpcMethodHandler]) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(f"tensorflow.serving.{name}", methods)


def _method(name: str, handler: Handler, watch: Observer) -> grpc.RpcMethodHandler:
    async def answer(raw: bytes, context: Any) -> Any:
        async def work(request: Request) -> Outcome:
            request.received = len(raw)
            return await handler(raw, context)

        return await _answered(name, work, context, watch)

    return grpc.unary_unary_rpc_method_handler(answer)


def _bounded(name: str, handler: Handler, admission: Admission, watch: Observer) -> grpc.RpcMethodHandler:
    """What is refused before it is received where there is too much to do: a stream, of which one message is read."""

    async def answer(_: Any, context: Any) -> Any:
        async def work(request: Request) -> Outcome:
            admission.begin()
            size: Optional[int] = None
            try:
                raw = await context.read()
                if not isinstance(raw, bytes):
                    raise StatusError(grpc.StatusCode.INTERNAL, "there was no request")
                size = request.received = len(raw)
                admission.received(size)
                return await handler(raw, context)
            finally:
                admission.end(size)

        found = await _answered(name, work, context, watch)
        if len(found) > _SMALL_MESSAGE:
            _count_unread(len(found), admission, context)
        return found

    return grpc.stream_unary_rpc_method_handler(answer)


def _count_unread(size: int, admission: Admission, context: Any) -> None:
    """An answer of so many bytes counts until its client has read it, but not for ever: gRPC lets nobody end it."""
    held = [size]

    def release(*_: Any) -> None:
        timer.cancel()
        if held:
            admission.unread(-held.pop())

    admission.unread(size)
    timer = asyncio.get_running_loop().call_later(_UNREAD_SECONDS, release)
    context.add_done_callback(release)


async def _answered(name: str, work: Callable[[Request], Awaitable[Outcome]], context: Any, watch: Observer) -> Any:
    request = watch.begin(name, "GRPC", lambda: dict(context.invocation_metadata()))
    code: grpc.StatusCode = grpc.StatusCode.CANCELLED
    answer: Union[bytes, str] = b""
    trailing: tuple[tuple[str, str], ...] = ()
    try:
        code, answer = await work(request)
    except StatusError as error:
        code, answer = _failure(error)
        if error.retry_after:
            metrics.refused("GRPC")
            trailing = ((_RETRY_AFTER, f"{error.retry_after:.3f}"),)
    except asyncio.CancelledError:
        if context.time_remaining() == 0:
            code = grpc.StatusCode.DEADLINE_EXCEEDED
        raise
    finally:
        watch.end(request, code, len(answer) if code is grpc.StatusCode.OK else 0)
    if code is not grpc.StatusCode.OK:
        # As `abort` does, without the price of its exception.
        context.set_code(code)
        context.set_details(answer)
        context.set_trailing_metadata(((traceparent.REQUEST_ID, request.request_id), *trailing))
        return b""
    return answer


async def _refuse_reload(_: bytes, __: Any) -> Outcome:
    return grpc.StatusCode.PERMISSION_DENIED, "the config is replaced over --admin_port only"


def _parsed(kind: Any, raw: bytes) -> Any:
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise StatusError(grpc.StatusCode.INTERNAL, "Exception deserializing request!") from None  # gRPC's own text


def _outcome(work: Callable[[], Any]) -> Outcome:
    try:
        return grpc.StatusCode.OK, work().SerializeToString()
    except Exception as error:
        return _failure(error)


def _failure(error: BaseException) -> Outcome:
    if isinstance(error, StatusError):
        code, message = error.code, error.message
    else:
        code, message = grpc.StatusCode.INTERNAL, observer.unforeseen(error)
    return code, message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}...TRUNCATED"


def _given_up(future: Future[Any], context: Any) -> grpc.StatusCode:
    """How a request counts whose client waits no longer for the batch."""
    if context.time_remaining() != 0:
        return grpc.StatusCode.CANCELLED
    return grpc.StatusCode.RESOURCE_EXHAUSTED if future.cancelled() else grpc.StatusCode.DEADLINE_EXCEEDED


def _metadata(core: ServerCore, request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for name in request.metadata_field:
        if name != _SIGNATURE_DEF:
            raise invalid(f"Metadata field {name} is not supported")
    observer.about(request.model_spec)
    with core.acquire(request.model_spec) as (version, servable):
        signatures = servable.signatures
    found = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in signatures.items():
        found.signature_def[name].CopyFrom(signature)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = version
    response.metadata[_SIGNATURE_DEF].Pack(found)
    return response


def _status(core: ServerCore, request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    observer.about(request.model_spec)
    response = get_model_status_pb2.GetModelStatusResponse()
    for state in core.states(request.model_spec):
        entry = response.model_version_status.add(version=state.version)
        entry.state = get_model_status_pb2.ModelVersionStatus.State.Value(state.state)
        entry.status.error_code = state.code.value[0]
        entry.status.error_message = state.message
    return response


def _reload(core: ServerCore, request: Any, timeout: Optional[float], given_up: Callable[[], bool]) -> Any:
    if request.config.WhichOneof("config") != "model_config_list":
        raise invalid(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently"
            " supported"
        )
    before = [metrics.value(name) for name in request.metric_names]
    core.reload(request.config, timeout, given_up)
    response = model_management_pb2.ReloadConfigResponse()
    response.status.SetInParent()  # error_code OK
    for name, value in zip(request.metric_names, before):
        response.metric.add(name=name, int64_value_increase=metrics.value(name) - value)
    return response
