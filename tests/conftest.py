"""What all tests need before TensorFlow is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

import pipeline  # noqa: F401 (chooses Keras 2)
from tests.e2e import world as small_world

if TYPE_CHECKING:
    from tests.e2e.conftest import Small

pytest_plugins = ["tests.serving.fixtures"]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SHARING = (
    ("e2e/test_run", "e2e/test_report", "e2e/test_reindex", "e2e/test_tune", "e2e/test_serving", "e2e/test_bad_input"),
    ("kubeflow/test_walk", "e2e/test_workers", "e2e/test_kill", "e2e/test_portable", "e2e/test_leakage"),
)
"""Files whose tests go on from the first run, in two parts: with xdist each has a worker, which makes it once."""

LONGEST = ("recipes/", "docs/test_commands", "e2e/", "pipeline/model/", "pipeline/batch/")
"""What takes longest of the others."""

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")


@pytest.fixture(autouse=True)
def _leave_determinism_off() -> Iterator[None]:
    """A training in the process turns TensorFlow's determinism on, under which some ops refuse to run."""
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python.framework import config

        config.disable_op_determinism()


@pytest.fixture(scope="session")
def world() -> small_world.World:
    """The small world."""
    return small_world.make_world()


@pytest.fixture(scope="session")
def first_run(world: small_world.World, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """The first run of a world from nothing to a pushed version; tests must not change it (see e2e's `small`)."""
    from tests.e2e.conftest import Small, Watch

    folder = tmp_path_factory.mktemp("first")
    small_world.write_world(world, folder)
    with Watch(folder) as watch:
        ended = small_world.run(folder, plain=True)
    assert ended.code == 0, ended.text
    return Small(folder, world, ended, frozenset(watch.unloadable))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is not slow is part of the smoke suite; slow tests that are too are marked in their files.

    What takes longest comes first, so that no worker ends with it while the others have nothing to do.
    """
    for item in items:
        if item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.smoke)
    items.sort(key=lambda item: _place(item.nodeid))


def _place(nodeid: str) -> int:
    """The place of a test's file in the order of running."""
    first = [path for part in SHARING for path in part] + list(LONGEST)
    return next((place for place, path in enumerate(first) if nodeid.startswith(f"tests/{path}")), len(first))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist=loadfile` a file's tests stay together, and so do those of a part of `SHARING`."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            for part in SHARING:
                if nodeid.startswith(tuple(f"tests/{path}.py" for path in part)):
                    return part[0]
            return super()._split_scope(nodeid)

    return Scheduling(config, log) if config.option.dist == "loadfile" else None
