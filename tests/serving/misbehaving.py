"""Model servers that misbehave, for tests of the client.

`FakeServer`'s answers are up to the test, a `Wire` breaks between client and server, and `Awaited` is the asyncio
client behind the blocking one's interface, so that one test can be for both.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Optional, Union

import grpc

from serving.client import AsyncRecommenderClient, AsyncShardedClient, tensors
from serving.client.tensors import Tensor
from serving.contract import NO_SCORE
from serving.protos import serving_pb2

_HTTP = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}


@dataclass(frozen=True)
class Reply:
    """Answers every row of a request with these items."""

    items: tuple[str, ...] = ("1", "2", "3")
    version: int = 1
    delay: float = 0.0
    source: str = "user"
    shard: str = ""
    """Which shard it is, as `serving.contract.Shard` writes it."""
    scores: tuple[float, ...] = ()
    """Those of the items; by default 10 - place."""


@dataclass(frozen=True)
class Fail:
    """Answers an error: gRPC's name of the status, and the message."""

    code: str = "UNAVAILABLE"
    detail: str = "on purpose"
    delay: float = 0.0
    retry_after: str = ""
    """Seconds for which the server wants to be left alone."""


@dataclass(frozen=True)
class Seen:
    """A request as it reached the server."""

    signature: str
    label: Optional[str]
    inputs: Mapping[str, Tensor]
    examples: list[bytes]
    """Those of a server that batches, serialized."""
    headers: Mapping[str, str]
    at: float
    """Seconds, monotonic."""


Behaviour = Callable[[int, Seen], Union[Reply, Fail]]


def sequence(*reactions: Any) -> Behaviour:
    """One reaction a request; the last for all that follow."""
    return lambda number, seen: reactions[min(number, len(reactions) - 1)]


@dataclass
class FakeServer:
    """A server of either transport on a free port of localhost; a context manager.

    Args:
        transport: "grpc" or "rest".
        behave: what to do with the n-th request (from 0).
        tls: for gRPC server credentials, for REST an SSLContext.
    """

    transport: str
    behave: Behaviour = lambda number, seen: Reply()
    tls: Any = None
    seen: list[Seen] = field(default_factory=list)
    cancelled: int = 0
    """Requests that the client gave up while the server was at them."""
    port: int = 0
    host: str = "127.0.0.1"

    @property
    def target(self) -> str:
        return f"{self.host}:{self.port}"

    def __enter__(self) -> FakeServer:
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(_serve_grpc(self) if self.transport == "grpc" else _serve_rest(self))
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def react(self, seen: Seen, given_up: Callable[[float], bool]) -> Union[Reply, Fail, None]:
        """What to answer, after its delay; None if `given_up` says within that time that nobody waits any more."""
        with self._lock:
            number = len(self.seen)
            self.seen.append(seen)
        reaction = self.behave(number, seen)
        if reaction.delay and given_up(reaction.delay):
            with self._lock:
                self.cancelled += 1
            return None
        return reaction


def outputs(seen: Seen, reply: Reply) -> dict[str, Tensor]:
    """The signature's outputs; of `score` the version, or of a shard 1 for what is among its items."""
    count = seen.inputs["examples" if "examples" in seen.inputs else "user_id"].shape[0]
    told = {"shard": Tensor("string", (count,), [reply.shard] * count)} if reply.shard else {}
    if seen.signature == "score":
        candidates = seen.inputs["candidates"]
        found = [1.0 if item in reply.items else NO_SCORE for item in candidates.values]
        values = found if reply.shard else [float(reply.version)] * candidates.shape[1]
        return {"scores": Tensor("float32", candidates.shape, values), **told}
    width = len(reply.items)
    return {
        **told,
        "item_ids": Tensor("string", (count, width), [*reply.items] * count),
        "scores": Tensor(
            "float32", (count, width), [*(reply.scores or (10.0 - place for place in range(width)))] * count
        ),
        "source": Tensor("string", (count,), [reply.source] * count),
    }


@contextlib.contextmanager
def _serve_grpc(server: FakeServer) -> Iterator[None]:
    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        spec = request.model_spec
        inputs = {name: tensors.from_proto(proto) for name, proto in request.inputs.items()}
        label = spec.version_label if spec.HasField("version_label") else None
        examples = list(request.inputs["examples"].string_val)
        headers = dict(context.invocation_metadata())
        seen = Seen(spec.signature_name, label, inputs, examples, headers, time.monotonic())
        ended = threading.Event()
        context.add_callback(ended.set)
        reaction = server.react(seen, ended.wait)
        if isinstance(reaction, Fail):
            if reaction.retry_after:
                context.set_trailing_metadata([("retry-after", reaction.retry_after)])
            context.abort(grpc.StatusCode[reaction.code], reaction.detail)
        answer = serving_pb2.PredictResponse()
        if reaction is not None:
            answer.model_spec.version.value = reaction.version
            for name, tensor in outputs(seen, reaction).items():
                tensors.to_proto(tensor, answer.outputs[name])
        return answer

    serving = grpc.server(futures.ThreadPoolExecutor(64), options=[("grpc.so_reuseport", 0)])
    handler = grpc.unary_unary_rpc_method_handler(
        predict, serving_pb2.PredictRequest.FromString, serving_pb2.PredictResponse.SerializeToString
    )
    serving.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", {"Predict": handler}),)
    )
    address = server.target
    server.port = serving.add_secure_port(address, server.tls) if server.tls else serving.add_insecure_port(address)
    serving.start()
    try:
        yield
    finally:
        serving.stop(None).wait()


@contextlib.contextmanager
def _serve_rest(server: FakeServer) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            request = json.loads(body)
            inputs = {name: tensors.from_json(value) for name, value in request["inputs"].items()}
            label = self.path.partition("/labels/")[2].partition(":")[0] or None
            headers = {name.lower(): value for name, value in self.headers.items()}
            examples = [base64.b64decode(example["b64"]) for example in request["inputs"].get("examples", ())]
            seen = Seen(request["signature_name"], label, inputs, examples, headers, time.monotonic())
            reaction = server.react(seen, self.given_up)
            if reaction is None:
                self.close_connection = True
            elif isinstance(reaction, Fail):
                self.answer(_HTTP[reaction.code], {"error": reaction.detail}, reaction.retry_after)
            else:
                found = outputs(seen, reaction)
                named = {name: t.rows() if len(t.shape) == 2 else t.values for name, t in found.items()}
                self.answer(200, {"outputs": named if len(named) > 1 else named["scores"]})

        def given_up(self, seconds: float) -> bool:
            readable, _, _ = select.select([self.connection], [], [], seconds)
            return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""

        def answer(self, status: int, content: dict[str, Any], retry_after: str = "") -> None:
            payload = json.dumps(content).encode()
            self.send_response(status)
            if retry_after:
                self.send_header("Retry-After", retry_after)
            if "gzip" in self.headers.get("Accept-Encoding", ""):
                payload = gzip.compress(payload)
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: Any) -> None:
            pass

    class Serving(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def finish_request(self, request: Any, client_address: Any) -> None:
            if server.tls is not None:
                request = server.tls.wrap_socket(request, server_side=True)
            with contextlib.suppress(OSError):
                super().finish_request(request, client_address)

        def handle_error(self, *_: Any) -> None:
            pass

    serving = Serving((server.host, server.port), Handler)
    server.port = serving.server_port
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        serving.shutdown()
        serving.server_close()
        thread.join()


@dataclass(eq=False)
class Wire:
    """A TCP wire to a server that breaks as a test says; a context manager.

    `mode` holds for connections and bytes from now on: "pass"; "reset" ends each connection as it comes; "hang" takes
    connections and never answers; "garbage" answers nonsense; "cut" resets a connection after 2 kB of the answer.
    """

    upstream: str
    mode: str = "pass"
    connections: int = 0
    bytes_up: int = 0
    port: int = 0

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Wire:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.reset()

    def reset(self) -> None:
        """Breaks all connections that there are."""
        for connection in list(self._open):
            _reset(connection)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        if self.mode == "reset":
            _reset(connection)
        elif self.mode == "garbage":
            with contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"\x00\xffnonsense\r\n" * 20)
                connection.shutdown(socket.SHUT_WR)
        elif self.mode != "hang":
            host, port = self.upstream.split(":")
            with contextlib.suppress(OSError):
                server = socket.create_connection((host, int(port)))
                self._open.append(server)
                threading.Thread(target=self._copy, args=(connection, server, True), daemon=True).start()
                self._copy(server, connection, False)

    def _copy(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while True:
                block = source.recv(65536)
                if self.mode == "hang":
                    return
                if up:
                    self.bytes_up += len(block)
                elif self.mode == "cut" and passed + len(block) > 2000:
                    sink.sendall(block[: 2000 - passed])
                    _reset(sink)
                    return
                passed += len(block)
                if not block:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(block)


class Awaited:
    """An `AsyncRecommenderClient` whose methods wait for their result, on an event loop of its own."""

    _class: type = AsyncRecommenderClient

    def __init__(self, *arguments: Any, **options: Any):
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._client = self._class(*arguments, **options)

    def __enter__(self) -> Awaited:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            setattr(self._client, name, value)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not asyncio.iscoroutinefunction(found):
            return found
        return lambda *arguments, **options: asyncio.run_coroutine_threadsafe(
            found(*arguments, **options), self._loop
        ).result()


class AwaitedShards(Awaited):
    """The same of an `AsyncShardedClient`."""

    _class = AsyncShardedClient


def _reset(connection: socket.socket) -> None:
    """Closes with RST, not FIN."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)  # wakes who reads there; a reader keeps the connection open
    with contextlib.suppress(OSError):
        connection.close()
