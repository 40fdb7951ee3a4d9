"""The server process: its files of settings, ports, sockets and signals."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Optional

import grpc
import pytest

from serving.client import ModelNotFound, RecommenderClient
from serving.promotion import Promoter, PromotionFailed
from serving.server import app, settings
from serving.server.flags import parse
from serving.server.process import EMBEDDED, ServerProcess, command, environment
from tests.serving.fake_models import model, server_config
from tests.serving.fixtures import MODEL
from tests.serving.server.running import Asked, publish, run_server, wait_until

pytestmark = pytest.mark.slow


class Following:
    """A thread that follows a config file, for a server whose core the test stands in for."""

    def __init__(self, file: Path):
        self.file, self.generation = file, 0
        self.applied: list[str] = []
        self.failure: Optional[Exception] = None
        self.meanwhile: Callable[[], None] = lambda: None
        self._stop = threading.Event()
        options = {"model_config_file": str(file), "model_config_file_poll_wait_seconds": 0.02}
        flags = SimpleNamespace(**options)
        self.polled = 0
        arguments = (flags, settings.written(str(file)), self, self._stop, self._note)
        self._thread = threading.Thread(target=app._follow_config_file, args=arguments)

    def __enter__(self) -> Following:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._thread.is_alive()
        self._stop.set()
        self._thread.join(10)

    def _note(self) -> None:
        self.polled += 1

    def apply(self, config: Any, since: int) -> Optional[list[str]]:
        self.meanwhile()
        if self.failure is not None:
            raise self.failure
        if since != self.generation:
            return None
        self.generation += 1
        self.applied.append(config.model_config_list.config[0].name)
        return []


def test_polling_undoes_no_reload_that_is_newer(tmp_path):
    file = tmp_path / "models.config"
    write(file, server_config(model("a", tmp_path)))
    with Following(file) as following:
        following.generation += 1  # a reload
        time.sleep(0.2)
        assert following.applied == []  # the file is older
        write(file, server_config(model("b", tmp_path)))
        wait_until(lambda: following.applied == ["b"])

        def reload() -> None:
            write(file, server_config(model("d", tmp_path)))
            following.generation += 1
            following.meanwhile = lambda: None

        following.meanwhile = reload
        write(file, server_config(model("c", tmp_path)))
        wait_until(lambda: following.applied[-1] == "d")
        assert following.applied == ["b", "d"]
        write(file, server_config(model("d", tmp_path)))  # written again: whoever did so means it
        wait_until(lambda: following.applied == ["b", "d", "d"])


def test_a_file_that_is_away_for_a_while_is_followed_again_and_undoes_nothing(tmp_path, caplog):
    file, away = tmp_path / "models.config", tmp_path / "away"
    write(file, server_config(model("a", tmp_path)))
    with Following(file) as following:
        file.rename(away)  # before the first look
        wait_until(lambda: "No such file or directory" in caplog.text)
        following.generation += 1  # a reload
        away.rename(file)
        wait_until(lambda: following.polled > 2)
        assert following.applied == []
        file.rename(away)
        wait_until(lambda: caplog.text.count("No such file or directory") == 2)
        away.rename(file)
        write(file, server_config(model("b", tmp_path)))
        wait_until(lambda: following.applied == ["b"])


def test_a_look_counts_only_if_the_file_does(tmp_path, caplog):
    file = tmp_path / "models.config"
    write(file, server_config(model("a", tmp_path)))
    with Following(file) as following:
        wait_until(lambda: following.polled > 2)  # unchanged is well
        file.write_text("no config")
        wait_until(lambda: "changes nothing" in caplog.text)
        before = following.polled
        time.sleep(0.1)
        assert following.polled == before
        following.generation += 1  # a reload doesn't mend the file
        time.sleep(0.1)
        assert following.polled == before
        write(file, server_config(model("b", tmp_path)))
        wait_until(lambda: following.polled > before)


def test_nothing_ends_the_following_of_the_file(tmp_path, caplog):
    file = tmp_path / "models.config"
    write(file, server_config(model("a", tmp_path)))
    with Following(file) as following:
        following.failure = ZeroDivisionError("by chance")
        write(file, server_config(model("b", tmp_path)))
        wait_until(lambda: "changes nothing" in caplog.text)
        time.sleep(0.1)
        assert caplog.text.count("changes nothing") == 1
        following.failure = None
        wait_until(lambda: following.applied == ["b"])
        file.unlink()
        os.mkfifo(file)  # which would never be read to its end
        wait_until(lambda: "not a regular file" in caplog.text)
        file.unlink()
        write(file, server_config(model("c", tmp_path)))
        wait_until(lambda: following.applied == ["b", "c"])


@pytest.fixture(scope="module")
def base(servable, second_servable, tmp_path_factory):
    """Versions 1 and 2 of the tiny servable."""
    base = tmp_path_factory.mktemp("base")
    (base / MODEL).mkdir()
    publish(servable, base / MODEL, 1)
    publish(second_servable, base / MODEL, 2)
    return base


def write(path: Path, text: object) -> None:
    """By rename, as an editor or a promoter does."""
    path.with_suffix(".new").write_text(str(text), encoding="utf-8")
    path.with_suffix(".new").rename(path)


def test_configs_by_file_and_by_request(base, tmp_path):
    both = "specific { versions: 1 versions: 2 }"
    file = tmp_path / "models.config"
    write(file, server_config(model(MODEL, base / MODEL, both, stable=1, canary=2)))
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            ServerProcess(
                tmp_path / "ignored",
                MODEL,
                binary=EMBEDDED,
                flags=[
                    f"--model_config_file={file}",
                    "--model_config_file_poll_wait_seconds=0.1",
                    "--allow_version_labels_for_unavailable_models",
                    "--num_load_threads=2",
                ],
            )
        )
        asked = stack.enter_context(Asked(server.grpc_target))
        assert asked.states() == {1: "AVAILABLE", 2: "AVAILABLE"}
        assert (asked.version(), asked.version(label="stable"), asked.version(label="canary")) == (2, 1, 2)

        write(file, "model_config_list { config {")  # broken: changes nothing
        wait_until(lambda: "changes nothing" in server.log())
        time.sleep(0.5)
        assert server.log().count("changes nothing") == 1
        assert asked.version(label="stable") == 1

        write(file, server_config(model(MODEL, base / MODEL, both, stable=2), model("other", base / MODEL)))
        wait_until(lambda: asked.version(label="stable") == 2)
        wait_until(lambda: asked.version(name="other") == 2)
        assert asked.version(label="canary") == "INVALID_ARGUMENT"

        wrong = server_config(model(MODEL, base / MODEL, stable=9))
        with pytest.raises(grpc.RpcError) as caught:
            asked.reload(wrong)
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert asked.version(label="stable") == 2

        config = server_config(model(MODEL, base / MODEL, "specific { versions: 1 }"))
        write(file, config)
        asked.reload(config)
        assert asked.version() == 1
        assert asked.version(name="other") == "NOT_FOUND"


def test_ports_of_its_own_for_reloads_and_metrics(base, tmp_path):
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    flags = ["--admin_port=0", "--admin_rest_api_port=0", f"--monitoring_config_file={monitoring}"]
    with ServerProcess(base, MODEL, binary=EMBEDDED, flags=flags) as server:
        found = re.search(r"^ready .* admin_rest_api_port=(\d+) admin_port=(\d+) port=", server.log(), re.MULTILINE)
        admin_rest, admin = (f"127.0.0.1:{port}" for port in found.groups())

        def page(target: str, path: str) -> int:
            try:
                with urllib.request.urlopen(f"http://{target}{path}", timeout=10) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                return error.code

        metrics, status = "/monitoring/prometheus/metrics", f"/v1/models/{MODEL}"
        assert [page(target, metrics) for target in (server.rest_target, admin_rest)] == [404, 200]
        assert [page(target, status) for target in (server.rest_target, admin_rest)] == [200, 200]

        with pytest.raises(PromotionFailed, match=r"takes no config from here: PERMISSION_DENIED: .* --admin_port"):
            Promoter(base, MODEL, [server.grpc_target]).promote(1, "stable")
        assert not (base / "models.config").exists()
        assert not (base / ".promotion.journal").exists()
        with Asked(server.grpc_target) as asked, Asked(admin) as privileged:
            assert asked.version(label="stable") == "INVALID_ARGUMENT"
            config = server_config(model(MODEL, base / MODEL, "specific { versions: 1 versions: 2 }"))
            privileged.reload(config)
            privileged.reload(server_config(model(MODEL, base / MODEL, "specific { versions: 1 }", stable=1)))
            assert asked.version(label="stable") == 1


def test_rest_in_the_clear_beside_tls_is_told(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(settings, "server_credentials", lambda path, alts=False: "alts" if alts else path)
    flags = ["--model_base_path=x", "--ssl_config_file=s"]
    found = app._read_settings(parse(flags))
    assert (found.credentials, found.admin_credentials, caplog.text) == ("s", "s", "")
    assert app._read_settings(parse([*flags, "--use_alts_credentials"])).credentials == "alts"
    more = ["--admin_port=0", "--admin_ssl_config_file=a", "--rest_api_port=0"]
    assert app._read_settings(parse([*flags, *more])).admin_credentials == "a"
    assert "gRPC has TLS, but --rest_api_port hasn't" in caplog.text


def test_the_socket_alone_after_a_server_that_died(base, tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    flags = [f"--grpc_socket_path={path}", "--rest_api_port=0", "--port=0", "--exit_with_stdin"]
    running = subprocess.Popen(
        [sys.executable, "-m", "serving.server", *flags, f"--model_name={MODEL}", f"--model_base_path={base / MODEL}"],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        ready = next(line for line in running.stdout if line.startswith("ready "))
        assert " port=none " in ready
        with Asked(f"unix:{path}") as asked:
            assert asked.version() == 2
            # A second server doesn't take the socket away.
            ended = run_server(*flags, f"--model_base_path={base / MODEL}")
            assert (ended.returncode, ended.stderr.strip()) == (
                2,
                f"error: {path} (--grpc_socket_path) is in use: stop its owner or name another path",
            )
            # The first signal drains, the second ends at once.
            late = asked.slow(30)
            time.sleep(0.5)
            running.send_signal(signal.SIGHUP)  # as when the terminal is closed
            wait_for_line(running, "stopping")
            wait_until(lambda: asked.version() in ("UNAVAILABLE", "CANCELLED"))
            assert not late.done()
            running.send_signal(signal.SIGHUP)
            assert running.wait(10) == 0  # half a minute before the request ends
    finally:
        running.kill()
        running.wait()


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    found = threading.Thread(target=lambda: any(text in line for line in process.stdout or ()), daemon=True)
    found.start()
    found.join(20)
    assert not found.is_alive()


@pytest.mark.parametrize(
    ("flag", "content", "message"),
    [
        ("model_config_file", None, "{path}: No such file or directory"),
        ("model_config_file", "model_config_list { config { nane: 'm' } }", '{path}:1:30 : Message type "tensorflow'),
        ("model_config_file", "model_config_list { config { name: 'm' } }", "{path}: Expected model m to have an abs"),
        (
            "model_config_file",
            server_config(model("m", "/models", stable=1)),
            "for inference; start with --allow_version_labels_for_unavailable_models",
        ),
        ("batching_parameters_file", "max_batch_size { value: 0 }", "{path}: max_batch_size is 0"),
        ("monitoring_config_file", "enable: true", "{path}:1:1 : "),
        ("ssl_config_file", "server_key: 'x'", "{path}: server_cert is missing"),
        (
            "grpc_socket_path",
            "a file",
            "{path} (--grpc_socket_path) can't be opened: there is a file that is no socket",
        ),
    ],
)
def test_files_that_are_wrong(tmp_path, flag, content, message):
    path = tmp_path / "file"
    if content is not None:
        path.write_text(str(content), encoding="utf-8")
    ended = run_server(f"--{flag}={path}", "--enable_batching", "--port=0", f"--model_base_path={tmp_path}")
    (line,) = ended.stderr.strip().splitlines()
    assert ended.returncode == 2
    assert line.startswith("error: ")
    assert message.format(path=path) in line


@pytest.mark.parametrize("flag", ["--port", "--rest_api_port"])
def test_port_in_use(servable, tmp_path, flag):
    publish(servable, tmp_path / MODEL, 1)
    with socket.create_server(("127.0.0.1", 0)) as owner:
        port = owner.getsockname()[1]
        other = "--rest_api_port" if flag == "--port" else "--port"
        base = str(tmp_path / MODEL)
        ended = run_server(f"{flag}={port}", f"{other}=0", "--model_name", MODEL, "--model_base_path", base)
    assert ended.returncode == 2
    assert ended.stderr.strip() == (
        f"error: port {port} ({flag}) is in use on 127.0.0.1: stop its owner or name another port"
    )


def test_unknown_flag_and_unknown_host(tmp_path):
    ended = run_server(f"--model_base_path={tmp_path}", "--enable_everything")
    assert ended.returncode == 2
    assert "unrecognized arguments: --enable_everything" in ended.stderr
    ended = run_server(f"--model_base_path={tmp_path}", "--port=0", "--rest_api_port=0", "--host=no.such.host.invalid")
    assert ended.returncode == 2
    assert "--rest_api_port" in ended.stderr


@pytest.mark.parametrize("answers", [False, True])
def test_who_is_asked_to_stop(answers, monkeypatch):
    """Before anybody is answered the process ends; later it drains, until the second signal of its kind."""
    ended = []

    def end(code: int) -> None:
        ended.append(code)
        raise SystemExit(code)

    monkeypatch.setattr(app.os, "_exit", end)
    stopping = app._Stopping()
    if not answers:
        with pytest.raises(SystemExit):
            stopping.ask(signal.SIGTERM)
        assert ended == [0]
        return
    stopping.answers()
    told = []
    for number in (signal.SIGINT, signal.SIGTERM, 0, signal.SIGTERM):
        stopping.ask(number)
        told.append((stopping.asked.is_set(), stopping.at_once.is_set()))
    assert told == [(True, False)] * 3 + [(True, True)]
    assert ended == []


def test_a_signal_is_heeded_whatever_the_main_thread_does(tmp_path):
    """Also while that is in a step which takes long; one that is ignored, as under nohup, stays so."""
    program = (
        "import hashlib, os, signal, threading\n"
        "from serving.server import app\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "stopping = app._Stopping()\n"
        "threading.Thread(target=app._heed_signals, args=(app._signals(), stopping), daemon=True).start()\n"
        "assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN\n"
        "threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)\n"  # one step for the interpreter, of minutes
    )
    assert subprocess.run([sys.executable, "-c", program], env=environment(), timeout=30, check=False).returncode == 0


def test_no_version_yet(servable, tmp_path):
    """The ports open without a model after the wait; requests fail until one appears, then they don't."""
    (tmp_path / MODEL).mkdir()
    arguments = command(tmp_path, MODEL, port=0, rest_port=0)
    log = tmp_path / "log"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [*arguments, "--first_version_wait_seconds=1.2", "--file_system_poll_wait_seconds=0.1"],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment(),
        )
    try:
        wait_until(lambda: "ready " in log.read_text(), 60)
        text = log.read_text()
        assert "no version of model tiny in" in text
        assert "version=none" in text
        port = int(text.split(" port=")[1].split()[0])
        with RecommenderClient(f"127.0.0.1:{port}", model=MODEL) as client:
            with pytest.raises(ModelNotFound, match=r"Latest\(tiny\)"):
                client.recommend()
            publish(servable, tmp_path / MODEL, 1)
            wait_until(lambda: _answers(client))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        signal.signal(signal.SIGINT, before)
        process.kill()
        process.wait()


def _answers(client: RecommenderClient) -> bool:
    try:
        return len(client.recommend(k=1)) == 1
    except ModelNotFound:
        return False
