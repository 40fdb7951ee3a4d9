"""The gauges' values, worked out by hand, and as a server shows them."""

from __future__ import annotations

import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.server.admission import Admission
from serving.server.gauges import Gauges
from tests.serving.fixtures import MODEL
from tests.serving.in_process import serve
from tests.serving.server.asking import PREDICT, call, raw
from tests.serving.server.test_batching import until


def values(lines) -> dict[str, dict[tuple[str, ...], float]]:
    """The values by name and labels' values; all of them say what they are."""
    found = {}
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        assert family.documentation
        counts = "cpu_seconds" in family.name or family.name.endswith("logged_answers")
        assert family.type == ("counter" if counts else "gauge")
        if family.name.startswith("process_"):
            continue
        found[family.name.removeprefix("recommender_server_")] = {
            tuple(sample.labels.values()): sample.value for sample in family.samples
        }
    return found


def manager(name, loaded, labels):
    return SimpleNamespace(name=name, loaded=lambda: loaded, labels=lambda: labels)


def test_values():
    plain, batching = SimpleNamespace(waiting=None), SimpleNamespace(waiting=5)
    managers = [
        manager("shop", {20261101000000: (plain, 100.5), 8: (batching, 200.0)}, {"": 8, "stable": 20261101000000}),
        manager("empty", {}, {"canary": 3}),  # whose version isn't loaded yet
    ]
    core = SimpleNamespace(models=lambda: managers, serves=lambda: False)
    admission = Admission(10, 1000)
    admission.begin()
    admission.received(70)
    gauges = Gauges(core, admission, lambda: {"GRPC": 2, "REST": 0})
    counted = Gauges(core, admission, dict, answers=lambda: {"written": 3, "disk": 1})
    assert values(counted.lines())["logged_answers"] == {("disk",): 1, ("written",): 3}
    found = values(gauges.lines())
    assert "config_poll_success_timestamp_seconds" not in found
    assert found == {
        "requests_in_flight": {(): 1},
        "bytes_in_flight": {(): 70},
        "max_requests_in_flight": {(): 10},
        "max_bytes_in_flight": {(): 1000},
        "queue_length": {("GRPC",): 2, ("REST",): 0},
        "loop_cpu_seconds": {},
        "ready": {(): 0},
        "model_available": {("shop",): 1, ("empty",): 0},
        "version": {("shop", ""): 8, ("shop", "stable"): 20261101000000},
        "model_created_timestamp_seconds": {("shop", ""): 200.0, ("shop", "stable"): 100.5},
        "batch_queue_rows": {("shop", "8"): 5},
    }
    before = time.time()
    gauges.config_polled()
    assert before <= values(gauges.lines())["config_poll_success_timestamp_seconds"][()] <= time.time()


@pytest.mark.slow
@pytest.mark.smoke
def test_a_servers(servable, tmp_path, monkeypatch):
    copy = tmp_path / "servable"
    shutil.copytree(servable, copy)
    os.utime(copy / "saved_model.pb", (1_000_000_000, 1_000_000_000))
    admission, shown, opened = Admission(9, 1 << 20), {}, threading.Event()
    options = {"metrics_path": "/metrics", "admission": admission, "threads": 1}
    (tmp_path / "in").mkdir()
    with serve(copy, tmp_path / "in", rest={**options, "gauges": lambda: shown["gauges"].lines()}) as found:
        shown["gauges"] = Gauges(
            found.core, admission, lambda: {"GRPC": found.grpc.waiting, "REST": found.rest.waiting}
        )
        page = raw(found, "GET", "/metrics")[2].decode()
        now = values(page[page.index("# HELP recommender_server_requests_in_flight") :].splitlines())
        assert now["version"] == {(MODEL, ""): 7}
        assert now["model_created_timestamp_seconds"] == {(MODEL, ""): 1e9}
        assert (now["ready"], now["queue_length"]) == ({(): 1}, {("GRPC",): 0, ("REST",): 0})
        acquire = found.core.acquire
        monkeypatch.setattr(found.core, "acquire", lambda spec: opened.wait(20) and acquire(spec))
        body = '{"signature_name": "double", "inputs": [[1, 2]]}'
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(call, found, "POST", PREDICT, body) for _ in range(3)]
            until(lambda: values(shown["gauges"].lines())["queue_length"][("REST",)] == 2)
            now = values(shown["gauges"].lines())
            assert (now["requests_in_flight"], now["bytes_in_flight"]) == ({(): 3}, {(): 3 * len(body)})
            opened.set()
            assert {future.result()[0] for future in asked} == {200}
        until(lambda: values(shown["gauges"].lines())["bytes_in_flight"] == {(): 0})


def test_what_the_process_and_its_loops_take():
    over = threading.Event()
    busy = threading.Thread(target=lambda: [None for _ in iter(over.is_set, True)])
    idle = threading.Thread(target=over.wait)
    late = threading.Thread(target=over.wait)
    core = SimpleNamespace(models=list, serves=lambda: True)
    gauges = Gauges(core, Admission(1, 1), dict, lambda: {"busy": busy, "idle": idle, "late": late})
    busy.start()
    idle.start()
    lines = list(gauges.lines())
    while values(lines)["loop_cpu_seconds"][("busy",)] <= 0.02:
        lines = list(gauges.lines())
    over.set()
    found = {line.split("{")[0]: float(line.split()[-1]) for line in lines if line[0] != "#"}
    assert found["process_cpu_seconds_total"] == pytest.approx(time.process_time(), abs=1)
    assert 1 << 20 < found["process_resident_memory_bytes"] < 1 << 36
    seconds = values(lines)["loop_cpu_seconds"]
    assert seconds[("busy",)] > 0.02 > seconds[("idle",)] >= 0
    assert seconds[("late",)] == 0
