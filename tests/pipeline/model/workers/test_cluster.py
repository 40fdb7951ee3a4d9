"""The workers of a training: what `TF_CONFIG` may say, and what becomes of processes that fail."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.errors import InputError
from pipeline.failures import FAILED, explain
from pipeline.model.job import Job, Transformed
from pipeline.model.settings import ModelSettings, TrainerSettings, TrainingSettings
from pipeline.model.workers import cluster
from pipeline.model.workers.cluster import (
    Cluster,
    WorkerError,
    environments,
    from_environment,
    on_this_machine,
    watch,
    write_job,
)

TWO = {"worker": ["a:2222", "b:2222"]}


def config(**values: object) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps(values)}


def test_the_cluster_of_the_environment() -> None:
    task = {"type": "worker", "index": 1}
    found = from_environment(config(cluster=TWO, task=task))
    assert found == Cluster(("a:2222", "b:2222"), 1)
    assert not found.is_chief
    # Kubeflow's training operator writes the index as text.
    assert from_environment(config(cluster=TWO, task={"type": "worker", "index": "0"})).is_chief


@pytest.mark.parametrize("environment", [{}, {"TF_CONFIG": " "}, config(), config(cluster={"worker": ["a:1"]})])
def test_no_cluster(environment: dict[str, str]) -> None:
    assert from_environment(environment) is None


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TF_CONFIG": "{'cluster'"}, "can't be read"),
        ({"TF_CONFIG": "[1]"}, "can't be read"),
        (config(cluster=["a:1", "b:1"]), "can't be read"),
        (config(cluster={"worker": 3}), "can't be read"),
        (config(cluster=TWO, task={"type": "worker", "index": "first"}), "can't be read"),
        (config(cluster=TWO, task={"type": "worker", "index": 2}), "task.index 2: there are workers 0 to 1"),
        (config(cluster=TWO, task={"type": "worker", "index": -1}), "task.index -1"),
        (config(cluster=TWO, task={"type": "evaluator", "index": 0}), "knows evaluator"),
        (config(cluster={**TWO, "ps": ["c:1"], "chief": ["d:1"]}), "knows chief, ps"),
        (config(cluster={"worker": ["a:1", "b"]}), "'b', which is no host:port"),
        (config(cluster={"worker": ["a:1", "b:70000"]}), "'b:70000', which is no host:port"),
        (config(cluster={"worker": ["a:1", 7]}), "7, which is no host:port"),
        (config(cluster={"worker": ["a:1", "a:1"]}), "an address twice"),
    ],
)
def test_a_wrong_cluster_is_named(environment: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=r"^TF_CONFIG") as raised:
        from_environment(environment)
    assert message in str(raised.value)


@given(st.integers(2, 5).flatmap(lambda count: st.tuples(st.just(count), st.integers(0, count - 1))))
def test_what_is_written_is_read(numbers: tuple[int, int]) -> None:
    count, index = numbers
    made = Cluster(tuple(f"host{number}:2222" for number in range(count)), index)
    assert from_environment({"TF_CONFIG": made.to_json()}) == made


def test_workers_on_this_machine_have_ports_of_their_own() -> None:
    clusters = on_this_machine(3)
    assert [each.index for each in clusters] == [0, 1, 2]
    assert len({each.workers for each in clusters}) == 1
    assert len(set(clusters[0].workers)) == 3
    assert all(address.startswith("127.0.0.1:") for address in clusters[0].workers)


def test_workers_share_cores_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    made = environments(on_this_machine(2), {"CUDA_VISIBLE_DEVICES": "0,1,4,7"})
    assert [each["CUDA_VISIBLE_DEVICES"] for each in made] == ["0,4", "1,7"]
    assert [each["TF_NUM_INTRAOP_THREADS"] for each in made] == ["3", "3"]
    assert [json.loads(each["TF_CONFIG"])["task"]["index"] for each in made] == [0, 1]
    with pytest.raises(InputError, match="workers 2: 3 GPUs can't be shared evenly"):
        environments(on_this_machine(2), {"CUDA_VISIBLE_DEVICES": "0,1,4"})
    [alone] = environments(on_this_machine(2)[1:], {"CUDA_VISIBLE_DEVICES": "0,1,4"})
    assert alone["CUDA_VISIBLE_DEVICES"] == "0,1,4"
    assert "TF_NUM_INTRAOP_THREADS" not in alone


@pytest.mark.slow
@pytest.mark.smoke
def test_a_port_in_use_is_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "job"
    write_job(file, make_job(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(WorkerError, match=f"port {port} of worker 127.0.0.1:{port} can't be had") as raised:
            watch(file, [Cluster(("127.0.0.1:1", f"127.0.0.1:{port}"), 1)])
    assert time.monotonic() - started < 30
    assert explain(raised.value).exit_code == FAILED
    assert explain(raised.value).expected


def test_free_ports_are_looked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def taken_twice(file: Path, clusters: list[Cluster]) -> None:
        tried.append(clusters[0].workers)
        if len(tried) < 3:
            raise cluster._PortTakenError("port 1 …")

    monkeypatch.setattr(cluster, "watch", taken_twice)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert cluster.train_on_workers(make_job(tmp_path, workers=2))
    assert len(set(tried)) == 3


@pytest.mark.slow
@pytest.mark.smoke
def test_a_worker_that_fails_is_named_with_its_error(tmp_path: Path) -> None:
    file = tmp_path / "job"
    file.write_text("no JSON")
    with pytest.raises(WorkerError, match=r"worker [01] of the training failed: JSONDecodeError"):
        watch(file, on_this_machine(2))


@pytest.mark.parametrize(
    ("codes", "errors", "message"),
    [
        # Whoever lost another worker is not to blame.
        ({0: 1, 1: -9}, {0: {"error": "x", "kind": "lost"}}, "worker 1 of the training was killed by SIGKILL"),
        ({0: 1, 1: 3}, {0: {"error": "x", "kind": "lost"}}, "worker 1 of the training ended with code 3"),
        (
            {0: 1, 1: 1},
            {0: {"error": "x", "kind": "lost"}, 1: {"error": "KeyError: 'a'", "kind": "other"}},
            "worker 1 of the training failed: KeyError: 'a'",
        ),
        ({0: 1, 1: -9}, {0: {"error": "diverged", "kind": "input"}}, "diverged"),
        ({0: 1}, {0: {"error": "x", "kind": "lost"}}, "worker 0 of the training can't reach another one any more"),
    ],
)
def test_the_first_reason_is_told(codes: dict[int, int], errors: dict[int, dict[str, str]], message: str) -> None:
    reason = cluster._reason([Cluster(("a:1", "b:1"), index) for index in range(2)], codes, errors)
    assert str(reason).startswith(message)
    assert isinstance(reason, InputError) == (message == "diverged")


def make_job(folder: Path, history: str = "pooling", **training: object) -> Job:
    settings = TrainerSettings(
        seed=1,
        features={},
        query_features={},
        user_features=(),
        max_history=1,
        hold_out="latest",
        checkpoints=str(folder),
        model=ModelSettings(history=history),
        training=TrainingSettings(**training),
    )
    inputs = Transformed(**{name: name for name in Transformed.model_fields})
    return Job(inputs=inputs, settings=settings, model_run_dir="run", serving_model_dir="model")


def test_one_worker_is_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert not cluster.train_on_workers(make_job(tmp_path))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 2}, "TF_CONFIG names the workers already"),
        ({"jit_compile": True}, "training.jit_compile"),
        ({"history": "transformer"}, "model.history transformer: .* unset TF_CONFIG"),
    ],
)
def test_settings_that_do_not_go_with_several_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], message: str
) -> None:
    monkeypatch.setenv("TF_CONFIG", Cluster(("a:1", "b:1"), 0).to_json())
    with pytest.raises(InputError, match=message):
        cluster.train_on_workers(make_job(tmp_path, **settings))
    assert not list(tmp_path.iterdir())


def test_the_chief_takes_its_job_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Cluster(("a:1", "b:1"), 0)
    monkeypatch.setenv("TF_CONFIG", made.to_json())

    def fails(file: Path, clusters: list[Cluster]) -> None:
        assert Job.model_validate_json(file.read_text()) == make_job(tmp_path)
        assert clusters == [made]
        raise WorkerError("lost")

    monkeypatch.setattr(cluster, "watch", fails)
    with pytest.raises(WorkerError):
        cluster.train_on_workers(make_job(tmp_path))
    assert not list(tmp_path.iterdir())
