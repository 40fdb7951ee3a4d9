"""The files for TensorFlow Serving in Docker: well-formed, known to both servers, and accepted by the embedded one."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import BaseModel, ConfigDict

from serving.client import InvalidRequest, RecommenderClient
from serving.promotion import PromotionFailed, Replica
from serving.protos import server_config_pb2
from serving.server import settings
from serving.server.flags import parse
from serving.server.ports import free_port
from serving.server.process import ServerProcess
from tests.serving.fake_docker import arguments, interpolate, service
from tests.serving.fixtures import MODEL
from tests.serving.server.running import wait_until

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "serving" / "deploy"
COMPOSE = DEPLOY / "docker-compose.yaml"
GPU = DEPLOY / "docker-compose.gpu.yaml"
GATE = DEPLOY / "docker-compose.gate.yaml"

# Flags of tensorflow_model_server 2.19 (tensorflow_serving/model_servers/main.cc).
REAL_FLAGS = """
allow_version_labels_for_unavailable_models batching_parameters_file enable_batching enable_grpc_healthcheck_service
enable_model_warmup enable_per_model_batching_parameters enable_profiler enable_serialization_as_tensor_content
enable_signature_method_name_check file_system_poll_wait_seconds flush_filesystem_caches grpc_channel_arguments
grpc_max_threads grpc_socket_path load_retry_interval_micros max_num_load_retries mixed_precision model_base_path
model_config_file model_config_file_poll_wait_seconds model_name monitoring_config_file num_load_threads
num_request_iterations_for_warmup num_tflite_interpreters_per_pool num_tflite_pools num_unload_threads
per_process_gpu_memory_fraction platform_config_file port prefer_tflite_model
remove_unused_fields_from_bundle_metagraph rest_api_enable_cors_support rest_api_num_threads rest_api_port
rest_api_timeout_in_ms saved_model_tags skip_initialize_tpu ssl_config_file tensorflow_inter_op_parallelism
tensorflow_intra_op_parallelism tensorflow_session_config_file tensorflow_session_parallelism
thread_pool_factory_config_file use_alts_credentials version xla_cpu_compilation_enabled xla_gpu_compilation_enabled
"""
BATCHING = "--enable_batching=true --batching_parameters_file=/config/batching.config"


class Strict(BaseModel):
    """No key that isn't listed: Compose ignores none either."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Bind(Strict):
    create_host_path: bool


class Volume(Strict):
    type: str
    source: str
    target: str
    read_only: bool
    bind: Optional[Bind] = None


class Healthcheck(Strict):
    test: list[str]
    interval: str
    timeout: str
    retries: int
    start_period: str


class Device(Strict):
    driver: str
    count: int
    capabilities: list[str]


class Limits(Strict):
    cpus: str
    memory: str


class Reservations(Strict):
    devices: list[Device]


class Resources(Strict):
    limits: Optional[Limits] = None
    reservations: Optional[Reservations] = None


class Deploy(Strict):
    resources: Resources


class Logging(Strict):
    driver: str
    options: dict[str, str]


class Override(Strict):
    """The keys of a service that an override may have."""

    image: str
    environment: dict[str, str] = {}
    deploy: Deploy


class Service(Override):
    """The keys of a whole service that we use, as the Compose specification types them."""

    entrypoint: list[str]
    command: str
    ports: list[str]
    volumes: list[Volume]
    healthcheck: Healthcheck
    restart: str
    init: bool
    stop_grace_period: str
    read_only: bool
    tmpfs: list[str]
    cap_drop: list[str]
    cap_add: list[str]
    security_opt: list[str]
    logging: Logging


def test_the_service_is_well_formed() -> None:
    found = Service.model_validate(service(COMPOSE, {"MODELS": "/data/models", "BIND": ""}))
    assert re.fullmatch(r"tensorflow/serving:\d+\.\d+\.\d+", found.image)
    assert found.ports == ["127.0.0.1:8500:8502", "127.0.0.1:8501:8503"]  # nobody else's unless asked for
    assert all(volume.read_only for volume in found.volumes)
    models, config = found.volumes
    assert models.source == models.target == "/data/models"
    assert (DEPLOY / config.source).is_dir()
    assert config.target == "/config"
    assert found.deploy.resources.limits is not None


def test_the_gpu_override_changes_image_and_devices_only() -> None:
    base, found = (service(file, {}) for file in (COMPOSE, GPU))
    override = Override.model_validate(found)
    assert override.image == f"{base['image']}-gpu"
    assert override.deploy.resources.reservations is not None
    assert override.deploy.resources.limits is None  # those of docker-compose.yaml stay


def test_the_gate_is_in_the_servers_network_and_alone_open_to_others() -> None:
    services = yaml.safe_load(interpolate(GATE.read_text(encoding="utf-8"), {}))["services"]
    assert set(services) == {"serving", "gate"}
    assert services["serving"] == {"ports": ["0.0.0.0:9500:8500", "0.0.0.0:9501:8501"]}
    gate = services["gate"]
    assert gate["network_mode"] == "service:serving"
    assert (gate["read_only"], gate["cap_drop"]) == (True, ["ALL"])
    # What a container of its own also has; the rest is compared by name.
    Service.model_validate({**service(COMPOSE, {}), **{key: gate[key] for key in ("image", "restart", "tmpfs")}})
    behind = parse(arguments(COMPOSE, {"GRPC_PORT": "8502", "REST_PORT": "8503"}))
    text = (DEPLOY / "gate.conf").read_text()
    for port in (behind.port, behind.rest_api_port):
        assert f"server 127.0.0.1:{port};" in text


@pytest.fixture
def gate(server: ServerProcess, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The gate before a server: its targets of gRPC and REST."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("no nginx here")
    listening = {"8500": free_port(), "8501": free_port()}
    behind = {"8502": server.grpc_target, "8503": server.rest_target}
    text = (DEPLOY / "gate.conf").read_text().replace("/tmp/", f"{tmp_path}/")
    for port, here in {**listening, **{port: target.rsplit(":", 1)[1] for port, target in behind.items()}}.items():
        text = text.replace(port, str(here))
    (tmp_path / "gate.conf").write_text(text)
    with subprocess.Popen([nginx, "-e", "stderr", "-c", str(tmp_path / "gate.conf")]) as process:
        wait_until(lambda: _listens(listening["8501"]), 10)
        yield f"127.0.0.1:{listening['8500']}", f"127.0.0.1:{listening['8501']}"
        process.send_signal(signal.SIGQUIT)


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_what_the_gate_lets_through(server: ServerProcess, gate: tuple[str, str]) -> None:
    grpc_target, rest_target = gate
    for transport, target in (("grpc", grpc_target), ("rest", rest_target)):
        with RecommenderClient(target, model=MODEL, transport=transport, timeout=10) as client:
            assert len(client.recommend(user_id="nobody", k=3)) == 3
            assert [status.version for status in client.status()] == [7]
            assert client.metadata().version == 7
            assert len(client.score("nobody", [], ["x" * 100] * 20_000)) == 20_000, "2 MB"
            with pytest.raises(InvalidRequest, match="x <= y did not hold"):
                client.recommend(k=1_000_000)
    with grpc.insecure_channel(grpc_target) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(PromotionFailed, match="takes no config from here: PERMISSION_DENIED"):
        Replica(grpc_target).check_leave()
    Replica(server.grpc_target).check_leave()
    for path in ("/monitoring/prometheus/metrics", "/v1/%2e%2e/monitoring/prometheus/metrics", "/v1/..%2fx", "/"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{rest_target}{path}", timeout=10)


@pytest.mark.parametrize("more", ["", BATCHING])
def test_both_servers_know_the_flags(more: str) -> None:
    command = arguments(COMPOSE, {"MODELS": "/my models", "SERVING_FLAGS": more})
    assert {argument.partition("=")[0].removeprefix("--") for argument in command} <= {*REAL_FLAGS.split()}
    flags = parse(command)
    assert flags.model_config_file == "/my models/models.config"
    assert flags.enable_batching == bool(more)
    for path in (flags.monitoring_config_file, *filter(None, [flags.batching_parameters_file])):
        assert Path(path).parent == DEPLOY
        assert Path(path).is_file()


def test_the_configs_are_what_the_server_takes() -> None:
    (model,) = settings.model_config(str(DEPLOY / "models.config")).model_config_list.config
    assert model.base_path == f"/srv/models/{model.name}"
    assert settings.batching_parameters(str(DEPLOY / "batching.config")).num_batch_threads.value == 2
    assert settings.metrics_path(str(DEPLOY / "monitoring.config")) == "/monitoring/prometheus/metrics"
    example = settings.read(str(DEPLOY / "ssl.config.example"), server_config_pb2.SSLConfig())
    assert example.server_key.startswith("-----BEGIN PRIVATE KEY-----\n")
    assert example.client_verify


def block(file: Path, beginning: str) -> str:
    """The shell commands of the code block that begins so."""
    for found in re.findall(r"```\w*\n(.*?)```", file.read_text(encoding="utf-8"), re.DOTALL):
        if str(found).startswith(beginning):
            return str(found)
    raise AssertionError(f"{file} has no block that begins with {beginning!r}")


@pytest.mark.slow
@pytest.mark.smoke
def test_the_commands_that_make_certificates(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    for beginning in ("openssl req", "umask 077"):
        subprocess.run(
            ["bash", "-euc", block(DEPLOY / "README.md", beginning)], cwd=tmp_path, check=True, capture_output=True
        )
    assert (tmp_path / "ssl.config").stat().st_mode & 0o077 == 0
    settings.server_credentials(str(tmp_path / "ssl.config"))
    config = settings.read(str(tmp_path / "ssl.config"), server_config_pb2.SSLConfig())
    assert config.server_key == (tmp_path / "server.key").read_text()
    assert config.client_verify


def health(port: int) -> int:
    """Exit code of the health check, with the server at this port."""
    kind, *command = service(COMPOSE, {})["healthcheck"]["test"]
    assert kind == "CMD"
    command = [part.replace("8503", str(port)) for part in command]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode


@pytest.mark.slow
@pytest.mark.smoke
def test_the_health_check(server: ServerProcess) -> None:
    assert health(int(server.rest_target.rsplit(":", 1)[1])) == 0
    assert health(1) != 0
    assert health(int(server.grpc_target.rsplit(":", 1)[1])) != 0  # listens, but speaks no HTTP/1


def run_smoke(path: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """The smoke test with this PATH."""
    environment = {**os.environ, "PATH": path, "PYTHON": sys.executable, **variables}
    return subprocess.run(
        [shutil.which("bash") or "bash", DEPLOY / "smoke.sh"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_docker_the_smoke_test_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "dirname").symlink_to(shutil.which("dirname") or "")
    done = run_smoke(str(tmp_path))
    assert done.returncode == 77
    assert done.stdout == "skipped: there is no docker command here\n"


@pytest.mark.slow
def test_the_smoke_test_with_the_embedded_server(tmp_path: Path) -> None:
    """All of smoke.sh, with a `docker` that starts the embedded server by docker-compose.yaml."""
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tests.serving.fake_docker "$@"\n')
    docker.chmod(0o755)
    done = run_smoke(f"{tmp_path}:{os.environ['PATH']}", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("smoke test passed\n")
    assert not list(tmp_path.glob("tmp*")), "the models are left"


@pytest.mark.slow
def test_the_smoke_test_with_docker() -> None:
    done = run_smoke(os.environ["PATH"])
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
