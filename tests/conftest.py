"""What all tests need before TensorFlow is imported."""

from __future__ import annotations

import dataclasses
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

import pipeline  # noqa: F401 (chooses Keras 2)
from tests import forks
from tests.e2e import world as small_world
from tests.shared import made_once

if TYPE_CHECKING:
    from tests.e2e.conftest import Small

pytest_plugins = ["tests.serving.fixtures"]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

gc.disable()  # until all is imported: none of it is garbage, and to look through it takes time

forks.fork_servers()

SHARING = (
    "e2e/test_run",
    "e2e/test_report",
    "e2e/test_reindex",
    "e2e/test_tune",
    "e2e/test_serving",
    "e2e/test_bad_input",
    "e2e/test_workers",
    "e2e/test_nightly",
)
"""Files whose tests go on from the first run: with xdist one worker has them, and makes it."""

READING = ("kubeflow/test_walk", "e2e/test_kill", "e2e/test_portable", "e2e/test_leakage")
"""Files whose tests hold something against the first run, when it is there."""

WIRE = tuple(
    f"serving/wire/{path.stem}" for path in sorted((Path(__file__).parent / "serving" / "wire").glob("test_*.py"))
)
"""Files whose tests ask one server."""

FIRST = (SHARING, ("docs/test_commands",), READING)

TOGETHER = (*FIRST, WIRE)

LONGEST = ("recipes/", "e2e/", "pipeline/model/", "pipeline/batch/", "serving/wire/")
"""What takes longest of the others."""

SERVERS = {"servable", "server", "towers", "wire"}
"""Fixtures that make a model to serve, or a server."""

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
    """The first run of a world from nothing to a pushed version; tests must not change it (see e2e's `small`).

    Of several workers the first that needs it makes it, and the others have a copy.
    """
    from tests.e2e.conftest import make_first_run, take_copy

    mine: list[Small] = []
    shared = made_once(
        tmp_path_factory,
        "first",
        lambda path: mine.append(make_first_run(world, tmp_path_factory.mktemp("first"), path)),
    )
    if mine:
        return dataclasses.replace(mine[0], untouched=shared / "untouched")
    return take_copy(shared, tmp_path_factory.mktemp("first"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What makes a model or asks its server is slow. What is not is part of the smoke suite, as is what else is marked.

    What takes longest comes first, so that no worker ends with it while the others have nothing to do.
    """
    for item in items:
        if item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.smoke)
            if not SERVERS.isdisjoint(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: _place(item.nodeid))


def _place(nodeid: str) -> int:
    """The place of a test's file in the order of running."""
    first = [path for part in FIRST for path in part] + list(LONGEST)
    return next((place for place, path in enumerate(first) if nodeid.startswith(f"tests/{path}")), len(first))


def pytest_collection_finish() -> None:
    """What the imports have made stays, so the collector need not look through it again and again."""
    gc.enable()
    gc.freeze()
    gc.set_threshold(*forks.COLLECTIONS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist=loadfile` a file's tests stay together, and so do those of a part of `TOGETHER`."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            for part in TOGETHER:
                if nodeid.startswith(tuple(f"tests/{path}.py" for path in part)):
                    return part[0]
            return super()._split_scope(nodeid)

    return Scheduling(config, log) if config.option.dist == "loadfile" else None
