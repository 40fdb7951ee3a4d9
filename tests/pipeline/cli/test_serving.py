"""`recommender serve`, as a user types it."""

from __future__ import annotations

import shutil
import signal
import subprocess

import pytest

from pipeline.cli.serving import _announce
from pipeline.config.config import ServingConfig
from serving.promotion import Promoter
from serving.server.ports import free_port
from serving.server.process import environment
from tests.pipeline.cli.command import COMMAND, in_own_process, recommender
from tests.serving.fixtures import MODEL

pytestmark = pytest.mark.slow


def test_serve_until_ctrl_c(servable, tmp_path):
    shutil.copytree(servable, tmp_path / MODEL / "4")
    port = free_port()
    process = subprocess.Popen(
        [
            *(*COMMAND, "serve", "--name", MODEL),
            *("--base-path", str(tmp_path), "--port", str(port), "--rest-port", "0"),
        ],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = []
        while not lines or not lines[-1].startswith("ready "):
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        assert lines[0].startswith(f"serving {MODEL} version 4 from {tmp_path}")
        ended = recommender("query", "--user", "ann", "--target", f"127.0.0.1:{port}", "--name", MODEL)
        assert ended.returncode == 0
        assert "version 4" in ended.stdout
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_serve_what_was_promoted(servable, tmp_path):
    for version in ("4", "5"):
        shutil.copytree(servable, tmp_path / "models" / MODEL / version)
    Promoter(tmp_path / "models", MODEL, []).promote(4, "stable")
    script = tmp_path / "tensorflow_model_server"
    script.write_text('#!/bin/sh\necho "started with $@"\n')
    script.chmod(0o755)
    models = str(tmp_path / "models")
    arguments = ("serve", "--base-path", models, "--name", MODEL, "--port", "8700", "--rest-port", "8701")
    ended = in_own_process(*arguments, "--", "--enable_batching=true", path=tmp_path)
    assert ended.stdout.splitlines()[1].startswith(f"serving {MODEL} stable version 4 from {models}")
    started = ended.stdout.splitlines()[-1]
    assert f"--model_config_file={models}/models.config" in started
    assert "--allow_version_labels_for_unavailable_models=true" in started
    assert started.endswith(" --enable_batching=true")
    assert "--model_base_path" not in started


def test_serve_without_a_version(tmp_path):
    ended = recommender("serve", "--base-path", str(tmp_path), "--name", MODEL)
    assert ended.returncode == 2
    assert f"{tmp_path / MODEL}: no version of tiny to serve; make one with `recommender run`" in ended.stderr


def test_serve_prefers_tensorflow_model_server(tmp_path):
    (tmp_path / "models" / MODEL / "4").mkdir(parents=True)
    (tmp_path / "models" / MODEL / "4" / "saved_model.pb").write_bytes(b"")
    script = tmp_path / "tensorflow_model_server"
    script.write_text('#!/bin/sh\necho "started with $@"\nexit 7\n')
    script.chmod(0o755)
    arguments = (
        "serve",
        "--base-path",
        str(tmp_path / "models"),
        "--name",
        MODEL,
        "--port",
        "8700",
        "--rest-port",
        "0",
    )
    ended = in_own_process(*arguments, path=tmp_path)
    assert ended.returncode == 7
    assert f"by {script}" in ended.stdout
    assert "listens on all addresses" in ended.stdout
    started = ended.stdout.splitlines()[-1]
    assert started.startswith("started with --port=8700 --rest_api_port=")
    assert "--rest_api_port=0 " not in started
    assert "--host" not in started


@pytest.mark.parametrize(
    ("host", "port", "where", "target"),
    [
        ("127.0.0.1", 8500, "127.0.0.1:8500", ""),  # as the config has it
        ("127.0.0.1", 8700, "127.0.0.1:8700", " --target 127.0.0.1:8700"),
        ("127.0.0.1", 0, "127.0.0.1:(a free port)", " --target 127.0.0.1:PORT"),
        ("0.0.0.0", 8500, "0.0.0.0:8500", " --target 127.0.0.1:8500"),
        ("10.0.0.5", 8500, "10.0.0.5:8500", " --target 10.0.0.5:8500"),
        ("::1", 8500, "[::1]:8500", " --target [::1]:8500"),
        ("::", 0, "[::]:(a free port)", " --target [::1]:PORT"),
    ],
)
def test_it_says_where_and_how_to_ask(host, port, where, target, capsys):
    listening = ServingConfig(host=host, port=port, rest_port=8501)
    _announce("small", "embedded", listening, ServingConfig(host="127.0.0.1", port=8500))
    _, ports, ask = capsys.readouterr().out.splitlines()
    assert ports.startswith(f"gRPC on {where}, REST on ")
    assert ask == f"when it says `ready`, ask with: recommender query --user ID{target}"
