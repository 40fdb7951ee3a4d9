"""One real run of a small world, shared by all tests of the room."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

import pytest

from tests.e2e import world as small_world
from tests.e2e.world import NAME, Ended, World


@dataclasses.dataclass(frozen=True)
class Small:
    """A folder with a world and what a run has made of it."""

    folder: Path
    world: World
    ended: Ended
    unloadable: frozenset[Path] = frozenset()
    """Versions that were seen without a SavedModel while it ran."""
    untouched: Optional[Path] = None
    """Where all of the folder lies once more; None for a copy, which is good for reading only."""

    @property
    def root(self) -> Path:
        """Artifacts, metadata and logs."""
        return self.folder / "output" / NAME

    @property
    def judged(self) -> Path:
        """The servable that was judged, for which another one was shipped."""
        return Path(self.artifact("Indexer", "model").uri, "Format-Serving")

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


def make_first_run(world: World, folder: Path, shared: Path) -> Small:
    """Runs a world in a folder, and puts what `take_copy` needs into another one."""
    small_world.write_world(world, folder)
    with Watch(folder) as watch:
        ended = small_world.run(folder, plain=True)
    assert ended.code == 0, ended.text
    shutil.copytree(folder, shared / "untouched")
    made = Small(folder, world, ended, frozenset(watch.unloadable), shared / "untouched")
    (shared / "small.pickle").write_bytes(pickle.dumps(made))
    return made


def take_copy(shared: Path, folder: Path) -> Small:
    """A copy of another worker's first run. Its metadata name files of the copy; its cache answers no run."""
    made: Small = pickle.loads((shared / "small.pickle").read_bytes())
    shutil.copytree(shared / "untouched", folder, dirs_exist_ok=True)
    old, new = str(made.folder), str(folder)
    with contextlib.closing(sqlite3.connect(folder / "output" / NAME / "metadata.sqlite")) as metadata, metadata:
        metadata.execute("UPDATE Artifact SET uri = replace(uri, ?, ?)", (old, new))
    stdout, stderr = (text.replace(old, new) for text in (made.ended.stdout, made.ended.stderr))
    ended = dataclasses.replace(made.ended, stdout=stdout, stderr=stderr)
    unloadable = frozenset(Path(str(path).replace(old, new)) for path in made.unloadable)
    return Small(folder, made.world, ended, unloadable)


@pytest.fixture(scope="session")
def _own_run(first_run: Small, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """The first run where it was made: MLMD holds absolute paths, and what the cache has is kept by them."""
    if first_run.untouched:
        return first_run
    return make_first_run(first_run.world, tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("shared") / "own")


@pytest.fixture
def small(_own_run: Small) -> Iterator[Small]:
    """The first run, for tests that go on from there; what they change is put back."""
    yield _own_run
    assert _own_run.untouched is not None
    for path in _own_run.folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(_own_run.untouched, _own_run.folder, dirs_exist_ok=True)


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
