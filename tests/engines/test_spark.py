"""The pipeline's Beam stages on a standalone cluster of Spark, of which a worker is killed. See docs/beam.md."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.test_portable import JOBS
from tests.e2e.world import end_group, recommender, start, wait_for
from tests.engines.java import asked_for
from tests.engines.spark import Spark, spark

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600), asked_for]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spark]:
    with spark(tmp_path_factory.mktemp("spark")) as running:
        yield running


def test_a_run_ends_as_in_one_process(cluster: Spark, folder: Path, check_version: Callable[[], None]) -> None:
    ended = recommender(folder, "run", "--config", "config.yaml", timeout=1800)
    assert ended.code == 0, ended.text
    assert cluster.jobs() == ["DONE"] * len(JOBS)
    check_version()


def test_a_worker_killed_in_the_middle_of_transform(
    cluster: Spark, folder: Path, check_version: Callable[[], None]
) -> None:
    done = len(cluster.jobs())
    process = start(folder, "run", "--config", "config.yaml")
    try:
        wait_for(lambda: len(cluster.jobs()) > done + JOBS.index("Transform"), "Transform", 1200)
        wait_for(lambda: cluster.ask()["activeapps"], "Transform's executors", 60)
        os.killpg(cluster.spark_workers[0].pid, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=1800)
    finally:
        end_group(process)
    assert process.returncode == 0, stdout + stderr
    check_version()
