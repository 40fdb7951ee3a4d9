"""A request's ids, the access log and its sampling, in code and over both servers."""

from __future__ import annotations

import logging
import math
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from tensorflow_serving.apis import model_pb2, prediction_service_pb2_grpc

from serving import traceparent
from serving.client import RecommenderClient, ServerError
from serving.server import observer
from serving.server.observer import ACCESS, Observer, Request
from serving.server.servable import Servable
from tests.serving.fixtures import MODEL
from tests.serving.in_process import serve
from tests.serving.server.asking import PREDICT, predict_request, raw

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture):
    """What the access log has got."""
    caplog.set_level(logging.INFO, ACCESS.name)
    return lambda: [record.fields for record in caplog.records if record.name == ACCESS.name]


def test_ids_of_a_request():
    assert Request("Predict", "GRPC", lambda: {"traceparent": PARENT}).request_id == TRACE
    own = Request("Predict", "GRPC", lambda: {"traceparent": PARENT, "x-request-id": "order-7"})
    assert (own.request_id, own.trace_id) == ("order-7", TRACE)
    for wrong in ("", "two words", "line\nbreak", "x" * 129, "ä"):
        headers = {"traceparent": PARENT, "x-request-id": wrong}
        assert Request("Predict", "GRPC", headers.copy).request_id == TRACE
    made = Request("Predict", "GRPC", dict)
    assert traceparent.parse(f"00-{made.trace_id}-00f067aa0ba902b7-00")
    assert made.request_id == made.trace_id == made.trace_id  # the same whenever it is asked for


def test_nobody_reads_headers_for_nothing():
    def headers():
        raise AssertionError("headers were read")

    watch = Observer()
    watch.end(watch.begin("Predict", "GRPC", headers), grpc.StatusCode.OK)


@pytest.mark.parametrize(("share", "digits"), [(0.25, "c0000000000000"), (0.5, "80000000000000"), (1.0, "0" * 14)])
def test_the_share_of_the_access_log_goes_by_the_trace(lines, share, digits):
    least = int(digits, 16)
    watch = Observer(share)
    for number in (least - 1, least, 16**14 - 1):
        if number >= 0:
            trace = f"{1:018x}{number:014x}"
            watch.end(
                watch.begin("Predict", "GRPC", lambda trace=trace: {"traceparent": f"00-{trace}-{1:016x}-00"}),
                grpc.StatusCode.OK,
            )
    assert len(lines()) == 2


def test_new_traces_are_spread_evenly(lines):
    watch = Observer(0.2)
    for _ in range(2000):
        watch.end(watch.begin("Predict", "GRPC", dict), grpc.StatusCode.OK)
    assert abs(len(lines()) - 400) < 6 * math.sqrt(2000 * 0.2 * 0.8)


def test_a_line_of_the_access_log(lines):
    watch = Observer(1.0)
    request = watch.begin("Predict", "GRPC", lambda: {"traceparent": PARENT})
    request.received = 12
    observer.about(model_pb2.ModelSpec(name="m", version_label="canary", signature_name="recommend"), 7)
    watch.end(request, grpc.StatusCode.OK, 34)
    (line,) = lines()
    assert 0 <= line.pop("seconds") < 5
    assert line == {
        "entrypoint": "GRPC",
        "method": "Predict",
        "code": "OK",
        "request_bytes": 12,
        "response_bytes": 34,
        "model": "m",
        "label": "canary",
        "signature": "recommend",
        "version": 7,
    }


@pytest.fixture(scope="module")
def watched(servable, tmp_path_factory):
    """Both servers with an access log of everything."""
    options = {"watch": Observer(1.0)}
    with serve(servable, tmp_path_factory.mktemp("watched"), grpc=options, rest=options) as servers:
        yield servers


@pytest.mark.slow
@pytest.mark.smoke
def test_both_servers_tell_of_requests(watched, lines):
    request = predict_request("double", x=[[1.0, 2.0]])
    with grpc.insecure_channel(watched.grpc_target) as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        answer = predict(request, timeout=10, metadata=[("traceparent", PARENT)])
        with pytest.raises(grpc.RpcError) as failed:
            predict(predict_request("nope"), timeout=10, metadata=[("x-request-id", "order-7")])
    assert dict(failed.value.trailing_metadata())["x-request-id"] == "order-7"
    body = '{"signature_name": "double", "inputs": [[1, 2]]}'
    assert raw(watched, "POST", PREDICT, body, traceparent=PARENT)[0] == 200
    status, headers, _ = raw(watched, "GET", "/v1/models/nobody", traceparent=PARENT)
    assert (status, headers["x-request-id"]) == (404, TRACE)
    found = [(line["entrypoint"], line["method"], line["code"], line.get("model")) for line in lines()]
    assert found == [
        ("GRPC", "Predict", "OK", MODEL),
        ("GRPC", "Predict", "FAILED_PRECONDITION", MODEL),
        ("REST", "predict", "OK", MODEL),
        ("REST", "GET", "NOT_FOUND", "nobody"),
    ]
    first, _, rest, _ = lines()
    assert (first["signature"], first["version"]) == (rest["signature"], rest["version"]) == ("double", 7)
    assert (first["request_bytes"], first["response_bytes"]) == (request.ByteSize(), answer.ByteSize())
    assert (rest["request_bytes"], first["response_bytes"] > 0) == (len(body), True)


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("instant", [True, False])
def test_a_failure_that_nobody_expected_is_found_by_its_id(watched, transport, monkeypatch, caplog, instant):
    def broken(*_):
        raise KeyError("by chance")

    monkeypatch.setattr(Servable, "_run", broken)
    monkeypatch.setattr(Servable, "is_instant", lambda *_, **__: instant)
    target = watched.grpc_target if transport == "grpc" else watched.rest_target
    expected = pytest.raises(ServerError, match=r"KeyError: 'by chance' \(request [0-9a-f]{32}\)")
    with RecommenderClient(target, model=MODEL, transport=transport, retry=None) as client, expected as failed:
        client.recommend()
    assert failed.value.request_id in str(failed.value)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == ["a request failed"]


@pytest.mark.slow
def test_requests_in_threads_have_their_own_ids(watched, lines, monkeypatch):
    monkeypatch.setattr(Servable, "is_instant", lambda *_, **__: False)
    with grpc.insecure_channel(watched.grpc_target) as channel, ThreadPoolExecutor(8) as pool:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict

        def ask(number: int) -> str:
            request = predict_request(f"nope {number}")
            with pytest.raises(grpc.RpcError) as failed:
                predict(request, timeout=10, metadata=[("x-request-id", str(number))])
            return dict(failed.value.trailing_metadata())["x-request-id"]

        assert list(pool.map(ask, range(40))) == [str(number) for number in range(40)]
    assert sorted(line["signature"] for line in lines()) == sorted(f"nope {number}" for number in range(40))
