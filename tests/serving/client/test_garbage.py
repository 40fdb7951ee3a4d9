"""The client against servers that misbehave: every call ends in time with a typed error."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from serving.client import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    RecommenderClient,
    RecommenderError,
    ServerError,
    ServerUnavailable,
)
from serving.client import transport as transport_module

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


@contextlib.contextmanager
def tcp_server(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """Hands each connection to `handle`; yields host:port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            handle(connection)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def answering(payload: bytes) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.settimeout(0.05)
        with contextlib.suppress(TimeoutError, socket.timeout):
            while connection.recv(65536):  # what is left unread would reset the connection
                pass
        connection.sendall(payload)

    return handle


def http(body: str, status: str = "200 OK") -> bytes:
    encoded = body.encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(encoded)}\r\n\r\n".encode() + encoded


def never(connection: socket.socket) -> None:
    time.sleep(5)


def drip(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(50):
        connection.sendall(b" ")
        time.sleep(0.1)


def ask(target: str, transport: str, timeout: float = 1.0) -> RecommenderError:
    """The error of a call to a broken server."""
    with RecommenderClient(target, model="m", transport=transport, timeout=timeout) as client:
        started = time.monotonic()
        with pytest.raises(RecommenderError) as error:
            client.recommend("ann", k=2)
        assert time.monotonic() - started < timeout + 1.5
        return error.value


@pytest.mark.parametrize("handle", [never, drip])
def test_slow_servers_are_left_at_the_deadline(handle, transport):
    with tcp_server(handle) as target:
        error = ask(target, transport, timeout=0.3)
    # To gRPC the dripping HTTP answer is no HTTP/2 at all.
    assert type(error) is (ServerUnavailable if (transport, handle) == ("grpc", drip) else DeadlineExceeded)


@pytest.mark.parametrize("payload", [b"", b"\x00\xff" * 100, b"SSH-2.0-OpenSSH\r\n", http("{}")])
def test_other_protocols_over_grpc(payload):
    with tcp_server(answering(payload)) as target:
        assert isinstance(ask(target, "grpc"), (ServerUnavailable, ServerError, DeadlineExceeded))


def test_connection_closed_without_answer():
    with tcp_server(answering(b"")) as target:
        assert isinstance(ask(target, "rest"), ServerUnavailable)


def test_answer_cut_short():
    with tcp_server(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")) as target:
        assert "before its answer was whole" in str(ask(target, "rest"))


@pytest.mark.parametrize(
    "payload",
    [
        b"\x00\xff" * 100 + b"\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 " + b"x" * 100_000,
        http("<html>It works!</html>"),
        http("<html>no</html>", "404 Not Found"),
        http('{"detail": "no"}', "404 Not Found"),
        http("[]"),
        http("null"),
        http("[" * 100_000),
        http('{"outputs": {"item_ids": [["1"]]'),
        http("{}"),
        http('{"outputs": null}'),
        http('{"outputs": {}}'),
        http('{"outputs": {"item_ids": [["1"]], "scores": [[1.0]]}}'),  # no source
        http('{"outputs": {"item_ids": [["1"]], "source": ["user"]}}'),  # no scores
        http('{"outputs": {"item_ids": [["1"], ["2"]], "scores": [[1.0], [2.0]], "source": ["user", "user"]}}'),
        http('{"outputs": {"item_ids": [["1", "2"]], "scores": [[1.0]], "source": ["user"]}}'),
        http('{"outputs": {"item_ids": [["1"], "2"], "scores": [[1.0]], "source": ["user"]}}'),
        http('{"outputs": {"item_ids": [["1", 2]], "scores": [[1.0]], "source": ["user"]}}'),
        http('{"outputs": {"item_ids": [[1]], "scores": [[1.0]], "source": ["user"]}}'),
        http('{"outputs": {"item_ids": [["1"]], "scores": [["high"]], "source": ["user"]}}'),
        http('{"outputs": {"item_ids": [[{"b64": "!"}]], "scores": [[1.0]], "source": ["user"]}}'),
        http('{"error": "boom"}', "500 Internal Server Error"),
    ],
)
def test_rest_garbage_is_a_server_error(payload):
    with tcp_server(answering(payload)) as target:
        error = ask(target, "rest")
    assert type(error) is ServerError
    assert target in str(error) or "the server answered" in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad Request", InvalidRequest),
        ("404 Not Found", ModelNotFound),
        ("503 Service Unavailable", ServerUnavailable),
        ("504 Gateway Timeout", DeadlineExceeded),
    ],
)
def test_rest_status_codes(status, kind):
    with tcp_server(answering(http('{"error": "because"}', status))) as target:
        assert type(ask(target, "rest")) is kind


def test_a_server_that_gives_up_first_is_not_taken_for_one_that_is_silent():
    with tcp_server(answering(http('{"error": "because"}', "504 Gateway Timeout"))) as target:
        assert str(ask(target, "rest")) == f"http://{target} has given up: because"
    for body in ("<html>", '{"error": ""}'):
        with tcp_server(answering(http(body, "504 Gateway Timeout"))) as target:
            assert str(ask(target, "rest")) == f"http://{target} has given up: HTTP 504"


def test_requests_that_are_too_large():
    with tcp_server(answering(b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 3\r\n\r\nbig")) as target:
        assert isinstance(ask(target, "rest"), InvalidRequest)
    detail = "SERVER: Received message larger than max (70000000 vs. 67108864)"
    error = transport_module.from_status("RESOURCE_EXHAUSTED", detail, "host:1", transport_module.ModelRef("m"))
    assert isinstance(error, InvalidRequest)


def test_garbage_for_status_and_metadata():
    with (
        tcp_server(answering(http('{"model_version_status": [{}], "metadata": 3}'))) as target,
        RecommenderClient(target, model="m", transport="rest", timeout=1.0) as client,
    ):
        for call in (client.status, client.metadata):
            with pytest.raises(ServerError, match="isn't TensorFlow Serving's REST port"):
                call()


@pytest.mark.parametrize(
    "wrong",
    [
        {"contributions": [[[1.0, 2.0]]]},  # of more items than the history has
        {"contributions": [[[1.0], [2.0]]]},  # of more candidates
        {"parts": [[1.0]]},
        {"part_names": [[7]]},
        {"history_ids": ["h"]},
        {"method": [["exact"]]},
        {"scores": [[1.0, 2.0]]},
        {"parts": [[["much"]]]},
    ],
    ids=str,
)
def test_explanations_of_other_shapes_and_types_are_a_server_error(wrong):
    right = {
        "scores": [[3]],
        "history_ids": [["h"]],
        "contributions": [[[1.0]]],
        "parts": [[[2]]],
        "part_names": [["bias"]],
        "method": ["exact"],
    }
    for answer in (right, {**right, **wrong}):
        with (
            tcp_server(answering(http(json.dumps({"outputs": answer})))) as target,
            RecommenderClient(target, model="m", transport="rest", timeout=1.0) as client,
        ):
            if answer is right:
                assert str(client.explain("u", [], ["x"])[0]) == "x: 3.000 (exact: bias +2.000, h +1.000)"
                continue
            with pytest.raises(ServerError):
                client.explain("u", [], ["x"])


def test_scores_of_integers_and_infinities_are_read():
    body = json.dumps({"outputs": {"item_ids": [["1", ""]], "scores": [[1, -math.inf]], "source": ["user"]}})
    with (
        tcp_server(answering(http(body))) as target,
        RecommenderClient(target, model="m", transport="rest", timeout=1.0) as client,
    ):
        assert [item.score for item in client.recommend()] == [1.0]


def test_an_idle_connection_that_the_server_closed_is_replaced():
    body = json.dumps({"outputs": {"item_ids": [["1"]], "scores": [[1.0]], "source": ["user"]}})
    with (
        tcp_server(answering(http(body))) as target,  # closes after each answer without saying so
        RecommenderClient(target, model="m", transport="rest", timeout=1.0) as client,
    ):
        for _ in range(5):
            assert client.recommend().item_ids == ["1"]
            time.sleep(0.02)
