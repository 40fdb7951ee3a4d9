"""A Beam engine of other processes on this machine: Beam's local job service, and a pool that boots its workers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from tests import forks
from tests.e2e import beam_boot
from tests.e2e.world import environment, wait_for


@dataclasses.dataclass(frozen=True)
class Engine:
    """A job service that is running."""

    folder: Path
    port: int
    pool: int

    @property
    def pipeline_args(self) -> list[str]:
        """`beam.pipeline_args` that send the work there."""
        return [
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{self.port}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{self.pool}",
        ]

    def jobs(self) -> list[str]:
        """The states of all jobs that were ever given to it."""
        with grpc.insecure_channel(f"localhost:{self.port}") as channel:
            stub = beam_job_api_pb2_grpc.JobServiceStub(channel)
            found = stub.GetJobs(beam_job_api_pb2.GetJobsRequest()).job_info
        return [beam_job_api_pb2.JobState.Enum.Name(job.state) for job in found]

    def workers(self) -> dict[int, Any]:
        """What the workers that have ended left behind, by process."""
        return {int(path.stem): json.loads(path.read_text()) for path in (self.folder / "workers").glob("*.json")}


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """Starts the engine in a folder, where the checkout is not on the path, and ends it."""
    port = folder / "port"
    service = ["-m", "apache_beam.runners.portability.local_job_service_main", "--port_file", str(port)]
    with worker_pool(folder) as pool, _python(folder, "service", service, _apart()):
        wait_for(port.exists, "the job service's start", 120)
        yield Engine(folder, int(port.read_text()), pool)


@contextlib.contextmanager
def worker_pool(folder: Path) -> Iterator[int]:
    """Starts a pool that boots workers in a folder, where the checkout is not on the path; returns its port."""
    (folder / "workers").mkdir(parents=True)
    port, boot = free_port(), str(folder / "boot")
    command = [
        "-c",
        "from tests.e2e.beam_boot import pool; pool()",
        f"--service_port={port}",
        f"--container_executable={boot}",
    ]
    variables = {beam_boot.FOLDER: str(folder), beam_boot.BOOT: boot, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with _python(folder, "pool", command, {**_apart(), **variables}):
        wait_for(lambda: listens(port), "the worker pool's start", 120)
        yield port


def _apart() -> dict[str, str]:
    return {name: value for name, value in environment().items() if name != "PYTHONPATH"}


@contextlib.contextmanager
def _python(folder: Path, name: str, command: list[str], variables: Mapping[str, str]) -> Iterator[None]:
    with open(folder / f"{name}.log", "wb") as log:
        process = forks.PopenOfLibraries(
            [sys.executable, *command], cwd=folder, env=variables, stdout=log, stderr=log, start_new_session=True
        )
    with ended(process):
        yield


@contextlib.contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Kills a process and all that it has started in the end."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody listens on a port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
