"""A session cluster of Flink on this machine, with Beam's job server and a pool that boots Beam's workers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.beam_engine import Engine, free_port, listens, worker_pool
from tests.e2e.world import wait_for
from tests.engines.compose import compose, job_server
from tests.engines.java import jars, java

TASK_MANAGERS = 2

_BY_SCRIPT = {
    "taskmanager.cpu.cores": 1,
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "64m",
    "taskmanager.memory.task.heap.size": "256m",
    "taskmanager.memory.task.off-heap.size": "64m",
    "taskmanager.memory.managed.size": "128m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "192m",
    "taskmanager.memory.jvm-overhead.max": "192m",
}
"""What the image's start script works out."""


@dataclasses.dataclass(frozen=True)
class Flink(Engine):
    """A cluster that is running."""

    rest: int
    task_managers: list[subprocess.Popen[bytes]]

    @property
    def pipeline_args(self) -> list[str]:
        return [*super().pipeline_args, f"--parallelism={TASK_MANAGERS}"]

    def ask(self, path: str) -> Any:
        """Asks the JobManager."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}/{path}", timeout=10) as answer:
            return json.load(answer)

    def complete(self) -> bool:
        """Whether all TaskManagers have come; the JobManager answers at first that it can't say."""
        try:
            return bool(self.ask("overview")["taskmanagers"] == TASK_MANAGERS)
        except OSError:
            return False

    def running(self) -> list[str]:
        """The ids of the jobs that are at work."""
        return [job["jid"] for job in self.ask("jobs/overview")["jobs"] if job["state"] == "RUNNING"]


@contextlib.contextmanager
def flink(folder: Path) -> Iterator[Flink]:
    """Starts the cluster in a folder, and ends it."""
    classpath = f"{jars('flink')}/*"
    rest, rpc, jobs, artifacts = (free_port() for _ in range(4))
    settings = {
        **yaml.safe_load(compose("flink")["x-flink"]["environment"]["FLINK_PROPERTIES"]),
        **_BY_SCRIPT,
        "jobmanager.rpc.address": "localhost",
        "jobmanager.rpc.port": rpc,
        "jobmanager.bind-host": "localhost",
        "rest.address": "localhost",
        "rest.bind-address": "localhost",
        "rest.port": rest,
        "taskmanager.host": "localhost",
        "taskmanager.bind-host": "localhost",
        "io.tmp.dirs": folder,
    }
    (folder / "config.yaml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    configuration = ["--configDir", str(folder)]
    entry = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
    worker = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(worker_pool(folder))
        stack.enter_context(java(folder, "jobmanager", [entry, *configuration], classpath))
        task_managers = [
            stack.enter_context(java(folder, f"taskmanager-{number}", [worker, *configuration], classpath))
            for number in range(TASK_MANAGERS)
        ]
        service = [
            "org.apache.beam.runners.flink.FlinkJobServerDriver",
            *job_server("flink", folder, {"=jobmanager:8081": f"=localhost:{rest}"}),
            f"--job-port={jobs}",
            f"--artifact-port={artifacts}",
        ]
        stack.enter_context(java(folder, "service", service, classpath))
        made = Flink(folder, jobs, pool, rest, task_managers)
        wait_for(lambda: listens(jobs) and made.complete(), "the engine's start", 120)
        yield made
