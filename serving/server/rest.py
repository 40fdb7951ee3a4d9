"""The REST side: TensorFlow Serving's HTTP API and Prometheus' page, a WSGI application on waitress."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import math
import re
import resource
import socket
import sys
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Callable, Optional
from urllib.parse import unquote

import grpc
import waitress
from tensorflow_serving.apis import classification_pb2, model_pb2, regression_pb2
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask
from waitress.utilities import Error, RequestEntityTooLarge, RequestHeaderFieldsTooLarge

from serving import contract, traceparent
from serving.server import inference, json_tensor, metrics, observer, tensors
from serving.server.admission import Admission, Pace
from serving.server.core import ServerCore
from serving.server.observer import Observer
from serving.server.status import StatusError, http_status, invalid, not_found
from serving.server.versions import VersionState
from serving.server.waitress_private import end_lines_strictly

_TARGET = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
# TensorFlow Serving takes the path in letters of any case, but not the method.
_RUN = re.compile(rf"(?i:/v1/models/(?P<name>[^/:]+){_TARGET}):(?P<method>classify|regress|predict)")
_READ = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_TARGET}(?:/(?P<part>metadata))?", re.IGNORECASE)
_ORIGIN = re.compile("^https?://[^/]*", re.IGNORECASE)
_MAX_VERSION = (1 << 63) - 1

_MAX_CONNECTIONS = 4096
_IDLE_SECONDS = 120  # how long a connection may say nothing, or take to send a request
_MAX_HEADER_BYTES = 64 << 10
_MAX_SKIPPED_BYTES = 1 << 30  # of a body that is too long
_ZIPPED_FROM = 1024  # bytes of an answer
_TRANSFER_ENCODING = re.compile(rb"^transfer-encoding:", re.IGNORECASE | re.MULTILINE)
_TLS = b"\x16\x03"  # how a client greets that takes us for https
# In the environment:
_ARRIVED = "serving.arrived"  # when the request came, by `time.monotonic`
_REQUEST = "serving.request"  # the request
_LIVE, _READY = "/livez", "/readyz"
_LARGE_BODY = 1 << 20
"""Bytes of JSON from which requests are read one at a time: numbers take twenty times as much memory as their text."""

Headers = list[tuple[str, str]]
StartResponse = Callable[[str, Headers], Any]

_CORS: Headers = [
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
]


class RestServer:
    """The REST server; binds at construction, answers after `start`.

    Args:
        core: what answers.
        listener: a bound socket; see `ports.bind`.
        threads: requests that run at the same time; more wait.
        timeout: seconds that a request may run.
        max_body_bytes: longest request, before and after it is unzipped.
        metrics_path: where Prometheus finds the metrics; None: nowhere.
        gauges: more lines of that page.
        cors: answer as pages of other origins need it.
        admission: how many requests are taken on; without it all are.
        watch: what is told of each request; without it nothing is.
    """

    def __init__(
        self,
        core: ServerCore,
        listener: socket.socket,
        threads: int,
        timeout: float,
        max_body_bytes: int,
        metrics_path: Optional[str] = None,
        gauges: Callable[[], Iterable[str]] = tuple,
        cors: bool = False,
        admission: Optional[Admission] = None,
        watch: Optional[Observer] = None,
    ):
        self.port: int = listener.getsockname()[1]
        self._admission = admission or Admission(sys.maxsize, sys.maxsize)
        self._watch = watch or Observer()
        self._application = _Application(core, timeout, max_body_bytes, metrics_path, gauges, cors, self._watch)
        self._settings = {
            "sockets": [listener],
            "threads": threads,
            "max_request_body_size": max_body_bytes,
            "max_request_header_size": _MAX_HEADER_BYTES,
            "ident": None,
            "clear_untrusted_proxy_headers": True,
            "asyncore_use_poll": True,  # select can't do more than 1,024 connections
            "connection_limit": _connection_limit(),
            # In memory, which is bounded by the bytes in flight: a full disk would end the server's loop.
            "inbuf_overflow": sys.maxsize,
            "outbuf_overflow": sys.maxsize,
            "channel_timeout": _IDLE_SECONDS,
            "cleanup_interval": max(1, _IDLE_SECONDS // 4),
        }
        self._server: Any = None
        self._pace = Pace(threads)
        self._timeout = timeout
        self._quick = ThreadedTaskDispatcher()
        self.thread = threading.Thread(target=lambda: self._server.run(), name="rest", daemon=True)

    def start(self) -> None:
        """Starts to answer."""
        end_lines_strictly()
        logging.getLogger("waitress").setLevel(logging.CRITICAL)  # it warns whenever a request has to wait
        self._server = waitress.create_server(self._application, **self._settings)
        self._server.channel_class = _Channel
        self._server.admission = self._admission
        self._server.watch = self._watch
        self._server.add_task = self._add_task
        self._quick.queue_logger = self._quick.logger  # else it warns whenever a request has to wait
        self._quick.set_thread_count(1)
        self.thread.start()

    def _add_task(self, channel: _Channel) -> None:
        """Lets a request that has come wait for a thread, or refuses it; what only tells something has its own."""
        request = channel.requests[0]
        channel.arrived = time.monotonic()
        if request.error is None and request.command == "POST":
            try:
                channel.admitted = _Admitted(self._admission, self._pace, self._timeout)
            except StatusError as error:
                request.error = _TooBusy(error)
        if isinstance(request.error, _TooBusy):
            channel.refuse()
            if channel.requests:
                self._add_task(channel)
        elif channel.admitted is None:
            self._quick.add_task(channel)
        else:
            self._server.task_dispatcher.add_task(channel)

    @property
    def waiting(self) -> int:
        """Requests that wait for a thread."""
        return self._pace.waiting

    def stop(self, grace: float) -> None:
        """Accepts no more connections, and waits up to `grace` seconds for the requests that run."""
        if self._server is None:
            return
        server, deadline = self._server, time.monotonic() + grace
        self._application.drains = True

        def close_what_is_idle() -> None:  # runs in the server's own loop
            if server.accepting:
                server.accepting = False
                server.del_channel()
                server.socket.close()
            for channel in list(server.active_channels.values()):
                if not channel.requests and channel.request is None and not channel.total_outbufs_len:
                    channel.will_close = True

        server.trigger.pull_trigger(close_what_is_idle)
        while time.monotonic() < deadline and (server.accepting or server.active_channels):
            time.sleep(0.01)
            server.trigger.pull_trigger(close_what_is_idle)


class _Parser(HTTPRequestParser):
    """Counts what comes of a body among the bytes in flight, until `close`.

    It reads past a body that is too long, or for which there is no room, so that a client that sends it all before it
    listens gets its answer.
    """

    expect_continue: bool
    error: Any
    _left = 0

    def __init__(self, adj: Any, admission: Admission):
        super().__init__(adj)
        self._admission = admission
        self._counted = 0

    def close(self) -> None:
        super().close()
        self._admission.left(self._counted)
        self._counted = 0

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        coded = _TRANSFER_ENCODING.search(header_plus)
        if coded and (self.version != "1.1" or "CONTENT_LENGTH" in self.headers):
            # What stands between us and the client may have taken the body's end for another request's beginning.
            raise ParsingError("Transfer-Encoding goes with HTTP/1.1, and without Content-Length")

    def received(self, data: bytes) -> int:
        if self._left:
            skipped = min(len(data), self._left)
            self._left -= skipped
            self.completed = not self._left
            return skipped
        consumed: int = super().received(data)
        # Who has sent all, or is refused already, isn't told to go on: what comes next is another request.
        listens, self.expect_continue = self.expect_continue, self.expect_continue and not self.completed
        if isinstance(self.error, RequestEntityTooLarge) and not self.chunked and not listens:
            self._left = min(self.content_length, _MAX_SKIPPED_BYTES)
            self.completed = False
        if self.chunked and len(self.body_rcv.control_line) + len(self.body_rcv.trailer) > _MAX_HEADER_BYTES:
            self.error = RequestHeaderFieldsTooLarge("the lines between chunks are too long")
            self.completed = True
        if self.error is None and self.body_bytes_received > self._counted:
            self._count()
        return consumed

    def _count(self) -> None:
        more = self.body_bytes_received - self._counted
        try:
            self._admission.arriving(more, self._counted)
            self._counted += more
        except StatusError as error:
            self.close()
            self.body_rcv.buf = _Nowhere()
            self.error = _TooBusy(error)


class _Nowhere:
    """What receives a body that nobody will read."""

    def append(self, _: bytes) -> None:
        """Forgets it."""

    def close(self) -> None:
        """There is nothing to free."""

    def __len__(self) -> int:
        return 0


class _Admitted:
    """A request that was taken on, until it is done; StatusError if there is too much to do."""

    def __init__(self, admission: Admission, pace: Pace, timeout: float):
        self._admission, self._pace = admission, pace
        self._counts = True
        pace.wait(timeout)
        try:
            admission.begin(arrived=True)
        except StatusError:
            pace.leave()
            raise

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The time in which it has its thread."""
        self._pace.leave()
        started = time.perf_counter()
        try:
            yield
        finally:
            self._pace.ran(time.perf_counter() - started)
            self.answered()

    def answered(self) -> None:
        """Its answer is there: it is in flight no more."""
        if self._counts:
            self._counts = False
            self._admission.end(0)


class _TooBusy(Error):
    """The answer to a request that isn't taken on."""

    def __init__(self, error: StatusError):
        super().__init__(error.message)
        self._error = error

    def to_response(self, ident: Optional[str] = None) -> tuple[str, Headers, bytes]:
        """Status line, headers and body."""
        headers = [("Content-Type", "application/json"), *_retry_after(self._error)]
        return http_status(self._error.code), headers, _error(self._error.message)


class _Refusal(ErrorTask):
    """Tells of a refusal, and keeps the connection, for the request was read to its end."""

    def execute(self) -> None:
        error: _TooBusy = self.request.error
        metrics.refused("REST")
        watch: Observer = self.channel.server.watch
        request = watch.begin(self.request.command, "REST", lambda: _headers_of(self.request))
        self.status, headers, body = error.to_response()
        self.response_headers.extend([*headers, (traceparent.REQUEST_ID, request.request_id)])
        watch.end(request, grpc.StatusCode.RESOURCE_EXHAUSTED, len(body))
        self.content_length = len(body)
        self.write(body)


class _Task(WSGITask):
    """Tells the application when the request came: the time that it has begins then."""

    def get_environment(self) -> dict[str, Any]:
        return {**super().get_environment(), _ARRIVED: self.channel.arrived, _REQUEST: self.request}

    def write(self, data: bytes) -> None:
        """Sends the answer, with nothing of the request in flight: who gets it finds room for the next one."""
        self.request.close()
        if self.channel.running is not None:
            self.channel.running.answered()
        super().write(data)


class _Channel(HTTPChannel):
    """A connection that can't be held open for ever by sending, or reading, a byte now and then."""

    task_class = _Task
    last_activity: float
    arrived = 0.0
    admitted: Optional[_Admitted] = None
    running: Optional[_Admitted] = None
    _began = 0.0
    _unread = 0

    def parser_class(self, adj: Any) -> _Parser:
        return _Parser(adj, self.server.admission)

    def refuse(self) -> None:
        """Tells the client that its request isn't taken on: at once, for a thread is what there isn't."""
        request = self.requests.pop(0)
        task = _Refusal(self, request)
        with contextlib.suppress(ClientDisconnected):
            task.service()
        if task.close_on_finish:
            self.close_when_flushed = True
        request.close()

    def writable(self) -> bool:
        if self.will_close:  # at once: who reads nothing never lets us write, which it would be done after
            self.handle_close()
            return False
        return bool(super().writable())

    def handle_write(self) -> None:
        before = self.last_activity
        super().handle_write()
        if self.total_outbufs_len:
            self.last_activity = before  # who reads a little now and then holds it open no longer
        self._count_unread()

    def write_soon(self, data: bytes) -> int:
        size: int = super().write_soon(data)
        self._count_unread()
        return size

    def _count_unread(self) -> None:
        """An answer counts among the bytes in flight, and takes memory, until the client has read all of it."""
        with self.outbuf_lock:
            left = self.total_outbufs_len
            if left > self._unread or not left:
                self.server.admission.unread(left - self._unread)
                self._unread = left

    def handle_close(self) -> None:
        super().handle_close()
        self._count_unread()
        if self.request is not None:
            self.request.close()

    def service(self) -> None:
        self.running, self.admitted = self.admitted, None  # first: it may begin the next request
        with self.running.running() if self.running else contextlib.nullcontext():
            super().service()

    def received(self, data: bytes) -> bool:
        if self.request is None:
            self._began = self.last_activity
            if data.startswith(_TLS):  # which would wait for an answer as we for the rest of its line
                self.will_close = True
                return False
        self.last_activity = self._began  # what follows of a request doesn't count
        done: bool = super().received(data)
        return done


class _Application:
    """The WSGI application."""

    def __init__(
        self,
        core: ServerCore,
        timeout: float,
        max_body_bytes: int,
        metrics_path: Optional[str],
        gauges: Callable[[], Iterable[str]],
        cors: bool,
        watch: Observer,
    ):
        self._core = core
        self._timeout = timeout
        self._max_body_bytes = max_body_bytes
        self._metrics_path = metrics_path
        self._gauges = gauges
        self.drains = False
        self._cors = cors
        self._watch = watch
        self._large = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        path = _ORIGIN.sub("", environ["REQUEST_URI"]).partition("?")[0]
        text: Headers = [("Content-Type", "text/plain")]
        if path == self._metrics_path:
            status, headers, body = "200 OK", text, metrics.page(self._gauges())
        elif path in (_LIVE, _READY):
            why_not = self._why_not_ready() if path == _READY else ""
            status, headers, body = "503 Service Unavailable" if why_not else "200 OK", text, (why_not or "ok").encode()
        else:
            status, headers, body = self._answer(method, path, environ)
        if len(body) >= _ZIPPED_FROM and _accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")):
            headers = [*headers, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
            body = gzip.compress(body, compresslevel=1)
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return [] if method == "HEAD" else [body]

    def _why_not_ready(self) -> str:
        """Why the server can't answer for all of its models; empty if it can."""
        if self.drains:
            return "the server is stopping"
        without = [manager.name for manager in self._core.models() if manager.current_version is None]
        return f"no version serves of: {', '.join(without)}" if without else ""

    def _answer(self, method: str, path: str, environ: dict[str, Any]) -> tuple[str, Headers, bytes]:
        """Status line, headers and body for a request of the API."""
        headers: Headers = [("Content-Type", "application/json"), *(_CORS if self._cors else [])]
        pattern = {"POST": _RUN, "GET": _READ}.get(method)
        match = pattern.fullmatch(path) if pattern else None
        found = match.groupdict() if match else {}
        request = self._watch.begin(found.get("method") or method, "REST", lambda: _headers_of(environ[_REQUEST]))
        request.received = int(environ.get("CONTENT_LENGTH") or 0)
        code, body = grpc.StatusCode.OK, b""
        try:
            if not path.lower().startswith("/v1/"):
                raise not_found(f"Not found: {path}")
            if method == "OPTIONS":  # what a browser asks before it lets a page of another origin ask
                if not re.search("https?://", environ.get("HTTP_ORIGIN", "")):
                    raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, "Origin header is missing in CORS preflight")
            elif match is None:
                raise invalid(f"Malformed request: {method} {path}")
            elif method == "POST":
                deadline = environ[_ARRIVED] + self._timeout
                body = self._run(_spec(match), found["method"], environ, deadline)
            else:
                body = self._read(_spec(match), found["part"] is not None)
        except StatusError as error:
            code, body = error.code, _error(error.message)
            headers += _retry_after(error)
        except Exception as error:
            code, body = grpc.StatusCode.INTERNAL, _error(observer.unforeseen(error))
        if code is not grpc.StatusCode.OK:
            headers.append((traceparent.REQUEST_ID, request.request_id))
        seconds = time.perf_counter() - request.started
        metrics.answered(_decoded(found.get("name")), code.name, found.get("method") or "", "REST", seconds)
        self._watch.end(request, code, len(body))
        return http_status(code), headers, body

    def _run(self, spec: model_pb2.ModelSpec, method: str, environ: dict[str, Any], deadline: float) -> bytes:
        body = self._body(environ)
        with self._one_at_a_time(deadline) if len(body) >= _LARGE_BODY else contextlib.nullcontext():
            return self._run_document(spec, method, json_tensor.parse(body), deadline)

    @contextlib.contextmanager
    def _one_at_a_time(self, deadline: float) -> Iterator[None]:
        if not self._large.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        try:
            yield
        finally:
            self._large.release()

    def _run_document(self, spec: model_pb2.ModelSpec, method: str, document: dict[str, Any], deadline: float) -> bytes:
        spec.signature_name = _utf8(document.get("signature_name", ""))
        observer.about(spec)
        if method == "predict":
            return self._predict(spec, document, deadline)
        source = json_tensor.examples_of(document)
        left = deadline - time.monotonic()
        if method == "classify":
            request: Any = classification_pb2.ClassificationRequest(model_spec=spec, input=source)
            return json_tensor.dumps_classes(inference.answer(self._core, "Classify", request, left).result)
        request = regression_pb2.RegressionRequest(model_spec=spec, input=source)
        return json_tensor.dumps_values(inference.answer(self._core, "Regress", request, left).result)

    def _predict(self, spec: model_pb2.ModelSpec, document: dict[str, Any], deadline: float) -> bytes:
        with self._core.acquire(spec) as (version, servable):
            observer.about(spec, version)
            name = spec.signature_name or contract.DEFAULT
            if name not in servable.signatures:
                raise invalid(f'Serving signature name: "{name}" not found in signature def')
            form, inputs = json_tensor.inputs_of(document, servable.signatures[name].inputs)
            outputs = inference.run(servable, spec, "Predict", inputs, (), deadline - time.monotonic())
        observer.answered(inputs, outputs)
        return json_tensor.dumps(outputs, form)

    def _read(self, spec: model_pb2.ModelSpec, metadata: bool) -> bytes:
        observer.about(spec)
        if not spec.name:
            raise invalid("Missing model name in request.")
        return self._metadata(spec) if metadata else _status_json(self._core.states(spec))

    def _body(self, environ: dict[str, Any]) -> bytes:
        stream = environ["wsgi.input"]
        if "gzip" not in environ.get("HTTP_CONTENT_ENCODING", "").lower():
            body: bytes = stream.read()
            return body
        try:
            with gzip.GzipFile(fileobj=stream) as unzipped:
                body = unzipped.read(self._max_body_bytes + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise invalid(f"Failed to uncompress the gzipped body: {error}") from None
        if len(body) > self._max_body_bytes:
            raise invalid(f"Failed to uncompress the gzipped body: longer than {self._max_body_bytes} bytes")
        return body

    def _metadata(self, spec: model_pb2.ModelSpec) -> bytes:
        with self._core.acquire(spec) as (version, servable):
            signatures = servable.signatures
        return _json(
            {
                "model_spec": {"name": spec.name, "signature_name": "", "version": str(version)},
                "metadata": {
                    "signature_def": {
                        "signature_def": {name: _signature_json(signatures[name]) for name in sorted(signatures)}
                    }
                },
            }
        )


def _headers_of(request: Any) -> dict[str, str]:
    """A request's headers by their names in lower case."""
    return {name.lower().replace("_", "-"): value for name, value in request.headers.items()}


def _retry_after(error: StatusError) -> Headers:
    return [("Retry-After", str(math.ceil(error.retry_after)))] if error.retry_after else []


def _connection_limit() -> int:
    """Most connections, after the process has got leave for as many files as that takes, where it is to be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * _MAX_CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return _MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(_MAX_CONNECTIONS, soft // 2)


def _accepts_gzip(header: str) -> bool:
    for part in header.lower().split(","):
        coding, _, quality = part.partition(";")
        if coding.strip() == "gzip":
            return not re.fullmatch(r"q=0(\.0*)?", quality.strip())
    return False


def _spec(match: re.Match[str]) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=_decoded(match["name"]))
    version: Optional[str] = match["version"]
    if version is not None:
        digits = version.lstrip("0") or "0"
        if len(digits) > len(str(_MAX_VERSION)) or int(digits) > _MAX_VERSION:
            raise invalid(f"Failed to convert version: {version} to numeric.")
        spec.version.value = int(digits)
    elif match["label"] is not None:
        spec.version_label = _decoded(match["label"])
    return spec


def _decoded(part: Optional[str]) -> str:
    """A part of the path without its percent signs."""
    return _utf8(unquote(part or ""))


def _utf8(text: str) -> str:
    """Text that a protobuf string can hold."""
    return text.encode("utf-8", "replace").decode()


def _status_json(states: list[VersionState]) -> bytes:
    return _json(
        {
            "model_version_status": [
                {
                    "version": str(state.version),
                    "state": state.state,
                    "status": {"error_code": state.code.name, "error_message": state.message},
                }
                for state in states
            ]
        }
    )


def _signature_json(signature: Any) -> dict[str, Any]:
    return {
        "inputs": {name: _tensor_json(signature.inputs[name]) for name in sorted(signature.inputs)},
        "outputs": {name: _tensor_json(signature.outputs[name]) for name in sorted(signature.outputs)},
        "method_name": signature.method_name,
        "defaults": {},
    }


def _tensor_json(info: Any) -> dict[str, Any]:
    return {
        "dtype": tensors.enum_name(info.dtype),
        "tensor_shape": {
            "dim": [{"size": str(dim.size), "name": dim.name} for dim in info.tensor_shape.dim],
            "unknown_rank": info.tensor_shape.unknown_rank,
        },
        "name": info.name,
    }


def _json(value: Any) -> bytes:
    """As protobuf prints messages."""
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"


def _error(message: str) -> bytes:
    return json.dumps({"error": message}, ensure_ascii=False, indent=4).encode("utf-8", "replace")
