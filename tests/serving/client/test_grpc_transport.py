"""The gRPC transport: its messages, and connections whose other end is gone."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from serving.client import (
    DeadlineExceeded,
    Hedge,
    InvalidRequest,
    ModelNotFound,
    RecommenderClient,
    ServerError,
    ServerUnavailable,
    Tensor,
)
from serving.client.grpc_transport import encode
from serving.client.transport import Metadata, ModelRef, Predict, Status
from serving.protos import serving_pb2
from serving.server.ports import free_port
from tests.serving.misbehaving import Awaited, Fail, FakeServer, Wire, sequence


@pytest.mark.parametrize(
    ("model", "version", "label"),
    [(ModelRef("m"), None, None), (ModelRef("m", version=3), 3, None), (ModelRef("m", label="canary"), None, "canary")],
)
def test_messages_name_the_version(model, version, label):
    for request, kind in (
        (Predict(model, "recommend", {}), serving_pb2.PredictRequest),
        (Status(model), serving_pb2.GetModelStatusRequest),
        (Metadata(model), serving_pb2.GetModelMetadataRequest),
    ):
        spec = kind.FromString(encode(request)).model_spec
        assert spec.name == "m"
        assert (spec.version.value if spec.HasField("version") else None) == version
        assert (spec.version_label if spec.HasField("version_label") else None) == label


def test_a_prediction_has_its_inputs_and_wanted_outputs():
    request = Predict(ModelRef("m"), "score", {"user_id": Tensor("string", (1,), ["ä"])}, ("scores",))
    message = serving_pb2.PredictRequest.FromString(encode(request))
    assert message.model_spec.signature_name == "score"
    assert list(message.output_filter) == ["scores"]
    assert list(message.inputs["user_id"].string_val) == ["ä".encode()]


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("kind", [RecommenderClient, Awaited], ids=["blocking", "asyncio"])
def test_keepalive_finds_a_connection_whose_other_end_is_gone(kind, monkeypatch):
    """Over REST the system's TCP does it, and no wire of a test can hang below that."""
    monkeypatch.setattr("serving.client.grpc_transport._KEEPALIVE_TIMEOUT_MS", 300)
    with (
        FakeServer("grpc") as server,
        Wire(server.target) as wire,
        kind(wire.target, model="m", keepalive=0.3, retry=None, timeout=30) as client,
    ):
        client.recommend("ann")
        wire.mode = "hang"
        with pytest.raises(ServerUnavailable):
            client.recommend("ann")


@pytest.mark.parametrize("kind", [RecommenderClient, Awaited], ids=["blocking", "asyncio"])
@pytest.mark.parametrize(
    ("fail", "error"),
    [
        (Fail("UNKNOWN", "Stream removed"), ServerUnavailable),
        (Fail("UNAVAILABLE", "Received http2 header with status: 503"), ServerUnavailable),
        (Fail("UNAVAILABLE", "HTTP2: GOAWAY received"), ServerUnavailable),
        (Fail("UNAVAILABLE", "Trying to connect an http1.x server; failed parsing HTTP/2: http2"), ServerError),
        (Fail("NOT_FOUND", "Servable not found for request: Latest(http2-books)"), ModelNotFound),
        (Fail("INVALID_ARGUMENT", "unknown item 'http2 in action'"), InvalidRequest),
        (Fail("INVALID_ARGUMENT", "unknown item 'RST_STREAM'"), InvalidRequest),
        (Fail("DEADLINE_EXCEEDED", "the queue is too long for 0.1 s"), DeadlineExceeded),
        (Fail("INVALID_ARGUMENT", "unknown item 'deserializing response'"), InvalidRequest),
    ],
)
def test_words_of_grpc_are_told_from_the_servers(kind, fail, error):
    with (
        FakeServer("grpc", sequence(fail)) as server,
        kind(server.target, model="m", retry=None) as client,
        pytest.raises(error) as raised,
    ):
        client.recommend("ann")
    assert type(raised.value) is error
    assert fail.detail in str(raised.value)


ANSWERS = {
    "none": grpc.unary_stream_rpc_method_handler(lambda request, context: iter(())),
    "garbage": grpc.unary_unary_rpc_method_handler(lambda request, context: b"\xff\xff\xff"),
}


@pytest.mark.parametrize("kind", [RecommenderClient, Awaited], ids=["blocking", "asyncio"])
@pytest.mark.parametrize("hedge", [None, Hedge(after=0.05)], ids=["", "hedged"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_without_a_message_that_can_be_read(kind, hedge, answer):
    server = grpc.server(ThreadPoolExecutor(4))
    handlers = {"Predict": ANSWERS[answer]}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", handlers),)
    )
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with kind(target, model="m", retry=None, hedge=hedge, timeout=60) as client:
            started = time.monotonic()
            with pytest.raises(ServerError, match=f"what answers at {target} isn't TensorFlow Serving's gRPC port"):
                client.recommend("ann")
            assert time.monotonic() - started < 30, "it doesn't wait until its time is over"
    finally:
        server.stop(None)


def test_targets_as_grpc_writes_them(tmp_path):
    with FakeServer("grpc") as server, RecommenderClient(f"dns:///{server.target}", model="m") as client:
        assert client.recommend("ann").item_ids == ["1", "2", "3"]
        assert client.target == server.target
    for target in (f"unix:{tmp_path}/s", f"unix://{tmp_path}/s"):
        with RecommenderClient(target, model="m", retry=None, timeout=5) as client:
            assert client.target == target
            with pytest.raises(ServerUnavailable, match="no model server at unix:"):
                client.recommend("ann")
    for target in ("unix:", "unix:s", "dns:///", "dns://x/y:1"):
        with pytest.raises(InvalidRequest, match="write it as host:port"):
            RecommenderClient(target, model="m")


def test_a_proxy_of_the_environment_takes_no_request(monkeypatch):
    with FakeServer("grpc", host=socket.gethostbyname(socket.gethostname())) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
        monkeypatch.setenv("grpc_proxy", f"http://127.0.0.1:{free_port()}")
        with RecommenderClient(server.target, model="m", timeout=5, retry=None) as client:
            assert client.recommend("ann").item_ids == ["1", "2", "3"]
        with (
            RecommenderClient(server.target, model="m", timeout=5, retry=None, proxy=True) as client,
            pytest.raises(ServerUnavailable),
        ):
            client.recommend("ann")
