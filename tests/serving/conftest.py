"""A client of the shared server, for all tests of the room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving.client import RecommenderClient
from serving.server.process import ServerProcess
from tests.serving.fixtures import MODEL


@pytest.fixture
def target(server: ServerProcess, transport: str) -> str:
    """Where the server listens for the transport."""
    return server.grpc_target if transport == "grpc" else server.rest_target


@pytest.fixture
def client(target: str, transport: str) -> Iterator[RecommenderClient]:
    """A client of the server, over each transport in turn."""
    with RecommenderClient(target, model=MODEL, transport=transport) as opened:
        yield opened
