"""HTTP/JSON to TensorFlow Serving's REST API, with the standard library alone."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import http.client
import itertools
import json
import math
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, NamedTuple, Optional, Union
from urllib.parse import quote

from serving.client import certificates, tensors, transport
from serving.client.certificates import Certificates
from serving.client.errors import RecommenderError, ServerError
from serving.client.policies import Connection, Tls
from serving.client.results import ModelMetadata, Signature, TensorSpec, VersionStatus
from serving.client.tensors import Tensor
from serving.client.transport import Answer, Message, Metadata, ModelRef, Predict, Request, Status

_KINDS = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
}
_PROXY_KINDS = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 502: "UNAVAILABLE", 503: "UNAVAILABLE"}
"""Statuses that a proxy in between may answer as well, with a body of its own."""
_DTYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16"}
_RESOLVE_SECONDS = 30.0
_HANDSHAKE_SECONDS = 3.0
_THREADS = 128
"""Requests under way at once where they run beside the caller: hedged, or over asyncio. More wait."""
_GZIP_FROM = 1024
_MAX_BODY = 1 << 30
"""A compressed answer that is longer than this is taken for garbage rather than unpacked."""


class _Wire(NamedTuple):
    """A request as HTTP."""

    method: str
    path: str
    body: Optional[bytes]


class _Response(NamedTuple):
    """An answer as HTTP."""

    status: int
    retry_after: Optional[str]
    payload: bytes


def encode(request: Request) -> _Wire:
    """The request's method, path and JSON."""
    path = _path(request.model)
    if isinstance(request, Status):
        return _Wire("GET", path, None)
    if isinstance(request, Metadata):
        return _Wire("GET", path + "/metadata", None)
    inputs = {name: _nested(tensor) for name, tensor in request.inputs.items()}
    body = {"signature_name": request.method, "inputs": inputs}
    return _Wire("POST", path + ":predict", json.dumps(body).encode())


class BlockingTransport:
    """The blocking REST transport; thread-safe, keeps idle connections for the next request.

    A name that stands for several addresses is asked at all of them in turn.
    """

    def __init__(self, host: str, port: int, connection: Connection):
        self._host, self._port = host.strip("[]"), port  # those of an IPv6 address in a target
        self.target = f"{'https' if connection.tls else 'http'}://{host}:{port}"
        self._keepalive = connection.keepalive
        self._tls = None if connection.tls is None else Certificates(connection.tls, _tls_context)
        self._server_name = (connection.tls and connection.tls.server_name) or self._host
        self._gzip = connection.compression is not None
        self._lock = threading.Lock()
        self._addresses: list[Any] = []
        self._resolve_at = 0.0
        self._unresolved = ""
        self._resolver: Optional[threading.Thread] = None
        self._turn = itertools.count()
        self._idle: dict[Any, list[_Connection]] = {}
        self._handles: set[_Handle] = set()
        self._closed = False
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="recommender-rest")

    def send(self, message: Message) -> Answer:
        """See `Transport`. The answer to a prediction doesn't tell the version."""
        return self._send(message, time.monotonic() + message.timeout, _Handle())

    def start(self, message: Message, done: Callable[[Union[Answer, RecommenderError]], None]) -> transport.Pending:
        """See `Transport`."""
        handle = _Handle()
        deadline = time.monotonic() + message.timeout

        def run() -> None:
            try:
                done(self._send(message, deadline, handle))
            except RecommenderError as error:
                done(error)

        try:
            handle.future = self._threads.submit(run)
        except RuntimeError:
            raise transport.closed() from None
        return handle

    def close(self) -> None:
        """See `Transport`."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, {}
            under_way = list(self._handles)
        self._threads.shutdown(wait=False)
        for connection in itertools.chain.from_iterable(idle.values()):
            connection.close()
        for handle in under_way:
            handle.cancel()

    def _send(self, message: Message, deadline: float, handle: _Handle) -> Answer:
        with self._lock:
            self._handles.add(handle)
        try:
            status, retry_after, payload = self._exchange(message, deadline, handle)
        except (TimeoutError, socket.timeout):
            raise transport.deadline_exceeded(self.target, message.timeout) from None
        except (http.client.RemoteDisconnected, http.client.IncompleteRead):
            raise transport.unavailable(self.target, "it closed the connection before its answer was whole") from None
        except http.client.HTTPException as error:
            detail = f"{type(error).__name__} {error}".strip()
            raise transport.not_a_model_server(self.target, detail, "REST port") from None
        except OSError as error:
            raise transport.unavailable(self.target, error.strerror or str(error)) from None
        finally:
            with self._lock:
                self._handles.discard(handle)
        return _decode(message.request, self._parsed(message, status, retry_after, payload), self.target)

    def _parsed(self, message: Message, status: int, retry_after: Optional[str], payload: bytes) -> dict[str, Any]:
        """The answer's JSON object, of status 200; everything else is an error."""
        model = message.request.model
        if status == 413:
            raise transport.from_status("INVALID_ARGUMENT", "the request is too large", self.target, model)
        try:
            answer = json.loads(payload)
        except (ValueError, RecursionError):
            answer = None
        error = answer.get("error") if isinstance(answer, dict) else None
        detail = error if isinstance(error, str) and error else f"HTTP {status}"
        if status == 504:
            raise transport.deadline_exceeded(self.target, message.timeout, detail)
        if status in _PROXY_KINDS:
            raise transport.from_status(_PROXY_KINDS[status], detail, self.target, model, retry_after)
        if not isinstance(answer, dict) or (status != 200 and not isinstance(error, str)):
            detail = f"HTTP {status} with {payload[:80]!r}"
            raise transport.not_a_model_server(self.target, detail, "REST port")
        if status != 200:
            kind = _KINDS.get(status, f"HTTP {status}")
            raise transport.from_status(kind, str(error), self.target, model, retry_after)
        return answer

    def _exchange(self, message: Message, deadline: float, handle: _Handle) -> _Response:
        first, *others = self._in_turn(deadline)
        with self._lock:
            idle = self._idle.get(first)
            connection = idle.pop() if idle else None
        if connection is not None:
            # The server may close an idle connection just as it is to be used again: a new one is not a retry.
            with contextlib.suppress(http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                return self._exchange_on(connection, message, deadline, handle)
        return self._exchange_on(self._connect([first, *others], deadline, handle), message, deadline, handle)

    def _exchange_on(self, connection: _Connection, message: Message, deadline: float, handle: _Handle) -> _Response:
        method, path, body = message.wire
        headers = dict(message.metadata)
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._gzip:
            headers["Accept-Encoding"] = "gzip"
            if body is not None and len(body) >= _GZIP_FROM:
                headers["Content-Encoding"] = "gzip"
                body = gzip.compress(body, compresslevel=1)
        connection.deadline = deadline
        try:
            with handle.holding(connection):
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                payload = response.read()
        except BaseException:
            connection.close()
            raise
        with self._lock:
            keep = not (response.will_close or self._closed)
            if keep:
                self._idle.setdefault(connection.address, []).append(connection)
        if not keep:
            connection.close()
        unzipped = _unzipped(payload) if response.getheader("Content-Encoding") == "gzip" else payload
        return _Response(response.status, response.getheader(transport.RETRY_AFTER), unzipped)

    def _connect(self, addresses: list[Any], deadline: float, handle: _Handle) -> _Connection:
        """A connection to the first of the addresses that takes one."""
        tls = None if self._tls is None else self._tls.current()
        for address in addresses:
            connection = _Connection(self._host, self._port, address, tls, self._server_name, self._keepalive)
            connection.deadline = deadline
            try:
                with handle.holding(connection):
                    connection.connect()
                return connection
            except (TimeoutError, socket.timeout):
                raise
            except OSError as error:
                refused = error
        raise refused

    def _in_turn(self, deadline: float) -> list[Any]:
        """The addresses of the host, as (family, address), beginning with another one each time."""
        if self._closed:
            raise transport.closed()
        if not self._addresses or time.monotonic() >= self._resolve_at:
            # In a thread because the system's resolver knows no deadline; once there are addresses nobody waits for it.
            with self._lock:
                resolver = self._resolver
                if resolver is None or not resolver.is_alive():  # one for all calls
                    self._resolve_at = time.monotonic() + _RESOLVE_SECONDS
                    resolver = self._resolver = threading.Thread(target=self._resolve, daemon=True)
                    resolver.start()
            if not self._addresses:
                resolver.join(_left(deadline))
                if not self._addresses:
                    raise TimeoutError if resolver.is_alive() else OSError(self._unresolved)
        start = next(self._turn) % len(self._addresses)
        return self._addresses[start:] + self._addresses[:start]

    def _resolve(self) -> None:
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            addresses = [(family, address) for family, _, _, _, address in found]
        except Exception as error:  # it must reach whoever waits: programs put resolvers of their own in its place
            self._unresolved = f"the host's name can't be resolved: {getattr(error, 'strerror', None) or error}"
            return
        with self._lock:
            self._addresses = addresses
            gone = [self._idle.pop(address) for address in self._idle.keys() - set(self._addresses)]
        for connection in itertools.chain.from_iterable(gone):
            connection.close()


class AsyncioTransport:
    """The asyncio REST transport: the blocking one in threads."""

    def __init__(self, host: str, port: int, connection: Connection):
        self._rest = BlockingTransport(host, port, connection)

    async def send(self, message: Message) -> Answer:
        """See `AsyncTransport`."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Union[Answer, RecommenderError]] = loop.create_future()

        def done(outcome: Union[Answer, RecommenderError]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                loop.call_soon_threadsafe(settle, outcome)

        def settle(outcome: Union[Answer, RecommenderError]) -> None:
            if not answered.done():
                answered.set_result(outcome)

        pending = self._rest.start(message, done)
        try:
            outcome = await asyncio.wait_for(answered, message.timeout)
        except asyncio.TimeoutError:
            raise transport.deadline_exceeded(self._rest.target, message.timeout) from None
        finally:
            pending.cancel()
        if isinstance(outcome, RecommenderError):
            raise outcome
        return outcome

    async def close(self) -> None:
        """See `AsyncTransport`."""
        self._rest.close()


class _Handle:
    """A request under way; cancelling it breaks the connection that it has at the moment."""

    future: Optional[Future[None]] = None

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._connection: Optional[_Connection] = None

    def cancel(self) -> None:
        """See `Pending`."""
        if self.future is not None:
            self.future.cancel()
        with self._lock:
            self._cancelled = True
            if self._connection is not None:
                self._connection.abort()

    @contextlib.contextmanager
    def holding(self, connection: _Connection) -> Any:
        """The time in which the connection is this request's."""
        with self._lock:
            if self._cancelled:
                raise ConnectionAbortedError("cancelled")
            self._connection = connection
        try:
            yield
        finally:
            with self._lock:
                self._connection = None


class _Deadline:
    """A socket whose every read and write ends at `deadline`, so that a server that drips can't outlast it."""

    deadline = float("inf")

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._arm()
        return super().recv_into(*args, **kwargs)  # type: ignore[misc]

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self._arm()
        super().sendall(*args, **kwargs)  # type: ignore[misc]

    def _arm(self) -> None:
        self.settimeout(_left(self.deadline))  # type: ignore[attr-defined]


class _PlainSocket(_Deadline, socket.socket):
    pass


class _TlsSocket(_Deadline, ssl.SSLSocket):
    def send(self, *args: Any, **kwargs: Any) -> int:
        self._arm()  # of these sendall consists
        return super().send(*args, **kwargs)


class _Connection(http.client.HTTPConnection):
    """An HTTP connection to one address of the host, with one deadline for a whole exchange."""

    sock: Any
    deadline = float("inf")

    def __init__(
        self,
        host: str,
        port: int,
        address: Any,
        tls: Optional[ssl.SSLContext],
        server_name: str,
        keepalive: Optional[float],
    ):
        super().__init__(host, port)
        self.address = address
        self._tls, self._server_name, self._keepalive = tls, server_name, keepalive
        self._aborted = False

    def connect(self) -> None:
        family, address = self.address
        plain = _PlainSocket(family, socket.SOCK_STREAM)
        self.sock = plain
        try:
            plain.settimeout(_left(self.deadline))
            plain.connect(address)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._keepalive is not None:
                _keep_alive(plain, self._keepalive)
            if self._tls is not None:
                self.sock = self._shake_hands(plain, self._tls)
            if self._aborted:
                raise ConnectionAbortedError("cancelled")
        except BaseException:
            self.close()
            plain.close()
            raise

    def _shake_hands(self, plain: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
        left = _left(self.deadline)
        plain.settimeout(min(left, _HANDSHAKE_SECONDS))
        try:
            return tls.wrap_socket(plain, server_hostname=self._server_name)
        except (TimeoutError, socket.timeout):
            if left <= _HANDSHAKE_SECONDS:
                raise
            raise ConnectionError(f"it says nothing to TLS within {_HANDSHAKE_SECONDS:g} s: is it http://?") from None

    def request(self, *args: Any, **kwargs: Any) -> None:
        self.sock.deadline = self.deadline
        super().request(*args, **kwargs)

    def abort(self) -> None:
        """Breaks it, from another thread: who reads or writes there gets an error at once."""
        self._aborted = True
        sock = self.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(
                    sock, socket.SHUT_RDWR
                )  # an SSLSocket's own would take its state from the reader


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise socket.timeout("timed out")  # which Python 3.9 tells from TimeoutError
    return left


def _keep_alive(plain: socket.socket, seconds: float) -> None:
    """Lets the system find out that the other side is gone, after so many seconds without a word."""
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", math.ceil(seconds)), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 2)):
        if hasattr(socket, option):
            plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = certificates.context(tls)
    context.sslsocket_class = _TlsSocket
    return context


def _unzipped(payload: bytes) -> bytes:
    unpacker = zlib.decompressobj(31)
    try:
        unpacked = unpacker.decompress(payload, _MAX_BODY)
    except zlib.error as error:
        raise http.client.HTTPException(f"bad gzip: {error}") from None
    if not unpacker.eof:
        raise http.client.HTTPException("gzip that is cut short or too long")
    return unpacked


def _decode(request: Request, answer: Mapping[str, Any], target: str) -> Answer:
    """Reads the answer's JSON; ServerError if it isn't the request's."""
    if isinstance(request, Predict):
        found = answer.get("outputs")
        if found is None:
            raise ServerError(f"{target} answered no 'outputs'")
        if not isinstance(found, dict):  # the only output comes without its name
            found = {request.outputs[0] if request.outputs else "": found}
        return Answer({name: tensors.from_json(value) for name, value in found.items()}, request.model.version)
    try:
        if isinstance(request, Status):
            return Answer(
                [
                    VersionStatus(
                        version=int(s["version"]),
                        state=s["state"],
                        error_code=0 if s["status"]["error_code"] == "OK" else 2,
                        error_message=s["status"]["error_message"],
                    )
                    for s in answer["model_version_status"]
                ]
            )
        version = int(answer["model_spec"]["version"])
        signatures = {
            name: Signature(
                inputs={k: _tensor_spec(v) for k, v in s["inputs"].items()},
                outputs={k: _tensor_spec(v) for k, v in s["outputs"].items()},
            )
            for name, s in answer["metadata"]["signature_def"]["signature_def"].items()
        }
        return Answer(ModelMetadata(answer["model_spec"]["name"], version, signatures), version)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise transport.not_a_model_server(target, f"{type(error).__name__} {error}", "REST port") from None


def _path(model: ModelRef) -> str:
    path = f"/v1/models/{quote(model.name, safe='')}"
    if model.version is not None:
        return f"{path}/versions/{model.version}"
    return f"{path}/labels/{quote(model.label, safe='')}" if model.label is not None else path


def _nested(tensor: Tensor) -> Any:
    """The tensor as nested lists; bytes as base64 objects."""
    values: list[Any] = [{"b64": base64.b64encode(v).decode()} if isinstance(v, bytes) else v for v in tensor.values]
    for axis in range(len(tensor.shape) - 1, 0, -1):
        size = tensor.shape[axis]
        values = [values[i * size : (i + 1) * size] for i in range(math.prod(tensor.shape[:axis]))]
    return values if tensor.shape else values[0]


def _tensor_spec(info: Mapping[str, Any]) -> TensorSpec:
    name = info["dtype"]
    dtype = _DTYPES.get(name, name[3:].lower() if name.startswith("DT_") else name)
    shape = info["tensor_shape"]
    if shape["unknown_rank"]:
        return TensorSpec(dtype, None)
    sizes = [int(dim["size"]) for dim in shape["dim"]]
    return TensorSpec(dtype, tuple(None if size < 0 else size for size in sizes))
