"""A standalone cluster of Spark on this machine, with Beam's job server and a pool that boots Beam's workers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.e2e.beam_engine import Engine, free_port, listens, worker_pool
from tests.e2e.world import wait_for
from tests.engines.compose import job_server
from tests.engines.java import jars, java

WORKERS = 2

_SETTINGS = {
    "spark.driver.host": "localhost",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.executor.memory": "512m",
    "spark.executor.cores": "1",
    "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.ui.enabled": "false",
}


@dataclasses.dataclass(frozen=True)
class Spark(Engine):
    """A cluster that is running."""

    page: int
    spark_workers: list[subprocess.Popen[bytes]]

    def ask(self) -> Any:
        """Asks the master."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.page}/json/", timeout=10) as answer:
            return json.load(answer)


@contextlib.contextmanager
def spark(folder: Path) -> Iterator[Spark]:
    """Starts the cluster in a folder, and ends it."""
    (folder / "jars").symlink_to(jars("spark"))
    classpath = f"{folder}/jars/*"
    variables = {
        "SPARK_HOME": str(folder),
        "SPARK_SCALA_VERSION": "2.12",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(folder / "scratch"),
    }
    page, port, jobs, artifacts = (free_port() for _ in range(4))
    url = f"spark://localhost:{port}"
    master = ["org.apache.spark.deploy.master.Master", "--host=localhost", f"--port={port}", f"--webui-port={page}"]
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(worker_pool(folder))
        master = [part for option in master for part in option.split("=")]
        stack.enter_context(java(folder, "master", master, classpath, variables=variables))
        wait_for(lambda: listens(port), "the master's start", 60)
        worker = (
            "org.apache.spark.deploy.worker.Worker --host localhost --webui-port 0 --cores 1 --memory 1g --work-dir"
        )
        workers = [
            stack.enter_context(
                java(
                    folder,
                    f"worker-{number}",
                    [*worker.split(), str(folder / "work"), url],
                    classpath,
                    variables=variables,
                )
            )
            for number in range(WORKERS)
        ]
        service = [
            *(f"-D{key}={value}" for key, value in _SETTINGS.items()),
            "org.apache.beam.runners.spark.SparkJobServerDriver",
            *job_server("spark", folder, {"=spark://spark-master:7077": f"={url}"}),
            f"--job-port={jobs}",
            f"--artifact-port={artifacts}",
        ]
        stack.enter_context(java(folder, "service", service, classpath, variables=variables))
        made = Spark(folder, jobs, pool, page, workers)
        wait_for(lambda: listens(jobs), "the engine's start", 120)
        wait_for(lambda: made.ask()["aliveworkers"] == WORKERS, "the workers' coming", 60)
        yield made
