"""Both servers in the test's own process, for what the shared server can't have: other settings, or a look inside."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from serving.server import ports, settings
from serving.server.core import ServerCore
from serving.server.grpc_service import GrpcServer
from serving.server.rest import RestServer
from serving.server.servable import Servable
from serving.server.session import SessionOptions
from tests.serving.fixtures import MODEL


@contextlib.contextmanager
def serve(
    servable: Path, folder: Path, grpc: dict[str, Any] | None = None, rest: dict[str, Any] | None = None
) -> Iterator[SimpleNamespace]:
    """Serves version 7 of the tiny servable; yields `grpc_target`, `rest_target`, `admin_target`, the core and both
    servers."""
    (folder / "base").mkdir()
    (folder / "base" / "7").symlink_to(servable)
    ready = threading.Event()
    core = ServerCore(lambda path: Servable(path, SessionOptions(1, 1)), poll_seconds=0, on_serving=ready.set)
    core.apply(settings.single_model(MODEL, str(folder / "base")))
    core.start()
    assert ready.wait(60)
    grpc_settings = {"host": "127.0.0.1", "port": 0, "max_threads": 2, "max_message_bytes": 1 << 20, **(grpc or {})}
    grpc_server = GrpcServer(core, **grpc_settings)
    rest_settings = {"threads": 2, "timeout": 30, "max_body_bytes": 1 << 20, **(rest or {})}
    rest_server = RestServer(core, ports.bind("127.0.0.1", 0), **rest_settings)
    grpc_server.start()
    rest_server.start()
    try:
        yield SimpleNamespace(
            grpc_target=f"127.0.0.1:{grpc_server.port}",
            admin_target=f"127.0.0.1:{grpc_server.admin_port}",
            rest_target=f"127.0.0.1:{rest_server.port}",
            core=core,
            grpc=grpc_server,
            rest=rest_server,
        )
    finally:
        grpc_server.stop(0)
        rest_server.stop(0)
        core.stop(10)
