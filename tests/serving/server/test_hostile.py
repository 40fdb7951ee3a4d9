"""Clients that mean harm or are broken: the server answers an error, others are served meanwhile, memory comes back."""

from __future__ import annotations

import contextlib
import errno
import gc
import gzip
import http.client
import json
import os
import random
import re
import shutil
import socket
import tempfile
import threading
import time
import weakref
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.server import json_tensor, rest
from serving.server.process import EMBEDDED, ServerProcess
from tests.serving.fixtures import MODEL
from tests.serving.in_process import serve
from tests.serving.server.asking import predict_request, recommend_inputs

PATH = f"/v1/models/{MODEL}:predict"
GOOD = b'{"signature_name": "double", "inputs": [[1, 2]]}'
PREDICT = "/tensorflow.serving.PredictionService/Predict"


def connect(server) -> socket.socket:
    host, port = server.rest_target.split(":")
    return socket.create_connection((host, int(port)), timeout=120)


def head(length: int, *headers: str) -> bytes:
    lines = [f"POST {PATH} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def post(body: bytes, *headers: str) -> bytes:
    return head(len(body), *headers) + body


def chunked(*chunks: bytes) -> bytes:
    lines = [f"POST {PATH} HTTP/1.1", "Host: x", "Connection: close", "Transfer-Encoding: chunked", "", ""]
    return "\r\n".join(lines).encode() + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


def exchange(server, data: bytes, end: bool = False) -> bytes:
    """Sends bytes, says that no more will come if `end`, and returns all that the server sends until it closes."""
    with connect(server) as connection:
        with contextlib.suppress(ConnectionError):  # the server may have answered and closed before it was all sent
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
    return answer


def status(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", answer)
    assert found, answer[:200]
    return int(found[1])


def is_well(server) -> None:
    """A good request over each API gets its answer."""
    assert json.loads(exchange(server, post(GOOD)).partition(b"\r\n\r\n")[2]) == {"outputs": [[2.0, 4.0]]}
    with grpc.insecure_channel(server.grpc_target) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(predict_request("double", x=[[1.0, 2.0]]), timeout=60)
    assert list(answer.outputs["y"].float_val) == [2, 4]


def test_who_greets_by_tls_is_left_at_once(server):
    started = time.monotonic()
    assert exchange(server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") == b""
    assert time.monotonic() - started < 5
    is_well(server)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"get / HTTP/1.1\r\n\r\n", 400, id="lower case"),
        pytest.param(b"GET / HTTP/1.1\nHost: x\r\n\r\n", 400, id="a bare line feed"),
        pytest.param(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", 431, id="a long path"),
        pytest.param(post(GOOD, *(f"X-{i}: y" for i in range(20_000))), 431, id="many headers"),
        pytest.param(post(GOOD, "X: a\x00b", "Y : z"), 400, id="a header that is none"),
        pytest.param(head(-5), 400, id="a negative length"),
        pytest.param(head(10**30, "Expect: 100-continue"), 413, id="an endless length"),
        pytest.param(chunked(GOOD) + b"0\r\n\r\n", 200, id="a chunk"),
        pytest.param(chunked(GOOD) + b"nope\r\n", 400, id="a chunk that is none"),
        pytest.param(chunked() + b"1;" + b"a" * 100_000, 431, id="an endless line between chunks"),
        pytest.param(chunked(GOOD) + b"0\r\n" + b"a: b\r\n" * 20_000, 431, id="endless trailers"),
        pytest.param(post(GOOD, "Transfer-Encoding: gzip"), 501, id="an unknown transfer encoding"),
        pytest.param(post(b"nope", "Content-Encoding: gzip"), 400, id="gzip that is none"),
        pytest.param(post(b"[" * 1_000_000), 400, id="deep JSON"),
        pytest.param(post(b'{"inputs": ' + b"[" * 900 + b"]" * 900 + b"}"), 400, id="a deep tensor"),
        pytest.param(post(b'{"inputs": ' + b'{"a":' * 900 + b"1" + b"}" * 901), 400, id="deep objects"),
        pytest.param(post(b'{"inputs": [' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"]}"), 400, id="a deep value"),
        pytest.param(post(b'{"signature_name": "describe", "inputs": ["\xff"]}'), 400, id="bad UTF-8"),
        pytest.param(post(GOOD.replace(b"1", b"9" * 10_000)), 400, id="a long number"),
        pytest.param(post(GOOD.replace(b"double", b"x" * 500_000)), 400, id="a long name"),
        pytest.param(post(b"\x00" * 1000), 400, id="zeros"),
        pytest.param(post(b""), 400, id="nothing"),
    ],
)
def test_broken_http_gets_an_error(server, data, expected):
    answer = exchange(server, data)
    assert status(answer) == expected
    is_well(server)


def kept(*headers: str, version: str = "1.1", body: bytes = b"0\r\n\r\n") -> bytes:
    """A request on a connection that is kept, and what may be taken for another one behind it."""
    lines = [f"POST {PATH} HTTP/{version}", "Host: x", "Connection: keep-alive", *headers, "", ""]
    return "\r\n".join(lines).encode() + body + b"GET /smuggled HTTP/1.1\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(kept("Content-Length: 5", "Transfer-Encoding: chunked"), id="two lengths"),
        pytest.param(kept("Content-Length: 5", "Transfer-Encoding:"), id="two lengths, one of them empty"),
        pytest.param(kept("Transfer-Encoding: chunked", version="1.0"), id="chunks before there were any"),
        pytest.param(kept("Transfer-Encoding: chunked", version="1.2"), id="chunks of an unknown version"),
        pytest.param(kept("Expect: 100-continue", "Content-Length: +5"), id="who waits is not told to go on"),
        pytest.param(kept("Transfer-Encoding: chunked", body=b"0\n\r\n\r\n"), id="a chunk's size that ends twice"),
        pytest.param(kept("Transfer-Encoding: chunked", body=b"0;a\n\r\n\r\n"), id="an extension that ends twice"),
    ],
)
def test_where_a_body_ends_is_never_in_doubt(server, data):
    """A proxy between us and the client may see it elsewhere: there is one answer, and the connection is closed."""
    assert re.findall(rb"HTTP/1\.[01] (\d{3}) ", exchange(server, data)) == [b"400"]


def test_who_has_sent_all_is_not_told_to_go_on(server):
    expecting = b"GET /v1/models/none HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n"
    assert re.findall(rb"HTTP/1\.1 (\d{3}) ", exchange(server, expecting + post(GOOD))) == [b"404", b"200"]


@pytest.mark.parametrize("data", [b"", b"POST /v1/mod", head(100) + GOOD, chunked(GOOD)])
def test_a_request_that_breaks_off_is_dropped(server, data):
    assert exchange(server, data, end=True) == b""
    is_well(server)


def test_a_client_that_stops_sending_gets_its_answer(server):
    assert status(exchange(server, post(GOOD), end=True)) == 200


def test_random_bytes(server):
    generator = random.Random(1)
    request = post(GOOD)
    for _ in range(100):
        data = bytearray(request)
        for _ in range(generator.randrange(1, 20)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        exchange(server, bytes(data), end=True)
    is_well(server)


def call_raw(server, message: bytes) -> grpc.StatusCode:
    """The status that bytes in place of a PredictRequest get."""
    with grpc.insecure_channel(server.grpc_target) as channel:
        try:
            channel.unary_unary(PREDICT)(message, timeout=60)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


@pytest.mark.slow
@pytest.mark.smoke
def test_malformed_messages(server):
    good = predict_request(**recommend_inputs()).SerializeToString()
    assert call_raw(server, good) == grpc.StatusCode.OK
    generator = random.Random(1)
    broken = [
        b"\xff" * 100,
        b"\x0a" * 10_000,
        b"\x0b" * 10_000,
        good[:-3],
        b"\x0a\xff\xff\xff\xff\x0f",
        os.urandom(500),
    ]
    for _ in range(100):
        data = bytearray(good)
        data[generator.randrange(len(data))] = generator.randrange(256)
        broken.append(bytes(data))
    seen = {call_raw(server, message) for message in broken}
    assert grpc.StatusCode.INTERNAL in seen  # how gRPC says that a message can't be parsed
    assert not seen & {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    is_well(server)


def tensor(dtype: int, shape: list[int], **fields: object):
    proto = tf.make_tensor_proto(0).__class__(dtype=dtype, **fields)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def with_tensors(signature: str, **protos: object) -> predict_pb2.PredictRequest:
    request = predict_request(signature)
    for name, proto in protos.items():
        request.inputs[name].CopyFrom(proto)
    return request


BOMBS = {
    "a negative shape": with_tensors("double", x=tensor(1, [-1, 2], float_val=[1])),
    "one value for a tera": with_tensors("double", x=tensor(1, [1 << 39, 2], float_val=[1])),
    "no value for a giga": with_tensors("double", x=tensor(1, [1 << 29, 2])),
    "a long string, often": with_tensors("describe", item_id=tensor(7, [1 << 20], string_val=[b"x" * 100_000])),
    "a shape that overflows": with_tensors("double", x=tensor(1, [1 << 62] * 31 + [0])),
    "many dimensions": with_tensors("double", x=tensor(1, [1 << 62] * 200_000)),
    "many inputs": with_tensors("double", **{f"x{i}": tensor(1, [1 << 23]) for i in range(2000)}),
    "wrong bytes": with_tensors("double", x=tensor(1, [1, 2], tensor_content=b"abc")),
    "another type": predict_request("double", x=np.array([["a", "b"]])),
    "a type that is none": with_tensors("double", x=tensor(99, [1, 2])),
    "a huge k": predict_request(**recommend_inputs(k=np.int32(2**31 - 1))),
    "a negative k": predict_request(**recommend_inputs(k=np.int32(-1))),
}


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("name", BOMBS)
def test_tensors_that_blow_up(server, name):
    assert call_raw(server, BOMBS[name].SerializeToString()) == grpc.StatusCode.INVALID_ARGUMENT
    is_well(server)


@pytest.fixture
def impatient(servable, tmp_path, monkeypatch):
    """A server on which a connection may idle for a second."""
    monkeypatch.setattr(rest, "_IDLE_SECONDS", 1)
    with serve(servable, tmp_path) as servers:
        yield servers


@pytest.mark.slow
@pytest.mark.smoke
def test_connections_that_trickle_or_idle_are_closed(impatient):
    idle, slow = connect(impatient), connect(impatient)
    with idle, slow:
        ended = threading.Event()

        def trickle() -> None:
            with contextlib.suppress(OSError):
                for byte in post(GOOD, "X: " + "y" * 10_000):
                    slow.sendall(bytes([byte]))
                    if ended.wait(0.05):
                        return

        thread = threading.Thread(target=trickle)
        thread.start()
        is_well(impatient)
        assert idle.recv(100) == b""  # within the connection's own timeout of two minutes
        with contextlib.suppress(ConnectionError):
            assert slow.recv(100) == b""
        ended.set()
        thread.join()


@pytest.mark.slow
def test_a_connection_is_kept_while_it_is_used(impatient):
    host, port = impatient.rest_target.split(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=60)) as connection:
        connection.connect()
        connection.auto_open = 0  # it must not hide that it was closed
        for _ in range(8):
            time.sleep(0.3)
            connection.request("POST", PATH, GOOD)
            assert connection.getresponse().read()


@pytest.mark.slow
@pytest.mark.smoke
def test_large_bodies_and_answers_need_no_disk(servable, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    inputs = {"floats": [], "ints": [], "flags": [], "texts": ["x" * 2_000_000]}
    large = json.dumps({"signature_name": "echo", "inputs": inputs}).encode()
    with serve(servable, tmp_path, rest={"max_body_bytes": 4 << 20}) as servers:
        answer = exchange(servers, post(large))
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["outputs"]["texts"] == inputs["texts"]
        is_well(servers)


@pytest.mark.slow
@pytest.mark.smoke
def test_a_refused_request_is_forgotten_at_once(servable, tmp_path, monkeypatch):
    """Not only when the garbage is collected: an error that holds itself by its traceback would hold the request."""

    class Document(dict):
        pass

    references = []

    def parse(body):
        document = Document(json.loads(body))
        references.append(weakref.ref(document))
        return document

    monkeypatch.setattr(json_tensor, "parse", parse)
    with serve(servable, tmp_path) as servers:
        gc.disable()
        try:
            for inputs in ([[], []], ["", 3]):
                assert status(exchange(servers, post(json.dumps({"inputs": inputs}).encode()))) == 400
            is_well(servers)  # by now the requests before it are over
            assert [reference() for reference in references[:2]] == [None, None]
        finally:
            gc.enable()


@pytest.fixture(scope="module")
def own_server(servable: Path, tmp_path_factory):
    """A server whose memory nobody else uses."""
    base = tmp_path_factory.mktemp("base")
    shutil.copytree(servable, base / MODEL / "7")
    flags = ["--tensorflow_intra_op_parallelism=1", "--tensorflow_inter_op_parallelism=1"]
    with ServerProcess(base, MODEL, binary=EMBEDDED, flags=flags) as process:
        yield process


def resident(server) -> float:
    """The server's resident memory in MiB."""
    found = re.search(r"^VmRSS:\s*(\d+) kB", Path(f"/proc/{server.pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) / 1024


@pytest.fixture
def steady(own_server):
    """The server; fails if the test has left it with more memory, or unwell."""
    for _ in range(20):
        is_well(own_server)
    before = resident(own_server)
    yield own_server
    is_well(own_server)
    deadline = time.monotonic() + 20
    while resident(own_server) > before + 100 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert resident(own_server) < before + 100


LARGE = {
    "100 MB": lambda: (post(b" " * (100 << 20)), {413}),
    "100 MB in chunks": lambda: (chunked(*[b" " * (1 << 20)] * 100), {413}),
    "20 MB of numbers": lambda: (post(b'{"inputs": [' + b"1.5," * (5 << 20) + b"1]}"), {400}),
    "15 MB of lists": lambda: (post(b'{"inputs": [' + b"[]," * (5 << 20) + b"[]]}"), {400}),
    "60 MB of brackets": lambda: (post(b"[" * (60 << 20)), {400}),
    "a gzip bomb": lambda: (post(gzip.compress(bytes(1 << 30), 1), "Content-Encoding: gzip"), {400}),
    "chunks of a byte": lambda: (chunked(*[b" "] * (1 << 18)) + b"0\r\n\r\n", {400}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_bodies(steady, name):
    data, expected = LARGE[name]()
    answers: list[bytes] = []
    attackers = [threading.Thread(target=lambda: answers.append(exchange(steady, data))) for _ in range(3)]
    for thread in attackers:
        thread.start()
    waits = []
    while any(thread.is_alive() for thread in attackers):
        started = time.monotonic()
        is_well(steady)
        waits.append(time.monotonic() - started)
        time.sleep(0.1)
    assert {status(answer) for answer in answers} == expected
    assert max(waits, default=0) < 60  # within seconds, on a machine that has nothing else to do


@pytest.mark.slow
def test_a_library_that_listens_late_gets_to_read_the_refusal(steady):
    host, port = steady.rest_target.split(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=120)) as connection:
        connection.request("POST", PATH, bytes(100 << 20))
        assert connection.getresponse().status == 413


@pytest.mark.slow
@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_large_messages(steady, compression):
    request = with_tensors("double", x=tensor(1, [1, 2], tensor_content=bytes(100 << 20)))
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(steady.grpc_target, options=options, compression=compression) as channel:
        with pytest.raises(grpc.RpcError) as error:
            prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=120)
        assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.slow
@pytest.mark.parametrize("beginning", [b"", b"POST /v1/mod", head(1000) + GOOD])
def test_a_thousand_connections_that_say_little(steady, beginning):
    grpc_port = int(steady.grpc_target.rpartition(":")[2])
    with contextlib.ExitStack() as stack:
        for number in range(1000):
            connection = stack.enter_context(connect(steady))
            connection.sendall(beginning)
            if number % 4 == 0:
                stack.enter_context(socket.create_connection(("127.0.0.1", grpc_port)))
        for _ in range(20):
            is_well(steady)
