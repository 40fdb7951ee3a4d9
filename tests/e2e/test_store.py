"""A pipeline whose output and base path are in an object store: machines that come and go, and one state."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.server.ports import free_port
from serving.server.process import EMBEDDED, ServerProcess
from serving.stores import ObjectPath
from tests import forks
from tests.components.conftest import s3 as s3
from tests.components.stores import enter, new_bucket
from tests.e2e.world import (
    NAME,
    NODES,
    World,
    end_group,
    environment,
    parse_line,
    wait_for,
    write_config,
    write_log,
    write_world,
)

pytestmark = pytest.mark.slow

LEASE_SECONDS = 12
LOOK_AROUND = {"Guards", "Champion", "Pusher"}
"""Nodes that go by what was pushed last, of which none is cached after the first push."""
FORGOTTEN = "u123456789012345678901234567890123456789"
"""A user of the world."""


class Machine:
    """A machine with a folder of its own, and nothing in it.

    Args:
        folder: Where the world lies.
        number: Its own.
    """

    def __init__(self, folder: Path, number: int):
        self._folder = folder
        self.work = folder / f"machine {number}"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts `recommender`, whose leases run out sooner."""
        program = (
            f"from serving import stores; stores.LEASE_SECONDS = {LEASE_SECONDS}; from pipeline.cli import main; main()"
        )
        return forks.Popen(
            [sys.executable, "-c", program, *arguments, "--config", "config.yaml"],
            cwd=self._folder,
            env={**environment(), "RECOMMENDER_WORK": str(self.work)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Runs `recommender` to its end; returns what it prints."""
        process = self.start(*arguments)
        stdout, stderr = process.communicate(timeout=600)
        assert process.returncode == code, stdout + stderr
        return stdout

    def run(self) -> dict[str, str]:
        """Runs the pipeline; returns states by node."""
        return states(self("run"))


def states(text: str) -> dict[str, str]:
    """States by node in what a run prints."""
    return {line.node: line.state for line in map(parse_line, text.split("\n")) if line}


@pytest.fixture
def bucket(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectPath]:
    """An empty bucket."""
    enter(s3, monkeypatch)
    return new_bucket("s3")


@pytest.mark.timeout(1800)
def test_a_machine_is_killed_and_others_go_on(world: World, bucket: ObjectPath, tmp_path: Path) -> None:
    write_world(world, tmp_path)
    changes = {
        "output": f"{bucket}/runs",
        "serving.base_path": f"{bucket}/models",
        "training.epochs": 4,
        "serving.ship": "judged",
    }
    write_config(tmp_path / "config.yaml", {**changes, "evaluation.baselines.names": ["popularity"]})
    place = bucket / "runs" / NAME
    one, two, three = (Machine(tmp_path, number) for number in range(3))
    process = one.start("run")
    try:
        assert process.stdout is not None
        for text in process.stdout:
            if (line := parse_line(text)) and line.node == "CatalogueTransform":
                break
        said = two("run", code=4)
        assert f"{place}: another run is at work here (process {process.pid}" in said
        # A pass of the training is put as it is done.
        wait_for(lambda: any(name.startswith("checkpoints/") for name in place.files()), "a checkpoint", 300)
    finally:
        end_group(process)
    wait_for(lambda: json.loads((place / ".lock").read_bytes())["until"] < time.time(), "the lease's end")
    resumed = two("run")
    found = states(resumed)
    assert set(found) == {node for node in NODES if node != "AllEvents" and not node.startswith("Shipped")}
    before = NODES[: NODES.index("Trainer")]
    assert {found[node] for node in before} == {"cached"}
    assert found["Trainer"] == "done"
    assert "going on after" in (log_of(place))
    assert f"report: {place}/report.html" in resumed
    assert (place / "report.html").read_bytes().startswith(b"<!DOCTYPE html>")
    [version] = (bucket / "models" / NAME).glob("[0-9]*")
    again = three.run()
    assert {node for node, state in again.items() if state != "cached"} <= LOOK_AROUND
    assert [*(bucket / "models" / NAME).glob("[0-9]*")] == [version], "the same fingerprint is not pushed again"
    one("report", "--out", "page.html")
    assert (tmp_path / "page.html").stat().st_size > 100_000


@pytest.mark.timeout(1800)
def test_each_day_another_machine(world: World, bucket: ObjectPath, tmp_path: Path) -> None:
    """A run and a night, somebody who is forgotten, a version that is made again, and a search of settings."""
    days = sorted(event.time for event in world.events)
    write_world(world, tmp_path)
    log = tmp_path / "data" / "interactions.csv"
    write_log(log, [event for event in world.events if event.time < days[int(0.95 * len(days))]])
    server = ServerProcess(bucket / "models", NAME, grpc_port=free_port(), binary=EMBEDDED)
    changes = {
        "output": f"{bucket}/runs",
        "serving.base_path": f"{bucket}/models",
        "serving.replicas": [server.grpc_target],
        "serving.ship": "judged",
        "training.epochs": 4,
        "evaluation.baselines.names": ["popularity"],
        "nightly": {"max_age_days": 10_000, "trial": {"num_queries": 20, "max_p99_ratio": 1e6}},
        "tuning": {"trials": 1, "space": {"model.dim": {"choices": [8]}}},
    }
    write_config(tmp_path / "config.yaml", changes)
    place = bucket / "runs" / NAME
    one, two, three, four, five = (Machine(tmp_path, number) for number in range(5))

    def numbers() -> list[int]:
        return sorted(int(path.name) for path in (bucket / "models" / NAME).glob("[0-9]*"))

    one.run()
    [first] = numbers()
    with server:
        one("promote", str(first), "--label", "stable")
        write_log(log, world.events)
        night = json.loads(two("nightly", "--json"))
        [_, second] = numbers()
        assert night["labels"]["stable"] == second, night
        assert three.run()["Trainer"] == "cached"
        assert [night["code"] for night in json.loads(three("status", "--json"))["nights"]] == [0]

        assert has(bucket, FORGOTTEN)
        three("forget", "--user", FORGOTTEN)
        assert has(bucket, FORGOTTEN) == set()
        third = numbers()[-1]
        assert third > second, "what serves is put anew, without the user"
    before = set(place.files())
    assert four("reproduce", str(third), code=3), "it was made by forget, not by a run"
    assert set(place.files()) == before
    five("tune")
    assert "dim: 8" in (place / "tuning" / "best.yaml").read_text()


def has(bucket: ObjectPath, text: str) -> set[str]:
    """The objects in which a text stands, in those that are compressed too."""
    found = set()
    for name in bucket.files():
        content = (bucket / name).read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        if text.encode() in content:
            found.add(name)
    return found


def log_of(place: ObjectPath) -> str:
    """All logs of a pipeline."""
    return "".join((place / name).read_text() for name in place.files() if name.startswith("logs/"))
