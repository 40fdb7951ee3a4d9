"""The page of metrics: TensorFlow Serving's names, labels and print, and what requests leave on it."""

from __future__ import annotations

import threading
import urllib.request

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.server import metrics
from tests.serving.fixtures import MODEL
from tests.serving.in_process import serve
from tests.serving.server.asking import call, predict_request
from tests.serving.server.test_inference import classification


@pytest.fixture
def counter(monkeypatch):
    made = metrics._Counter("/test/path/total", "name", "other")
    monkeypatch.setattr(metrics, "_METRICS", [made])
    return made


def test_a_counter_as_the_real_server_prints_it(counter):
    counter.add(2, "abc", 'say "\\"\n')
    assert metrics.page().decode() == (
        '# TYPE :test:path:total counter\n:test:path:total{name="abc",other="say \\"\\\\\\"\\n"} 2\n'
    )


def test_a_histogram_as_the_real_server_prints_it(monkeypatch):
    made = metrics._Histogram(1, 2, 10, "/test/path/histogram", "status")
    monkeypatch.setattr(metrics, "_METRICS", [made])
    for value in (2, 20, 200):
        made.observe(value, "good")
    counts = {1: 0, 2: 0, 4: 1, 8: 1, 16: 1, 32: 2, 64: 2, 128: 2, 256: 3, 512: 3, "+Inf": 3}
    buckets = [f':test:path:histogram_bucket{{status="good",le="{limit}"}} {count}' for limit, count in counts.items()]
    assert metrics.page().decode().splitlines() == [
        "# TYPE :test:path:histogram histogram",
        *buckets,
        ':test:path:histogram_sum{status="good"} 222',
        ':test:path:histogram_count{status="good"} 3',
    ]


def test_a_metric_without_labels(monkeypatch):
    made = metrics._Counter("/test/runs")
    monkeypatch.setattr(metrics, "_METRICS", [made])
    assert metrics.page() == b"# TYPE :test:runs counter\n"
    made.add(1)
    assert metrics.page() == b"# TYPE :test:runs counter\n:test:runs{} 1\n"


def test_latencies_have_the_real_servers_buckets():
    limits = [f"{limit:g}" for limit in metrics._request_latency._limits]
    assert limits[:6] == ["10", "18", "32.4", "58.32", "104.976", "188.957"]
    assert len(limits) == 33


def test_names_that_clients_make_up_do_not_fill_the_memory(counter, monkeypatch):
    monkeypatch.setattr(metrics, "_MAX_CELLS", 10)
    for number in range(1000):
        counter.add(1, "real", "")
        counter.add(1, f"made up {number}", "")
    lines = metrics.page().decode().splitlines()[1:]
    assert len(lines) == 10
    assert ':test:path:total{name="real",other=""} 1000' in lines


def test_names_that_clients_make_up_push_no_real_one_out(counter, monkeypatch):
    monkeypatch.setattr(metrics, "_MAX_CELLS", 3)
    monkeypatch.setattr(metrics, "_served", set())
    metrics.serves(["real"])
    counter.add(1, "real", "INTERNAL")
    for number in range(10):
        counter.add(1, f"bogus {number}", "NOT_FOUND")
    counter.add(1, "real", "INTERNAL")
    counter.add(1, "real", "OK")
    assert [line.split("{")[1] for line in counter.lines() if "{" in line] == [
        'name="bogus 9",other="NOT_FOUND"} 1',
        'name="real",other="INTERNAL"} 2',
        'name="real",other="OK"} 1',
    ]
    for status in ("a", "b"):  # the bound holds all the same
        counter.add(1, "real", status)
    assert len(list(counter.lines())) == 1 + 3


def test_threads_lose_no_count(counter):
    def add() -> None:
        for _ in range(5000):
            counter.add(1, "a", "b")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.value("/test/path/total") == counter.first() == 20_000
    assert metrics.value("/test/unknown") == 0


def test_what_the_other_rooms_record(monkeypatch):
    made = [
        metrics._Counter("/attempts", "path", "status"),
        metrics._Counter("/latency", "path"),
        metrics._Histogram(10, 10, 3, "/warmup", "path", "status"),
        metrics._Counter("/records", "path", "status"),
    ]
    for name, metric in zip(("_load_attempts", "_load_latency", "_warmup_latency", "_warmup_records"), made):
        monkeypatch.setattr(metrics, name, metric)
    monkeypatch.setattr(metrics, "_METRICS", made)
    metrics.loaded("/m/1", 0.25)
    metrics.load_failed("/m/2")
    metrics.warmed_up("/m/1", "OK", 3, 0.0005)
    lines = metrics.page().decode().splitlines()
    assert ':attempts{path="/m/1",status="success"} 1' in lines
    assert ':attempts{path="/m/2",status="fail"} 1' in lines
    assert ':latency{path="/m/1"} 250000' in lines
    assert ':warmup_sum{path="/m/1",status="OK"} 500.0' in lines
    assert ':records{path="/m/1",status="OK"} 3' in lines


@pytest.fixture(scope="module")
def monitored(servable, tmp_path_factory):
    with serve(servable, tmp_path_factory.mktemp("monitored"), rest={"metrics_path": "/metrics"}) as servers:
        yield servers


def samples(server) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{server.rest_target}/metrics", timeout=10) as response:
        assert response.headers["Content-Type"] == "text/plain"
        text = response.read().decode()
    assert list(text_string_to_metric_families(text))  # Prometheus' own reader takes it
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


@pytest.mark.slow
@pytest.mark.smoke
def test_requests_are_counted(monitored):
    before = samples(monitored)
    with grpc.insecure_channel(monitored.grpc_target) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for _ in range(3):
            stub.Predict(predict_request("double", x=[[1.0, 2.0]]), timeout=10)
        stub.Classify(classification(), timeout=10)
        for _ in range(2):
            with pytest.raises(grpc.RpcError):
                stub.Predict(predict_request("nope"), timeout=10)
    body = '{"signature_name": "double", "inputs": [[1, 2]]}'
    assert call(monitored, "POST", f"/v1/models/{MODEL}:predict", body)[0] == 200
    assert call(monitored, "GET", "/v1/models/made%20up")[0] == 404
    now = samples(monitored)

    def grew(name):
        return now[f":tensorflow:serving:{name}"] - before.get(f":tensorflow:serving:{name}", 0)

    assert grew(f'request_count{{model_name="{MODEL}",status="OK"}}') == 5
    assert grew(f'request_count{{model_name="{MODEL}",status="FAILED_PRECONDITION"}}') == 2
    assert grew('request_count{model_name="made up",status="NOT_FOUND"}') == 1
    assert grew(f'request_latency_count{{model_name="{MODEL}",API="Predict",entrypoint="GRPC"}}') == 3
    assert grew(f'request_latency_count{{model_name="{MODEL}",API="Classify",entrypoint="GRPC"}}') == 1
    assert grew(f'request_latency_count{{model_name="{MODEL}",API="predict",entrypoint="REST"}}') == 1
    assert grew(f'runtime_latency_count{{model_name="{MODEL}",API="Predict",runtime="TF1"}}') == 4
    seconds = f'{{model_name="{MODEL}",API="Predict",entrypoint="GRPC"}}'
    assert 0 < grew(f"request_latency_sum{seconds}") < 60e6  # microseconds
    assert grew(f"request_latency_sum{seconds}") > 0


def test_loads_and_warm_ups_are_counted(monitored):
    path = f'model_path="{monitored.core.models()[0].base_path}/7"'
    found = samples(monitored)
    assert found[f':tensorflow:cc:saved_model:load_attempt_count{{{path},status="success"}}'] == 1
    assert found[f":tensorflow:cc:saved_model:load_latency{{{path}}}"] > 0
    assert found[f':tensorflow:serving:model_warmup_records_read{{{path},status="OK"}}'] == 1


def test_there_is_no_page_unless_it_is_asked_for(server):
    assert call(server, "GET", metrics.DEFAULT_PATH)[0] == 404
