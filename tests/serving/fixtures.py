"""Servables, and a server of one of them, for tests of all rooms."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.server.process import EMBEDDED, ServerProcess
from tests import forks
from tests.serving import tiny_servable
from tests.shared import made_once

MODEL = "tiny"


def tiny(tmp_path_factory: pytest.TempPathFactory, version: int) -> Path:
    """A version of the tiny servable; tests must not change it."""
    return made_once(tmp_path_factory, f"tiny-{version}", lambda path: tiny_servable.build(str(path), version))


@pytest.fixture(scope="session")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny servable, version 1; tests must not change it."""
    return tiny(tmp_path_factory, 1)


@pytest.fixture(scope="session")
def second_servable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny servable, version 2; tests must not change it."""
    return tiny(tmp_path_factory, 2)


@pytest.fixture(scope="session")
def contract_servable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The servable of `tests.serving.wire.contract`; tests must not change it."""
    from tests.serving.wire import contract

    return made_once(tmp_path_factory, "contract", contract.build)


@pytest.fixture(scope="session")
def server(servable: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """An embedded server with version 7 of the tiny servable; tests must not change what it serves."""
    base = tmp_path_factory.mktemp("base")
    shutil.copytree(servable, base / MODEL / "7")
    process = ServerProcess(base, MODEL, binary=EMBEDDED)
    with forks.plainly():  # what it writes to its log is tested
        process.start()
    yield process
    process.stop()


@pytest.fixture(params=["grpc", "rest"])
def transport(request: pytest.FixtureRequest) -> str:
    """Both transports in turn."""
    return str(request.param)
