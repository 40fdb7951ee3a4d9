"""Training on several workers: the same outcome as in one process, and one message when a worker is lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from pipeline.model.job import Job, Transformed
from pipeline.model.settings import TrainerSettings, TrainingSettings
from pipeline.model.workers import cluster
from tests.e2e.conftest import Small, executions, outputs
from tests.e2e.world import NAME, end_group, run, start, versions, wait_for, write_config

pytestmark = pytest.mark.slow


def training_report(folder: Path) -> dict[str, Any]:
    """What the newest Trainer wrote."""
    uri = outputs(folder / "output" / NAME, "Trainer")["model_run"].uri
    return json.loads(Path(uri, "training.json").read_text(encoding="utf-8"))


def workers_of(parent: int) -> list[int]:
    """The processes of workers that a process has started, in the order of starting."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == parent and b"pipeline.model.workers.worker" in (process / "cmdline").read_bytes():
                found.append((int(fields[19]), int(process.name)))
    return [pid for _, pid in sorted(found)]


def alive(pid: int) -> bool:
    """Whether the process is there, and not only waiting to be buried."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def checkpoints(folder: Path) -> list[Path]:
    return list(folder.glob(f"output/{NAME}/checkpoints/*/training.npz"))


def saved_models(folder: Path) -> list[Path]:
    """What Trainers have made."""
    return sorted(folder.glob(f"output/{NAME}/artifacts/Trainer/**/saved_model.pb"))


def test_two_machines_come_to_what_one_process_comes_to(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command with its own `TF_CONFIG` in two processes that share the folder, as two machines do."""
    folder = small.folder
    alone = training_report(folder)
    shutil.rmtree(folder / "models")
    clusters = cluster.on_this_machine(2)
    processes = []
    try:
        for each in reversed(clusters):  # the chief last: the other one waits
            monkeypatch.setenv(cluster.TF_CONFIG, each.to_json())
            processes.append(start(folder, "run", "--config", "config.yaml", "--from", "Trainer"))
        other, chief = processes
        stdout, stderr = chief.communicate(timeout=900)
        said, _ = other.communicate(timeout=300)
    finally:
        for process in processes:
            end_group(process)
    assert chief.returncode == 0, stdout + stderr
    assert other.returncode == 0, said
    assert "waiting for the Trainer of worker 0" in said
    assert "the training is done" in said
    assert len(executions(folder / "output" / NAME)["Trainer"]) == 2, "the one before, and one for both"
    assert len(versions(folder)) == 1
    assert not list(folder.glob(f"output/{NAME}/checkpoints/*"))
    together = training_report(folder)
    assert (together["workers"], alone["workers"]) == (2, 1)
    assert len(together["epochs"]) == len(alone["epochs"])
    for one, two in zip(alone["epochs"], together["epochs"]):
        # Other seeds give losses that differ by hundredths and metrics that differ by more.
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-3)
        assert two["ndcg@10"] == pytest.approx(one["ndcg@10"], abs=5e-3)


def test_a_lost_worker_ends_the_run_which_then_goes_on(small: Small) -> None:
    folder, passes = small.folder, 10
    long = {"training.epochs": passes, "training.patience": passes, "training.refit": False}
    write_config(folder / "config.yaml", {"training.workers": 2, **long})
    models = saved_models(folder)
    process = start(folder, "run", "--config", "config.yaml", "--only", "Trainer")
    try:
        wait_for(lambda: checkpoints(folder), "the first pass", 600)
        _, second = workers = workers_of(process.pid)
        os.kill(second, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=300)
    finally:
        end_group(process)
    assert process.returncode == 1, stdout + stderr
    [message] = [line for line in stdout.splitlines() if line.startswith("error: ")]
    assert "worker 1 of the training was killed by SIGKILL" in message
    assert "run it again" in message
    assert "Traceback" not in stdout + stderr
    assert not any(alive(pid) for pid in workers)
    assert saved_models(folder) == models
    before = checkpoints(folder)

    # What kills the run kills its workers.
    process = start(folder, "run", "--config", "config.yaml", "--only", "Trainer")
    try:
        workers = wait_for(lambda: len(found := workers_of(process.pid)) == 2 and found, "two workers", 300)
    finally:
        end_group(process)
    wait_for(lambda: not any(alive(pid) for pid in workers), "the end of the workers", 20)
    assert checkpoints(folder) == before

    again = run(folder, "--only", "Trainer")
    assert again.code == 0, again.text
    logs = sorted((folder / "output" / NAME / "logs").iterdir())
    assert "passes of a training that was stopped" in logs[-1].read_text(encoding="utf-8")
    report = training_report(folder)
    assert [epoch["epoch"] for epoch in report["epochs"]] == list(range(1, passes + 1))
    assert not checkpoints(folder)


@pytest.fixture
def job(first_run: Small, tmp_path: Path) -> Callable[..., Path]:
    """Writes a job file for the first run's data, with changes to the Trainer's settings."""
    root = first_run.folder / "output" / NAME
    config = json.loads(executions(root)["Trainer"][0].custom_properties["custom_config"].string_value)

    def write(name: str, **changes: Any) -> Path:
        inputs = Transformed(
            examples=outputs(root, "Transform")["transformed_examples"].uri,
            transform_graph=outputs(root, "Transform")["transform_graph"].uri,
            catalogue=outputs(root, "CatalogueTransform")["transformed_examples"].uri,
            catalogue_graph=outputs(root, "CatalogueTransform")["transform_graph"].uri,
        )
        settings = {**config, "checkpoints": str(tmp_path / "checkpoints"), **changes}
        cluster.write_job(
            tmp_path / name,
            Job(
                inputs=inputs,
                settings=TrainerSettings.model_validate(settings),
                model_run_dir=str(tmp_path / "run"),
                serving_model_dir=str(tmp_path / "model"),
            ),
        )
        return tmp_path / name

    return write


def watched(jobs: list[Path]) -> tuple[list[threading.Thread], dict[int, Exception]]:
    """Starts two workers as on machines of their own, and collects the errors by worker."""
    errors: dict[int, Exception] = {}

    def watch(each: cluster.Cluster) -> None:
        try:
            cluster.watch(jobs[each.index], [each])
        except (InputError, cluster.WorkerError) as error:
            errors[each.index] = error

    threads = [threading.Thread(target=watch, args=(each,)) for each in cluster.on_this_machine(2)]
    for thread in threads:
        thread.start()
    return threads, errors


def test_workers_that_would_train_apart_say_so(job: Callable[..., Path], tmp_path: Path) -> None:
    """Such as one that still has the job of an earlier run."""
    threads, errors = watched([job("one", seed=1), job("other", seed=2)])
    for thread in threads:
        thread.join(300)
    assert len(errors) == 2
    for error in errors.values():
        assert isinstance(error, InputError)
        assert "different code, settings, data or checkpoints" in str(error)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "model").exists()


def test_a_lost_machine_ends_the_training_on_the_others(job: Callable[..., Path], tmp_path: Path) -> None:
    same = job("job", training=TrainingSettings(epochs=900, patience=900))
    threads, errors = watched([same, same])
    wait_for(lambda: list(tmp_path.glob("checkpoints/*/training.npz")), "the first pass", 300)
    [lost] = [pid for pid in workers_of(os.getpid()) if b'"index": 1' in Path(f"/proc/{pid}/environ").read_bytes()]
    os.kill(lost, signal.SIGKILL)
    for thread in threads:
        thread.join(60)
    assert str(errors[1]).startswith("worker 1 of the training was killed by SIGKILL")
    assert str(errors[0]).startswith("worker 0 of the training can't reach another one any more: ")
    assert "\n" not in str(errors[0])
    assert not (tmp_path / "model").exists()
