"""One real run of a small world, shared by all tests of the room."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from tests.e2e import world as small_world
from tests.e2e.world import NAME, Ended, World


@dataclasses.dataclass(frozen=True)
class Small:
    """A folder with a world and what a run has made of it."""

    folder: Path
    world: World
    ended: Ended
    unloadable: frozenset[Path]
    """Versions that were seen without a SavedModel while it ran."""

    @property
    def root(self) -> Path:
        """Artifacts, metadata and logs."""
        return self.folder / "output" / NAME

    def artifact(self, node: str, key: str) -> Any:
        """The newest output artifact of a node, from MLMD."""
        return outputs(self.root, node)[key]


class Watch:
    """Looks at a model's versions all the time and remembers those that no server could load."""

    def __init__(self, folder: Path) -> None:
        self.unloadable: set[Path] = set()
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.005):
            for version in small_world.versions(self._folder):
                if not (version / "saved_model.pb").is_file():
                    self.unloadable.add(version)


def store(root: Path) -> Any:
    """The MLMD store of a root."""
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(root / "metadata.sqlite")
    return metadata_store.MetadataStore(connection)


def executions(root: Path) -> dict[str, list[Any]]:
    """Executions by node, oldest first."""
    metadata = store(root)
    found = {}
    for context in metadata.get_contexts_by_type("node"):
        node = context.name.removeprefix(f"{NAME}.")
        found[node] = sorted(metadata.get_executions_by_context(context.id), key=lambda execution: execution.id)
    return found


def outputs(root: Path, node: str) -> dict[str, Any]:
    """Artifacts by key of a node's newest execution."""
    from ml_metadata.proto import metadata_store_pb2

    metadata = store(root)
    events = metadata.get_events_by_execution_ids([executions(root)[node][-1].id])
    keys = {
        event.artifact_id: event.path.steps[0].key for event in events if event.type == metadata_store_pb2.Event.OUTPUT
    }
    return {keys[artifact.id]: artifact for artifact in metadata.get_artifacts_by_id(list(keys))}


def fingerprint(version: Path) -> str:
    """Digest of all that decides a version's answers."""
    from components.versions import fingerprint as read

    return read(version)


@pytest.fixture
def folder(world: World, tmp_path: Path) -> Path:
    """A folder with the world's files and config, nothing run yet."""
    small_world.write_world(world, tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def _untouched(first_run: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the first run's folder."""
    return Path(shutil.copytree(first_run.folder, tmp_path_factory.mktemp("untouched") / "copy"))


@pytest.fixture
def small(first_run: Small, _untouched: Path) -> Iterator[Small]:
    """The first run, for tests that go on from there; what they change is put back.

    In its own place, since MLMD holds absolute paths.
    """
    yield first_run
    for path in first_run.folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(_untouched, first_run.folder, dirs_exist_ok=True)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Calls `recommender` in this process, where TensorFlow and TFX are imported once: cli(folder, "run", …)."""
    from pipeline.cli import main

    def call(folder: Path, *arguments: str) -> Ended:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["recommender", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        stdout, stderr = capfd.readouterr()
        return Ended(int(ended.value.code or 0), stdout, stderr, 0.0)

    return call
