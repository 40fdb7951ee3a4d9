"""The server as a process: start, swap under load, ports in use, drain, and what is left when its parent dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving import contract
from serving.client import ModelNotFound, RecommenderClient, RecommenderError, Tensor
from serving.server.process import EMBEDDED, ModelLoadError, ServerProcess, ServerStartError, environment
from tests.serving import tiny_servable
from tests.serving.fixtures import MODEL
from tests.serving.server.running import publish, wait_until

pytestmark = pytest.mark.slow

_LOOK_OFTEN = "--file_system_poll_wait_seconds=0.1"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Load:
    """Constant requests from some threads over one transport; checks each answer against its version."""

    def __init__(self, target: str, transport: str, threads: int = 2):
        self.answers = 0
        self.wrong: list[object] = []
        self._stop = threading.Event()
        self._client = RecommenderClient(target, model=MODEL, transport=transport)
        self._pool = ThreadPoolExecutor(threads)
        self._futures = [self._pool.submit(self._run) for _ in range(threads)]

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                answer = self._client.recommend(k=2)
            except RecommenderError as error:
                self.wrong.append(error)
                continue
            self.answers += 1
            made_by = int(answer[0].score // 1000)
            if made_by not in (1, 2) or (answer.version is not None and answer.version != made_by):
                self.wrong.append(answer)

    def stop(self) -> None:
        self._stop.set()
        self._pool.shutdown()
        self._client.close()


def test_hot_swap_under_load_and_drain(servable, second_servable, tmp_path):
    publish(servable, tmp_path / MODEL, 1)
    log = tmp_path / "server.log"
    with ServerProcess(tmp_path, MODEL, binary=EMBEDDED, log_path=log, flags=[_LOOK_OFTEN]) as server:
        loads = [Load(server.grpc_target, "grpc"), Load(server.rest_target, "rest")]
        client = RecommenderClient(server.grpc_target, model=MODEL)
        assert client.recommend().version == 1

        (tmp_path / MODEL / "3").mkdir()  # half copied
        (tmp_path / MODEL / "3" / "saved_model.pb").write_bytes(b"\x08\x01garbage")
        wait_until(lambda: any(status.version == 3 and status.error_code for status in client.status()))
        assert client.recommend().version == 1

        publish(second_servable, tmp_path / MODEL, 2)
        wait_until(lambda: client.recommend().version == 2)
        wait_until(lambda: {s.version: s.state for s in client.status()} == {3: "LOADING", 2: "AVAILABLE", 1: "END"})
        with RecommenderClient(server.grpc_target, model=MODEL, version=1) as old, pytest.raises(ModelNotFound):
            old.recommend()
        for load in loads:
            load.stop()
        assert [load.wrong for load in loads] == [[], []]
        assert min(load.answers for load in loads) > 20

        # Requests that run are answered although the server was told to stop.
        rest = RecommenderClient(server.rest_target, model=MODEL, transport="rest")
        with ThreadPoolExecutor(2) as pool:
            inputs = {"seconds": Tensor("float64", (), [1.0])}
            late = [pool.submit(asked.predict, "slow", inputs, ["late"]) for asked in (client, rest)]
            time.sleep(0.4)
            os.kill(server.pid, signal.SIGTERM)
            assert all(answer.result()["late"].values[0] >= 0 for answer in late)
        assert server.stop() == 0
        client.close()
        rest.close()
    text = log.read_text()
    assert text.count("version 3") == 1
    assert "version 2 goes on serving" in text or "version 1 goes on serving" in text
    assert text.strip().endswith("stopped")


def test_a_model_that_cannot_be_loaded(tmp_path, servable):
    broken = tmp_path / MODEL / "1"
    shutil.copytree(servable, broken)
    (data,) = (broken / "variables").glob("*.data-*")
    data.write_bytes(data.read_bytes()[:-3])
    with (
        pytest.raises(ModelLoadError, match="version 1 can't be loaded"),
        ServerProcess(tmp_path, MODEL, binary=EMBEDDED),
    ):
        pass


def test_a_model_whose_warmup_fails(tmp_path, servable):
    version = shutil.copytree(servable, tmp_path / MODEL / "1")
    tiny_servable.write_warmup(str(version / contract.WARMUP), ["recommend", "no_such_signature"])
    with (
        pytest.raises(ModelLoadError, match='warm-up request 1 failed: Serving signature key "no_such_signature"'),
        ServerProcess(tmp_path, MODEL, binary=EMBEDDED),
    ):
        pass


def test_a_binary_that_is_none(tmp_path):
    with (
        pytest.raises(ServerStartError, match="can't be started"),
        ServerProcess(tmp_path, MODEL, binary="/no/such/file"),
    ):
        pass
    with (
        pytest.raises(ServerStartError, match="ended with exit code 1"),
        ServerProcess(tmp_path, MODEL, binary=shutil.which("false")),
    ):
        pass


def test_a_binary_gets_tensorflow_model_servers_flags(tmp_path):
    """A stand-in for tensorflow_model_server that writes its arguments down and fails as that does."""
    script = tmp_path / "tensorflow_model_server"
    script.write_text('#!/bin/sh\necho "$@"\necho "1 servable(s) did not become available"\nexit 255\n')
    script.chmod(0o755)
    with pytest.raises(ModelLoadError) as error, ServerProcess(tmp_path, MODEL, binary=str(script)):
        pass
    assert f"--model_base_path={tmp_path / MODEL}" in str(error.value)
    assert "--port=0" not in str(error.value)
    assert "--exit_with_stdin" not in str(error.value)


def test_nothing_is_left_when_the_parent_is_killed(servable, tmp_path):
    publish(servable, tmp_path / MODEL, 1)
    program = (
        "import sys, time; from serving.server.process import ServerProcess\n"
        f"server = ServerProcess({str(tmp_path)!r}, {MODEL!r}, binary='embedded')\n"
        "server.start(); print(server.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment())
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not alive(child))
