"""The server that the suite asks: the embedded one, a tensorflow_model_server, or any that runs (docs/serving.md).

It serves versions 1 and 2 of the tiny servable as `tiny`, labelled `stable` and `canary`, and a servable of the
Indexer's own as `contract`. A test that changes what is served takes the fixture `reload`, which puts that back.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional, Union

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from serving.server.process import EMBEDDED, ServerProcess

MODEL = "tiny"
STABLE, CANARY = 1, 2
REST_TIMEOUT = 2.0
"""Seconds, of a server that the suite starts."""
_FLAGS = [
    f"--rest_api_timeout_in_ms={round(1000 * REST_TIMEOUT)}",
    "--enable_grpc_healthcheck_service=true",
    "--max_num_load_retries=0",  # a version that can't be loaded is told at once
    "--tensorflow_intra_op_parallelism=1",
    "--tensorflow_inter_op_parallelism=2",
]


@dataclass
class Server:
    """A server, and the base path that both it and the suite see."""

    grpc_target: str
    rest_target: str
    base: Path
    """Where the suite writes models."""
    seen: str
    """The same folder as the server sees it."""
    started_here: bool
    channel: grpc.Channel = field(init=False)
    prediction: Any = field(init=False)
    models: Any = field(init=False)

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(self.grpc_target)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def reload(self, *models: str) -> Any:
        """HandleReloadConfigRequest with the config of these models."""
        request = model_management_pb2.ReloadConfigRequest(config=config_of(self.seen, *models))
        return self.models.HandleReloadConfigRequest(request, timeout=60)

    def states(self, model: str = MODEL) -> dict[int, str]:
        """The model's versions and their states."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        answer = self.models.GetModelStatus(request, timeout=10)
        state = get_model_status_pb2.ModelVersionStatus.State
        return {entry.version: state.Name(entry.state) for entry in answer.model_version_status}

    def available(self, model: str = MODEL) -> set[int]:
        """The versions that answer."""
        return {version for version, state in self.states(model).items() if state == "AVAILABLE"}

    def wait(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        """Waits until the condition holds; fails if it doesn't."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it never came about"
            time.sleep(0.05)

    def http(
        self,
        method: str,
        path: str,
        body: Optional[Union[str, bytes, dict[str, Any]]] = None,
        headers: Optional[dict[str, str]] = None,
    ) -> tuple[int, Any]:
        """Status and parsed JSON of a HTTP request, or its text where that isn't JSON; a dict is sent as JSON."""
        host, port = self.rest_target.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        text = json.dumps(body) if isinstance(body, dict) else body
        try:
            connection.request(method, path, text.encode() if isinstance(text, str) else text, headers or {})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.headers.get("Content-Type", "").startswith("application/json"):
            return response.status, json.loads(content)
        return response.status, content.decode()


def config_of(base: str, *models: str) -> model_server_config_pb2.ModelServerConfig:
    """The config of these models: text of their `ModelConfig`, with BASE for the base path."""
    entries = " ".join(f'config {{ model_platform: "tensorflow" {model.replace("BASE", base)} }}' for model in models)
    return text_format.Parse(f"model_config_list {{ {entries} }}", model_server_config_pb2.ModelServerConfig())


def tiny(policy: str = f"versions: {STABLE} versions: {CANARY}", **labels: int) -> str:
    """The config entry of the tiny servable with these versions and labels."""
    marks = "".join(f' version_labels {{ key: "{label}" value: {version} }}' for label, version in labels.items())
    return f'name: "{MODEL}" base_path: "BASE/{MODEL}" model_version_policy {{ specific {{ {policy} }} }}{marks}'


CONTRACT = 'name: "contract" base_path: "BASE/contract"'
WHOLE = (tiny(stable=STABLE, canary=CANARY), CONTRACT)
"""What the suite's server serves."""


@pytest.fixture(scope="session")
def wire(
    servable: Path, second_servable: Path, contract_servable: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The server under test."""
    here = os.environ.get("MODEL_SERVER_GRPC")
    if here:
        base, _, seen = os.environ["MODEL_SERVER_BASE"].partition(":")
        server = Server(here, os.environ["MODEL_SERVER_REST"], Path(base), seen or base, started_here=False)
        _write_models(server.base, contract_servable, servable, second_servable)
        _serve_whole(server)
        yield server
        return
    base = tmp_path_factory.mktemp("wire")
    _write_models(base, contract_servable, servable, second_servable)
    config = base / "models.config"
    config.write_text(text_format.MessageToString(config_of(str(base), tiny(), CONTRACT)))
    binary = os.environ.get("MODEL_SERVER", EMBEDDED)
    with ServerProcess(base, MODEL, binary=binary, flags=[*_FLAGS, f"--model_config_file={config}"]) as process:
        server = Server(process.grpc_target, process.rest_target, base, str(base), started_here=True)
        _serve_whole(server)
        yield server


@pytest.fixture
def reload(wire: Server) -> Iterator[Callable[..., Any]]:
    """`wire.reload` for a test that changes what is served."""
    yield wire.reload
    _serve_whole(wire)


def _serve_whole(server: Server) -> None:
    """Loads all, then sets the labels: those need loaded versions, and a reload waits for new models only."""
    server.reload(tiny(), CONTRACT)
    server.wait(lambda: {STABLE, CANARY} <= server.available())
    server.reload(*WHOLE)


def _write_models(base: Path, contract: Path, *versions: Path) -> None:
    for version, servable in zip((STABLE, CANARY), versions):
        if not (base / MODEL / str(version)).exists():
            shutil.copytree(servable, base / MODEL / str(version))
    if not (base / "contract" / "1").exists():
        shutil.copytree(contract, base / "contract" / "1")
