"""The pipeline's Beam stages on a session cluster of Flink, of which a TaskManager is killed. See docs/beam.md."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.test_portable import JOBS
from tests.e2e.world import end_group, recommender, start, wait_for
from tests.engines.flink import Flink, flink
from tests.engines.java import asked_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600), asked_for]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flink]:
    with flink(tmp_path_factory.mktemp("flink")) as running:
        yield running


def test_a_run_ends_as_in_one_process(cluster: Flink, folder: Path, check_version: Callable[[], None]) -> None:
    ended = recommender(folder, "run", "--config", "config.yaml", timeout=1800)
    assert ended.code == 0, ended.text
    assert cluster.jobs() == ["DONE"] * len(JOBS)
    check_version()


def test_a_task_manager_killed_in_the_middle_of_transform(
    cluster: Flink, folder: Path, check_version: Callable[[], None]
) -> None:
    done = len(cluster.jobs())
    process = start(folder, "run", "--config", "config.yaml")
    try:
        wait_for(lambda: len(cluster.jobs()) > done + JOBS.index("Transform") and cluster.running(), "Transform", 1200)
        os.killpg(cluster.task_managers[0].pid, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=1800)
    finally:
        end_group(process)
    assert process.returncode == 0, stdout + stderr
    check_version()
