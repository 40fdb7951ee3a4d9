"""`recommender versions`, `promote`, `rollback`, `retire`, `history` and `canary`, as a user types them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.versions import publish
from serving.client import ModelNotFound, RecommenderClient
from serving.promotion import files
from serving.server.ports import free_port
from serving.server.process import EMBEDDED, ServerProcess, environment
from serving.stores import ObjectPath
from tests.components.conftest import s3 as s3
from tests.components.stores import enter, make_bucket
from tests.pipeline.cli.command import COMMAND, recommender
from tests.serving import tiny_servable
from tests.serving.fixtures import MODEL, tiny
from tests.serving.server.running import wait_until

pytestmark = pytest.mark.slow

RELEASE = {
    "time": "2026-01-02T03:04:05+00:00",
    "fingerprint": "",
    "blessed": True,
    "checks": [],
    "metrics": {"hit_rate@10": 0.25, "ndcg@10": 0.125},
    "lineage": {"parent": "1", "data": "4 rows read", "code": "1.0 f00", "run": "r1"},
}


class World:
    """A base path with versions 1, 2 and one that the Pusher pushed, and a server."""

    def __init__(self, base: Path, servable: Path, second_servable: Path, third_servable: Path):
        self.base = base
        shutil.copytree(servable, base / MODEL / "1")
        shutil.copytree(second_servable, base / MODEL / "2")
        self.pushed = publish(third_servable, base / MODEL, RELEASE).number
        self.server = ServerProcess(base, MODEL, binary=EMBEDDED)

    def run(self, *arguments: str, code: int = 0, target: str = "") -> str:
        """Runs a command; returns what it printed, on standard error too where it failed."""
        ended = recommender(
            *arguments, "--base-path", str(self.base), "--name", MODEL, *self._target(arguments, target)
        )
        assert ended.returncode == code, ended.stderr
        return ended.stderr if code in (1, 2) else ended.stdout

    def _target(self, arguments: tuple[str, ...], target: str) -> tuple[str, ...]:
        if arguments[0] == "history" or arguments[:2] == ("canary", "share"):
            return ()
        return "--target", target or self.server.grpc_target

    def listed(self) -> list[list[str]]:
        """Of each version: number, labels, state on the replica, and whether it is blessed."""
        return [
            [
                str(row["version"]),
                ",".join(row["labels"]),
                *(state or "" for state in row["states"].values()),
                "yes" if row["release"] and row["release"]["blessed"] else "unknown",
            ]
            for row in json.loads(self.run("versions", "--json"))["versions"]
        ]

    def answering(self, label: str) -> int:
        """The version that answers by a label, as its scores say."""
        with RecommenderClient(self.server.grpc_target, model=MODEL, label=label) as client:
            return int(client.recommend(k=1)[0].score // 1000)


@pytest.fixture
def world(
    tmp_path: Path, servable: Path, second_servable: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    made = World(tmp_path, servable, second_servable, tiny(tmp_path_factory, 3))
    with made.server:
        yield made


def test_a_week_of_promotions(world: World) -> None:
    pushed = str(world.pushed)
    assert world.listed() == [
        ["1", "", "", "unknown"],
        ["2", "", "", "unknown"],
        [pushed, "", "AVAILABLE", "yes"],
    ]
    done = world.run("promote", "1", "--label", "stable", "--why", "a start", "--as", "ann")
    assert done == f"✓ {MODEL}: stable is version 1 on 1 of 1 replicas\n"
    assert world.answering("stable") == 1
    world.run("promote", "2", "--label", "stable")
    assert "version 2 has the label stable" in world.run("retire", "2", code=2)

    world.run("canary", "start", pushed, "--share", "0.05")
    assert (world.answering("stable"), world.answering("canary")) == (2, 3)
    asked = recommender("query", "--target", world.server.grpc_target, "--name", MODEL, "--label", "stable")
    assert f"{MODEL} version 2" in asked.stdout
    assert "share 0.2 of the users goes to version" in world.run("canary", "share", "0.2")
    assert world.listed() == [
        ["1", "", "AVAILABLE", "unknown"],
        ["2", "stable", "AVAILABLE", "unknown"],
        [pushed, "canary", "AVAILABLE", "yes"],
    ]
    figures = json.loads(world.run("canary", "compare", "--json", "-n", "20", "--max-p99-ratio", "1000"))
    assert (figures["passed"], figures["overlap"], figures["canary"]["errors"]) == (True, 1.0, 0)
    # The verdict is carried out. Lists without items have nothing in common.
    queries = world.base / "queries.jsonl"
    queries.write_text(json.dumps({"exclude": tiny_servable.ITEMS}))
    said = world.run("canary", "compare", "-n", "4", "--queries", str(queries), "--auto", code=3)
    assert "not kept: overlap with stable's items: there is none to measure, at least 0.1 is wanted" in said
    assert world.answering("canary") == 2
    assert files.read_share(world.base, MODEL) == 0
    world.run("canary", "start", pushed, "--share", "0.05")
    assert "stable is version" in world.run("canary", "compare", "-n", "20", "--max-p99-ratio", "1000", "--auto")
    assert world.answering("stable") == world.answering("canary") == 3
    assert files.read_share(world.base, MODEL) == 0

    assert "before: " + pushed in world.run("rollback", "--why", "complaints")
    assert world.answering("stable") == world.answering("canary") == 2
    world.run("retire", pushed)
    assert [row[0] for row in world.listed()] == ["1", "2"]

    entries = json.loads(world.run("history", "--json"))
    assert [(e["action"], e["label"], e["from_version"], e["to_version"]) for e in entries] == [
        ("promote", "stable", None, 1),
        ("promote", "stable", 1, 2),
        ("promote", "canary", None, world.pushed),
        ("canary share", None, None, world.pushed),
        ("canary share", None, None, world.pushed),
        ("canary stop", "canary", world.pushed, 2),
        ("promote", "canary", 2, world.pushed),
        ("canary share", None, None, world.pushed),
        ("promote", "stable", 2, world.pushed),
        ("rollback", "stable", world.pushed, 2),
        ("retire", None, world.pushed, None),
    ]
    assert (entries[0]["who"], entries[0]["why"]) == ("ann", "a start")
    assert entries[2]["metrics"] == RELEASE["metrics"]
    assert "complaints" in world.run("history")

    # A server that starts now takes all of it from the file.
    with (
        ServerProcess(
            world.base, MODEL, binary=EMBEDDED, flags=[f"--model_config_file={world.base}/models.config", *LABELS_FIRST]
        ) as second,
        RecommenderClient(second.grpc_target, model=MODEL, label="stable") as client,
    ):
        assert client.recommend().version == 2


LABELS_FIRST = ["--allow_version_labels_for_unavailable_models=true"]


def test_what_a_careless_user_does(world: World) -> None:
    assert "no version 12 (there are: 1, 2, " in world.run("promote", "12", "--label", "stable", code=2)
    assert "Invalid value for '--label'" in world.run("promote", "1", "--label", "beta", code=2)
    assert "there is no earlier stable version on disk" in world.run("rollback", code=2)
    assert "promote one to stable first" in world.run("canary", "start", "1", "--share", "0.1", code=2)
    assert "no version under trial to compare" in world.run("canary", "compare", code=2)
    assert "leave out --offline, or stop it first" in world.run(
        "promote", "1", "--label", "stable", "--offline", code=2
    )
    nobody = f"127.0.0.1:{free_port()}"
    assert f"no model server that serves {MODEL} at {nobody}" in world.run(
        "promote", "1", "--label", "stable", code=1, target=nobody
    )
    assert "write it as host:port" in world.run("versions", code=2, target="no port")
    broken = world.base / MODEL / "1" / "saved_model.pb"
    broken.write_bytes(b"\x08\x01garbage")
    said = world.run("promote", "1", "--label", "stable", code=1)
    assert "version 1 can't be loaded" in said
    assert "Everything is as it was before" in said
    assert "Traceback" not in said
    assert not (world.base / "models.config").exists()
    with RecommenderClient(world.server.grpc_target, model=MODEL) as client:
        assert client.recommend().version == world.pushed
    with (
        RecommenderClient(world.server.grpc_target, model=MODEL, version=1) as client,
        pytest.raises(ModelNotFound),
    ):
        client.recommend()
    listed = json.loads(world.run("versions", "--json", target=nobody))
    assert (listed["down"], listed["interrupted"]) == ([nobody], False)
    assert listed["versions"][-1]["release"]["lineage"]["run"] == "r1"


def test_a_base_path_in_a_store(
    s3: dict[str, str], servable: Path, second_servable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(s3, monkeypatch)
    make_bucket("s3://served")
    base, port = ObjectPath("s3://served/models"), free_port()
    target = f"127.0.0.1:{port}"
    place = ("--base-path", str(base), "--name", MODEL)
    first = publish(servable, base / MODEL, RELEASE).number

    def run(*arguments: str, asks: bool = True, code: int = 0) -> str:
        ended = recommender(*arguments, *place, *(("--target", target) if asks else ()))
        assert ended.returncode == code, ended.stderr + ended.stdout
        return ended.stdout

    def answering() -> tuple[int | None, float]:
        with RecommenderClient(target, model=MODEL) as client:
            answer = client.recommend("ann", k=2)
            return answer.version, answer[0].score // 1000

    ports = ("--port", str(port), "--rest-port", "0", "--", "--file_system_poll_wait_seconds=0.1")
    server = subprocess.Popen([*COMMAND, "serve", *place, *ports], env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == (
            f"serving {MODEL} version {first} from {base / MODEL} by the embedded model server\n"
        )
        assert any(line.startswith("ready ") for line in server.stdout)
        assert answering() == (first, 0)
        second = publish(second_servable, base / MODEL, RELEASE).number
        wait_until(lambda: answering() == (second, 1), 20)
        run("promote", str(first), "--label", "stable", "--why", "first")
        assert answering() == (first, 0)
        run("canary", "start", str(second), "--share", "0.5")
        run("canary", "compare", "--num-queries", "20", "--min-overlap", "0", "--max-p99-ratio", "1000")
        run("promote", str(second), "--label", "stable")
        assert answering() == (second, 1)
        run("rollback")
        [*older, last] = json.loads(run("history", "--json", asks=False))
        assert [entry["action"] for entry in older] == ["promote", "promote", "canary share", "promote"]
        assert (last["action"], last["result"], last["to_version"]) == ("rollback", "done", first)
        assert "lines as they were written" in run("history", "--verify", asks=False)
        listed = json.loads(run("versions", "--json"))
        assert (listed["base_path"], listed["labels"]["stable"]) == (str(base), first)
        assert [row["release"] for row in listed["versions"]] == [RELEASE, RELEASE]
        run("canary", "stop")
        run("retire", str(second))
        assert files.versions_on_disk(base, MODEL) == [first]
    finally:
        server.kill()
        server.wait()
