"""The tiny servable, and one embedded server that serves it, for all tests of the room."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.client import RecommenderClient
from serving.server.process import EMBEDDED, ServerProcess
from tests.serving import tiny_servable

MODEL = "tiny"


@pytest.fixture(scope="session")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny servable, version 1."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return Path(tiny_servable.build(str(tmp_path_factory.mktemp("tiny") / "servable")))


@pytest.fixture(scope="session")
def second_servable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny servable, version 2."""
    return Path(tiny_servable.build(str(tmp_path_factory.mktemp("tiny") / "servable"), version=2))


@pytest.fixture(scope="session")
def server(servable: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """An embedded server with version 7 of the tiny servable; tests must not change what it serves."""
    base = tmp_path_factory.mktemp("base")
    shutil.copytree(servable, base / MODEL / "7")
    with ServerProcess(base, MODEL, binary=EMBEDDED) as process:
        yield process


@pytest.fixture(params=["grpc", "rest"])
def transport(request: pytest.FixtureRequest) -> str:
    """Both transports in turn."""
    return str(request.param)


@pytest.fixture
def target(server: ServerProcess, transport: str) -> str:
    """Where the server listens for the transport."""
    return server.grpc_target if transport == "grpc" else server.rest_target


@pytest.fixture
def client(target: str, transport: str) -> Iterator[RecommenderClient]:
    """A client of the server, over each transport in turn."""
    with RecommenderClient(target, model=MODEL, transport=transport) as opened:
        yield opened
