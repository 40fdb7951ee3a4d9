"""What the server takes on and what it refuses: counted by hand, and under a load that is too much for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc
from waitress.channel import HTTPChannel

from serving.client import RecommenderClient, Retry, ServerOverloaded
from serving.client.transport import ModelRef, from_status
from serving.server import grpc_service, rest
from serving.server.admission import Admission, Pace
from serving.server.servable import Servable
from serving.server.status import StatusError
from tests.serving.fixtures import MODEL
from tests.serving.in_process import serve
from tests.serving.server.asking import PREDICT, call, predict_request, raw
from tests.serving.server.test_batching import until

pytestmark = pytest.mark.smoke


def test_requests_and_bytes_in_flight_are_bounded():
    admission = Admission(3, 100)
    for size in (10, 20, 30):
        admission.begin()
        admission.received(size)
    with pytest.raises(StatusError, match="3 requests are in flight") as refused:
        admission.begin()
    assert (refused.value.code, refused.value.retry_after) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 0.5)
    admission.end(10)
    admission.begin()  # 50 bytes, and one of some 30 that comes
    with pytest.raises(StatusError, match="120 bytes are in flight"):
        admission.received(70)
    admission.end(70)
    # The next one is expected to be of 70 bytes as well.
    with pytest.raises(StatusError, match="50 bytes are in flight"):
        admission.begin()
    admission.end(20)
    admission.end(30)
    admission.begin()
    admission.received(1000)  # alone: it is the server's longest request that bounds it
    admission.end(1000)
    for _ in range(3):
        admission.begin()
        admission.end(None)  # its client went away


def test_bytes_that_are_still_coming_count():
    admission = Admission(2, 100)
    admission.arriving(60, 0)
    admission.arriving(30, 0)  # of another request
    with pytest.raises(StatusError, match="90 bytes are in flight") as refused:
        admission.arriving(20, 30)
    assert (refused.value.code, refused.value.retry_after) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 0.5)
    assert admission.in_flight == (0, 90)
    admission.left(30)
    admission.arriving(1000, 60)  # alone: it is the server's longest request that bounds it
    admission.begin(arrived=True)  # what has come doesn't count twice
    admission.end(0)
    admission.left(1060)
    assert admission.in_flight == (0, 0)
    for _ in range(2):
        admission.begin(arrived=True)
    with pytest.raises(StatusError, match="2 requests are in flight"):
        admission.begin(arrived=True)


def test_who_would_wait_for_too_long_is_refused():
    pace = Pace(2)
    for _ in range(40):
        pace.wait(None)
        pace.leave()
        pace.ran(1.0)  # the mean comes to 1 - 0.8**40
    for _ in range(3):
        pace.wait(4.0)  # 1, 1.5 and 2 s with its own run, of half of 4
    with pytest.raises(StatusError, match=r"3 requests wait, which takes 2\.5 s") as refused:
        pace.wait(4.0)
    assert refused.value.retry_after == pytest.approx(2.5, rel=1e-3)
    pace.wait(None)
    for _ in range(4):
        pace.leave()
    pace.wait(0.1)  # who finds threads that are free tries


def test_answers_that_are_not_read_count():
    admission = Admission(2, 100)
    admission.unread(60)
    with pytest.raises(StatusError, match="60 bytes are in flight"):
        admission.arriving(50, 0)
    admission.begin()
    admission.received(50)  # alone
    admission.end(50)
    with pytest.raises(StatusError, match="60 bytes are in flight"):
        admission.begin()  # one of some 50 bytes
    admission.unread(-60)
    admission.begin()
    admission.received(10)
    assert admission.in_flight == (1, 10)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Seconds that each run takes, without a processor, if it has them; warm-up takes none."""
    seconds, run = [0.1], Servable._run

    def slowly(self: Servable, name: str, feeds: Any, fetches: Any, timeout: Any) -> Any:
        if not threading.current_thread().name.startswith("load"):
            time.sleep(min(seconds[0], max(timeout or 0.0, 0.0)))
            timeout -= seconds[0]
        return run(self, name, feeds, fetches, timeout)

    monkeypatch.setattr(Servable, "_run", slowly)
    monkeypatch.setattr(Servable, "is_instant", lambda *_, **__: False)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # as in the server's process
    yield seconds
    sys.setswitchinterval(interval)


_RATE, _SECONDS, _DEADLINE = 60, 4.0, 1.0  # of what is asked; two threads can 20 a second


def good_put(outcomes: list[tuple[str, float]]) -> None:
    """Makes sure that nearly all that can be answered is, and in time, and that the others are told at once."""
    good = sorted(seconds for outcome, seconds in outcomes if outcome == "OK")
    assert len(good) >= 0.8 * 20 * _SECONDS
    assert good[int(0.95 * len(good))] <= _DEADLINE  # the load has the same processors, and runs late itself
    others = [outcome for outcome, _ in outcomes if outcome != "OK"]
    assert others.count("RESOURCE_EXHAUSTED") >= 0.8 * len(others)


@pytest.mark.slow
@pytest.mark.smoke
def test_three_times_too_much_over_grpc(servable, tmp_path, slow):
    outcomes: list[tuple[str, float]] = []
    with serve(servable, tmp_path) as found, grpc.insecure_channel(found.grpc_target) as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        request = predict_request("double", x=[[1.0, 2.0]])
        predict(request, timeout=30)

        def ask() -> None:
            started = time.perf_counter()
            future = predict.future(request, timeout=_DEADLINE)
            future.add_done_callback(lambda f: outcomes.append((f.code().name, time.perf_counter() - started)))

        started = time.perf_counter()
        for number in range(int(_RATE * _SECONDS)):
            time.sleep(max(0.0, started + number / _RATE - time.perf_counter()))
            ask()
        until(lambda: len(outcomes) == int(_RATE * _SECONDS))
        good_put(outcomes)
        assert list(predict(request, timeout=5).outputs["y"].float_val) == [2, 4]


@pytest.mark.slow
@pytest.mark.smoke
def test_three_times_too_much_over_rest(servable, tmp_path, slow):
    outcomes: list[tuple[str, float]] = []
    body = json.dumps({"signature_name": "double", "instances": [[1.0, 2.0]]})
    with serve(servable, tmp_path, rest={"timeout": _DEADLINE}) as found:
        host, port = found.rest_target.split(":")
        local = threading.local()

        def ask(at: float) -> None:
            time.sleep(max(0.0, at - time.perf_counter()))
            started = time.perf_counter()
            if not hasattr(local, "connection"):
                local.connection = http.client.HTTPConnection(host, int(port), timeout=30)
            local.connection.request("POST", PREDICT, body)
            answer = local.connection.getresponse()
            answer.read()
            names = {200: "OK", 429: "RESOURCE_EXHAUSTED"}
            outcomes.append((names.get(answer.status, str(answer.status)), time.perf_counter() - started))

        with ThreadPoolExecutor(150) as pool:
            begun = time.perf_counter()
            list(pool.map(ask, [begun + number / _RATE for number in range(int(_RATE * _SECONDS))]))
        good_put(outcomes)
        assert call(found, "POST", PREDICT, body)[0] == 200


@pytest.mark.slow
@pytest.mark.smoke
def test_what_the_event_loop_does_not_get_to_is_ended(servable, tmp_path, monkeypatch):
    """Not kept waiting until it is too late: gRPC does it, and the client takes it for an overload."""

    def slowly(*_: Any) -> Any:
        time.sleep(0.02)
        raise StatusError(grpc.StatusCode.ABORTED, "enough")

    monkeypatch.setattr(Servable, "is_instant", lambda *_, **__: True)
    with serve(servable, tmp_path) as found, grpc.insecure_channel(found.grpc_target) as channel:
        monkeypatch.setattr(Servable, "_run", slowly)
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        request = predict_request("double", x=[[1.0, 2.0]])
        futures = [predict.future(request, timeout=30) for _ in range(400)]
        codes = [future.code().name for future in futures]
        assert set(codes) == {"ABORTED", "CANCELLED"}
        assert codes.count("CANCELLED") > 200  # of 400, of which 128 may wait
        assert predict.future(request, timeout=5).code().name == "ABORTED"
    assert isinstance(from_status("CANCELLED", "CANCELLED", "host:1", ModelRef("m")), ServerOverloaded)


@pytest.mark.slow
@pytest.mark.smoke
def test_large_requests_are_refused_before_they_take_memory(servable, tmp_path, slow):
    slow[0] = 2.0
    admission = Admission(100, 2 << 20)
    with serve(servable, tmp_path, grpc={"admission": admission}) as found:
        with grpc.insecure_channel(found.grpc_target) as channel:
            predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
            large = predict_request("double", x=np.ones((50_000, 2), np.float32))  # 400 kB
            futures = [predict.future(large, timeout=30) for _ in range(40)]
            until(lambda: sum(future.done() for future in futures) >= 30)
            refused = next(future for future in futures if future.done() and future.code().name != "OK")
            assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "The server has too much to do" in refused.details()
            assert dict(refused.trailing_metadata())["retry-after"] == "0.500"
            # Health and status answer all the same.
            check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
            assert check.status == health_pb2.HealthCheckResponse.SERVING
            for future in futures:
                future.cancel()
        until(lambda: admission._count == 0)
        assert (admission._bytes, admission._receiving) == (0, 0)


@pytest.mark.slow
@pytest.mark.smoke
def test_rest_refuses_at_once_and_tells_its_state(servable, tmp_path, slow):
    slow[0] = 2.0
    body = json.dumps({"signature_name": "double", "instances": [[1.0, 2.0]]})
    admission = Admission(3, 1 << 20)
    with serve(servable, tmp_path, rest={"admission": admission}) as found, ThreadPoolExecutor(3) as pool:
        running = [pool.submit(call, found, "POST", PREDICT, body) for _ in range(3)]  # the third one waits
        until(lambda: admission.in_flight[0] == 3)
        started = time.monotonic()
        status, headers, content = raw(found, "POST", PREDICT, body)
        assert (status, headers["Retry-After"]) == (429, "1")
        assert json.loads(content) == {"error": "The server has too much to do: 3 requests are in flight"}
        assert call(found, "GET", f"/v1/models/{MODEL}")[0] == 200
        assert time.monotonic() - started < 1
        assert [future.result()[0] for future in running] == [200, 200, 200]
        assert call(found, "POST", PREDICT, body)[0] == 200


HEADERS = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n"


def upload(server, length: int, body: bytes = b"") -> socket.socket:
    """A connection on which so much of a request has been sent."""
    host, port = server.rest_target.split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(f"{HEADERS}Content-Length: {length}\r\n\r\n".encode() + body)
    return connection


def answer_on(connection: socket.socket) -> int:
    """The status of the answer that comes on a connection, which is read to its end."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


@pytest.mark.slow
@pytest.mark.smoke
def test_bodies_that_are_still_coming_are_bounded(servable, tmp_path):
    """Of 20 requests whose clients stop halfway only as many bytes are kept as the limit allows."""
    admission = Admission(100, 1 << 20)
    options = {"admission": admission, "max_body_bytes": 1 << 20}
    good = json.dumps({"signature_name": "double", "instances": [[1.0, 2.0]]})
    with serve(servable, tmp_path, rest=options) as found, contextlib.ExitStack() as stack:
        half = [stack.enter_context(upload(found, 400_000, b" " * 200_000)) for _ in range(20)]
        until(lambda: 800_000 < admission.in_flight[1] <= 1 << 20)
        time.sleep(0.2)
        assert 800_000 < admission.in_flight[1] <= 1 << 20
        assert admission.in_flight[0] == 0  # none is whole
        status, headers, content = raw(found, "POST", PREDICT, good.ljust(300_000))
        assert (status, headers["Retry-After"], "x-request-id" in headers) == (429, "1", True)
        assert re.search(rb"has too much to do: \d+ bytes are in flight", content)
        assert raw(found, "GET", f"/v1/models/{MODEL}")[0] == 200
        # A refused one gets its answer when it has sent all, and its connection can be used again.
        answers = []
        for connection in half:
            connection.sendall(b" " * 200_000)
        for connection in half:
            answers.append(answer_on(connection))
        assert set(answers) == {400, 429}  # only spaces are no JSON
        assert answers.count(400) >= 2
        until(lambda: admission.in_flight == (0, 0))
        refused = half[answers.index(429)]
        refused.sendall(f"{HEADERS}Content-Length: {len(good)}\r\n\r\n{good}".encode())
        assert answer_on(refused) == 200
        # Clients that go away leave nothing.
        gone = [upload(found, 400_000, b" " * 100_000) for _ in range(5)]
        until(lambda: admission.in_flight[1] == 500_000)
        for connection in gone:
            connection.close()
        until(lambda: admission.in_flight == (0, 0))


PREDICT_RPC = "/tensorflow.serving.PredictionService/Predict"
_LARGE = 12 << 20
"""Bytes of an answer that a connection's own buffers don't hold."""


@pytest.mark.slow
@pytest.mark.smoke
def test_answers_that_nobody_reads_are_bounded_over_rest(servable, tmp_path, monkeypatch):
    monkeypatch.setattr(rest, "_IDLE_SECONDS", 2)
    admission = Admission(100, _LARGE)
    inputs = {"floats": [], "ints": [], "flags": [], "texts": ["x" * _LARGE]}
    large = json.dumps({"signature_name": "echo", "inputs": inputs}).encode()
    good = json.dumps({"signature_name": "double", "instances": [[1.0, 2.0]]})
    with serve(servable, tmp_path, rest={"admission": admission, "max_body_bytes": 16 << 20}) as found:
        with upload(found, len(large), large) as connection:
            until(lambda: admission.in_flight[0] == 0 and admission.in_flight[1] > _LARGE)
            assert raw(found, "POST", PREDICT, good)[0] == 429
            assert raw(found, "GET", f"/v1/models/{MODEL}")[0] == 200
            # Nor does it help to read a little now and then.
            until(lambda: not connection.recv(1000) or admission.in_flight == (0, 0))
        assert call(found, "POST", PREDICT, good)[0] == 200


@pytest.mark.slow
@pytest.mark.smoke
def test_answers_that_nobody_reads_are_bounded_over_grpc(servable, tmp_path, monkeypatch):
    admission = Admission(100, _LARGE)
    options = {"admission": admission, "max_message_bytes": 16 << 20}
    none = {"floats": np.zeros(0, np.float32), "ints": np.zeros(0, np.int64), "flags": np.zeros(0, bool)}
    large = predict_request("echo", **none, texts=["x" * _LARGE])
    with serve(servable, tmp_path, grpc=options) as found, grpc.insecure_channel(found.grpc_target) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        unread = channel.unary_stream(PREDICT_RPC)(large.SerializeToString())  # a stream is read when it is asked for
        until(lambda: admission.in_flight[0] == 0 and admission.in_flight[1] > _LARGE)
        refused = stub.Predict.future(predict_request("double", x=[[1.0, 2.0]]), timeout=10)
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        unread.cancel()
        until(lambda: admission.in_flight == (0, 0))
        monkeypatch.setattr(grpc_service, "_UNREAD_SECONDS", 1.0)
        unread = channel.unary_stream(PREDICT_RPC)(large.SerializeToString())
        until(lambda: admission.in_flight[1] > _LARGE)
        until(lambda: admission.in_flight == (0, 0))  # nobody can be refused for ever
        unread.cancel()
        assert stub.Predict.future(predict_request("double", x=[[1.0, 2.0]]), timeout=10).code() is grpc.StatusCode.OK


@pytest.mark.slow
def test_a_body_in_chunks_is_bounded_too(servable, tmp_path):
    admission = Admission(100, 100_000)
    with serve(servable, tmp_path, rest={"admission": admission}) as found, upload(found, 80_000, b" " * 70_000):
        until(lambda: admission.in_flight[1] == 70_000)
        host, port = found.rest_target.split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            for status in (429, 200):
                spaces = 40_000 if status == 429 else 0
                good = json.dumps({"signature_name": "double", "instances": [[1.0, 2.0]]}).ljust(spaces).encode()
                connection.sendall(f"{HEADERS}Transfer-Encoding: chunked\r\n\r\n".encode())
                for start in range(0, len(good), 10_000):
                    part = good[start : start + 10_000]
                    connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))
                connection.sendall(b"0\r\n\r\n")
                assert answer_on(connection) == status
                until(lambda: admission.in_flight == (0, 70_000))


@pytest.mark.slow
def test_refusals_keep_their_order_on_a_connection(servable, tmp_path, slow):
    """Several requests that come at once on one connection get an answer each, those that are refused and others."""
    slow[0] = 1.0
    good = json.dumps({"signature_name": "double", "instances": [[1.0, 2.0]]})
    post = f"{HEADERS}Content-Length: {len(good)}\r\n\r\n{good}"
    get = f"GET /v1/models/{MODEL} HTTP/1.1\r\nHost: x\r\n\r\n"
    last = post.replace("\r\nHost", "\r\nConnection: close\r\nHost")
    admission = Admission(1, 1 << 20)
    with serve(servable, tmp_path, rest={"admission": admission}) as found, ThreadPoolExecutor(1) as pool:
        running = pool.submit(call, found, "POST", PREDICT, good)
        until(lambda: admission.in_flight[0] == 1)
        host, port = found.rest_target.split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall((post + post + get + last).encode())
            answers = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"429", b"429", b"200", b"429"]
        assert running.result()[0] == 200
        assert call(found, "POST", PREDICT, good)[0] == 200


@pytest.mark.slow
def test_who_has_an_answer_finds_room_for_the_next_request(servable, tmp_path, monkeypatch):
    """Nothing of a request that has its answer is in flight, though the thread that answered comes back slowly."""
    sent = HTTPChannel.write_soon

    def slowly(self, data):
        size = sent(self, data)
        time.sleep(0.2)
        return size

    monkeypatch.setattr(HTTPChannel, "write_soon", slowly)
    good = json.dumps({"signature_name": "double", "instances": [[1.0, 2.0]]}).ljust(1000)
    admission = Admission(1, 1500)
    with serve(servable, tmp_path, rest={"admission": admission}) as found:
        for _ in range(3):
            assert call(found, "POST", PREDICT, good)[0] == 200
            assert admission.in_flight == (0, 0)


@pytest.mark.slow
@pytest.mark.smoke
def test_the_time_out_of_rest_begins_when_a_request_comes(servable, tmp_path, slow):
    slow[0] = 1.5
    body = json.dumps({"signature_name": "double", "instances": [[1.0, 2.0]]})
    with serve(servable, tmp_path, rest={"timeout": 2, "threads": 1}) as found, ThreadPoolExecutor(2) as pool:
        started = time.monotonic()
        found = list(pool.map(lambda _: call(found, "POST", PREDICT, body)[0], range(2)))
        assert sorted(found) == [200, 504]
        assert time.monotonic() - started < 4


@pytest.mark.slow
@pytest.mark.smoke
def test_the_client_is_told_for_how_long(servable, tmp_path, slow, transport):
    slow[0] = 1.0
    admission = Admission(1, 1 << 20)
    limits = {"admission": admission}
    with serve(servable, tmp_path, grpc=limits, rest=limits) as found:
        target = found.grpc_target if transport == "grpc" else found.rest_target
        options = {"model": MODEL, "transport": transport}
        with RecommenderClient(target, retry=None, **options) as client, ThreadPoolExecutor() as pool:
            first = pool.submit(client.recommend)
            until(lambda: admission.in_flight[0] == 1)
            with pytest.raises(ServerOverloaded, match="has too much to do") as refused:
                client.recommend()
            assert refused.value.retry_after == (0.5 if transport == "grpc" else 1.0)
            assert len(first.result()) > 0
        with RecommenderClient(target, retry=Retry(attempts=5), **options) as client, ThreadPoolExecutor() as pool:
            assert all(pool.map(lambda _: len(client.recommend()), range(2)))
