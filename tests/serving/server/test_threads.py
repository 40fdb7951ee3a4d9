"""The gRPC server's threads and event loop: what runs where, and clients that go away meanwhile."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving.protos.server_config_pb2 import BatchingParameters
from serving.server import grpc_service, settings
from serving.server import servable as servables
from serving.server.grpc_service import GrpcServer
from serving.server.servable import Servable
from tests.serving import in_process
from tests.serving.fixtures import MODEL
from tests.serving.in_process import serve
from tests.serving.server.asking import predict_request
from tests.serving.server.test_batching import until
from tests.serving.server.test_batching import waiting as waiting_in

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

_THREADS = 2  # of `serve`
DOUBLE = predict_request("double", x=[[1.0, 2.0]])


@pytest.fixture
def gate(monkeypatch):
    """Holds up the runs of all versions until it is opened, and notes their threads."""
    found, run = SimpleNamespace(threads=[], opened=threading.Event()), Servable._run

    def held(self: Servable, *arguments: Any) -> Any:
        name = threading.current_thread().name.partition("_")[0]
        if name != "load":  # warm-up
            found.threads.append(name)
            assert found.opened.wait(30)
        return run(self, *arguments)

    monkeypatch.setattr(Servable, "_run", held)
    yield found
    found.opened.set()


@contextlib.contextmanager
def serving(servable, folder):
    with serve(servable, folder) as found, grpc.insecure_channel(found.grpc_target) as channel:
        found.channel = channel
        found.predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        yield found


def numbers(answer) -> list[float]:
    return list(answer.outputs["y"].float_val)


def test_health_status_and_metadata_answer_while_all_threads_are_busy(servable, tmp_path, gate):
    with serving(servable, tmp_path) as found:
        busy = [found.predict.future(DOUBLE, timeout=60) for _ in range(2 * _THREADS)]
        until(lambda: len(gate.threads) == _THREADS)
        check = health_pb2_grpc.HealthStub(found.channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert check.status == health_pb2.HealthCheckResponse.SERVING
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = MODEL
        assert model_service_pb2_grpc.ModelServiceStub(found.channel).GetModelStatus(status, timeout=10)
        metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        metadata.model_spec.name = MODEL
        prediction_service_pb2_grpc.PredictionServiceStub(found.channel).GetModelMetadata(metadata, timeout=10)
        assert len(gate.threads) == _THREADS
        gate.opened.set()
        assert [numbers(future.result()) for future in busy] == [[2, 4]] * len(busy)


def test_those_that_are_given_up_while_they_wait_never_run(servable, tmp_path, gate):
    with serving(servable, tmp_path) as found:
        busy = [found.predict.future(DOUBLE, timeout=60) for _ in range(_THREADS)]
        until(lambda: len(gate.threads) == _THREADS)
        with pytest.raises(grpc.RpcError) as error:
            found.predict(DOUBLE, timeout=0.1)
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        gone = found.predict.future(DOUBLE, timeout=60)
        until(lambda: found.grpc.waiting == 1)
        gone.cancel()
        until(lambda: found.grpc.waiting == 0)
        gate.opened.set()
        assert [numbers(future.result()) for future in busy] == [[2, 4]] * _THREADS
        assert numbers(found.predict(DOUBLE, timeout=60)) == [2, 4]
        assert len(gate.threads) == _THREADS + 1


@pytest.mark.parametrize("batching", [None, BatchingParameters()])
def test_a_version_is_not_closed_while_it_runs_for_a_client_that_has_gone(
    servable, tmp_path, gate, monkeypatch, batching
):
    closed: list[Servable] = []
    close = Servable.close
    monkeypatch.setattr(Servable, "close", lambda self: (closed.append(self), close(self)))
    monkeypatch.setattr(in_process, "Servable", functools.partial(Servable, batching=batching))
    with serving(servable, tmp_path) as found:
        (manager,) = found.core.models()
        gone = found.predict.future(DOUBLE, timeout=60)
        until(lambda: gate.threads == ["grpc" if batching is None else "batch"])
        gone.cancel()
        found.core.apply(settings.single_model("another", str(tmp_path)))
        time.sleep(0.3)  # for what must not happen
        assert (closed, manager.retiring) == ([], 1)
        gate.opened.set()
        until(lambda: manager.retiring == 0)
        assert len(closed) == 1


def test_a_client_that_goes_away_leaves_its_batch_to_the_others(servable, tmp_path, gate, monkeypatch):
    parameters = text_format.Parse("num_batch_threads { value: 1 }", BatchingParameters())
    monkeypatch.setattr(in_process, "Servable", functools.partial(Servable, batching=parameters))
    with serving(servable, tmp_path) as found:
        running = found.predict.future(DOUBLE, timeout=60)
        until(lambda: gate.threads == ["batch"])
        with pytest.raises(grpc.RpcError) as error:
            found.predict(DOUBLE, timeout=0.3)
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        waiting = [found.predict.future(predict_request("double", x=[[i, i]]), timeout=60) for i in (1.0, 2.0, 3.0)]
        # More than there are threads of gRPC's: none of them holds one.
        with found.core.acquire(DOUBLE.model_spec) as (_, version):
            batcher = version._batcher
        until(lambda: waiting_in(batcher) == 3)
        waiting[1].cancel()
        until(lambda: waiting_in(batcher) == 2)
        gate.opened.set()
        assert numbers(running.result()) == [2, 4]
        assert [numbers(waiting[i].result()) for i in (0, 2)] == [[2, 2], [6, 6]]
        assert gate.threads == ["batch"] * 2


@pytest.fixture
def threads(monkeypatch):
    """Names of the threads of all runs, which take no time or `time_taken`."""
    found, run = SimpleNamespace(names=[], time_taken=0.0), Servable._run

    def noted(self: Servable, *arguments: Any) -> Any:
        found.names.append(threading.current_thread().name)
        time.sleep(found.time_taken)  # as TensorFlow, without the GIL
        return run(self, *arguments)

    monkeypatch.setattr(Servable, "_run", noted)
    return found


def test_a_request_that_is_quick_runs_in_the_event_loop(servable, tmp_path, monkeypatch, threads):
    monkeypatch.setattr(servables, "_INSTANT_SECONDS", 1.0)
    with serving(servable, tmp_path) as found:
        until(lambda: numbers(found.predict(DOUBLE, timeout=60)) == [2, 4] and threads.names[-1] == "grpc")
        assert threads.names[1].startswith("grpc_")  # after the warm-up: a thread, until it is known to be quick
        large = predict_request("double", x=np.ones((20_000, 2), np.float32))
        for _ in range(5):
            assert len(numbers(found.predict(large, timeout=60))) == 40_000
        assert all(name.startswith("grpc_") for name in threads.names[-5:])
        monkeypatch.setattr(servables, "_INSTANT_SECONDS", 0.0)
        monkeypatch.setattr(servables, "_QUICK_SECONDS", 0.0)
        for _ in range(3):
            assert numbers(found.predict(DOUBLE, timeout=60)) == [2, 4]
        assert threads.names[-1].startswith("grpc_")


def test_requests_that_are_not_that_quick_run_in_the_event_loop_one_by_one_only(
    servable, tmp_path, monkeypatch, threads
):
    monkeypatch.setattr(servables, "_INSTANT_SECONDS", 0.0)
    monkeypatch.setattr(servables, "_QUICK_SECONDS", 1.0)
    monkeypatch.setattr(grpc_service, "_TOGETHER_SECONDS", 0.1)

    def together() -> set[str]:
        answers = [found.predict.future(DOUBLE, timeout=60) for _ in range(20)]
        assert all(numbers(answer.result()) == [2, 4] for answer in answers)
        return set(threads.names[-10:])

    with serving(servable, tmp_path) as found:
        until(lambda: numbers(found.predict(DOUBLE, timeout=60)) == [2, 4] and threads.names[-1] == "grpc")
        threads.time_taken = 0.01
        until(lambda: together() == {f"grpc_{number}" for number in range(_THREADS)})
        until(lambda: numbers(found.predict(DOUBLE, timeout=60)) == [2, 4] and threads.names[-1] == "grpc")


def test_reloads_whose_callers_have_gone_hold_up_no_other(servable, tmp_path):
    with serving(servable, tmp_path) as found:
        models = model_service_pb2_grpc.ModelServiceStub(found.channel)
        never = model_management_pb2.ReloadConfigRequest()
        never.config.CopyFrom(settings.single_model(MODEL, str(tmp_path / "base")))
        now = model_management_pb2.ReloadConfigRequest()
        now.CopyFrom(never)
        never.config.model_config_list.config.add(
            name="never", base_path=str(tmp_path / "nothing"), model_platform="tensorflow"
        )
        waiting = [models.HandleReloadConfigRequest.future(never, timeout=600) for _ in range(4)]
        time.sleep(0.5)
        for future in waiting:
            future.cancel()
        assert models.HandleReloadConfigRequest(now, timeout=20).status.error_code == 0


def test_a_name_of_ipv6_is_put_in_brackets(servable):
    core = SimpleNamespace(serves=lambda: True)
    for host in ("::1", "[::1]", "::"):
        server = GrpcServer(core, host=host, port=0, max_threads=1, max_message_bytes=1000)
        server.start()
        with grpc.insecure_channel(f"[::1]:{server.port}") as channel:
            check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert check.status == health_pb2.HealthCheckResponse.SERVING
        server.stop(0)


def test_watchers_of_health_are_told_what_changes():
    status = health_pb2.HealthCheckResponse
    core = SimpleNamespace(serves=lambda: False)
    server = GrpcServer(core, host="127.0.0.1", port=0, max_threads=1, max_message_bytes=1000)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        first, second, unknown = (
            stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=60) for name in ("", "", "nope")
        )
        assert [next(watch).status for watch in (first, second)] == [status.NOT_SERVING] * 2
        assert next(unknown).status == status.SERVICE_UNKNOWN
        with pytest.raises(grpc.RpcError) as error:
            stub.Check(health_pb2.HealthCheckRequest(service="nope"), timeout=10)
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        first.cancel()
        core.serves = lambda: True
        server.update_health()
        assert next(second).status == status.SERVING
        stopping = threading.Thread(target=server.stop, args=(0.5,))
        stopping.start()
        assert next(second).status == status.NOT_SERVING
        stopping.join(20)
        assert not stopping.is_alive()
