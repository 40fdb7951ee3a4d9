"""What the tests on all engines share: a folder with a run's files, whose `cluster` is that of the module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import world as small_world
from tests.e2e.beam_engine import Engine
from tests.e2e.conftest import Small, fingerprint
from tests.e2e.world import World, versions


@pytest.fixture
def folder(cluster: Engine, world: World, tmp_path: Path) -> Path:
    """A folder with the world's files and a config by which its Beam work is the cluster's."""
    small_world.write_world(world, tmp_path)
    small_world.write_config(tmp_path / "config.yaml", {"beam.pipeline_args": cluster.pipeline_args})
    return tmp_path


@pytest.fixture
def check_version(folder: Path, first_run: Small) -> Callable[[], None]:
    """Makes sure that the folder's version is that of a run in one process."""

    def check() -> None:
        [made], [expected] = versions(folder), versions(first_run.folder)
        assert fingerprint(made) == fingerprint(expected)

    return check
