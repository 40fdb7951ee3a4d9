"""The server process over its life: memory after many swaps, configs by file and by request, sockets, signals."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.server.process import EMBEDDED, ServerProcess, environment
from tests.serving.fake_models import model, server_config
from tests.serving.fixtures import MODEL

pytestmark = pytest.mark.slow

_MB = 48
_SWAPS = 50


def publish(source: Path, folder: Path, version: int) -> None:
    """Puts a version in place as the Pusher does: by rename."""
    shutil.copytree(source, folder / ".publish", copy_function=os.link)
    (folder / ".publish").rename(folder / str(version))


def wait_until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


class Asked:
    """The server asked by TensorFlow Serving's own stubs."""

    def __init__(self, target: str):
        self._channel = grpc.insecure_channel(target)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._channel.close()

    def states(self, name=MODEL):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        found = self._models.GetModelStatus(request, timeout=20).model_version_status
        return {status.version: status.State.Name(status.state) for status in found}

    def version(self, name=MODEL, label=None, signature="double", values=(1.0, 2.0)):
        """The version that answers, or the name of the code that says why not."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = name, signature
        if label is not None:
            request.model_spec.version_label = label
        x = request.inputs["x"]
        x.dtype = 1
        for size in (1, 2):
            x.tensor_shape.dim.add(size=size)
        x.float_val.extend(values)
        try:
            return self._predictions.Predict(request, timeout=20).model_spec.version.value
        except grpc.RpcError as error:
            return error.code().name

    def reload(self, config):
        request = model_management_pb2.ReloadConfigRequest(config=config)
        return self._models.HandleReloadConfigRequest(request, timeout=60).status

    def slow(self, seconds):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = MODEL, "slow"
        request.inputs["seconds"].dtype = 2
        request.inputs["seconds"].double_val.append(seconds)
        return self._predictions.Predict.future(request, timeout=60)


def memory_mb(pid: int) -> float:
    """Resident memory that no file backs."""
    found = re.search(r"^RssAnon:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_fifty_swaps_leave_no_growth_beyond_one_model(tmp_path):
    import tensorflow as tf

    class Table(tf.Module):
        def __init__(self):
            self.rows = tf.Variable(tf.random.stateless_uniform([_MB * 4096, 64], (1, 2)))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
        def look(self, row):
            return {"y": tf.gather(self.rows, row)}

    table = Table()
    tf.saved_model.save(table, str(tmp_path / "source"), signatures={"serving_default": table.look})
    folder = tmp_path / MODEL
    folder.mkdir()
    publish(tmp_path / "source", folder, 1)
    flags = ["--file_system_poll_wait_seconds=0.05", "--tensorflow_session_parallelism=1"]
    with ServerProcess(tmp_path, MODEL, binary=EMBEDDED, flags=flags) as server, Asked(server.grpc_target) as asked:
        before = memory_mb(server.pid)
        after = []
        for version in range(2, _SWAPS + 2):
            publish(tmp_path / "source", folder, version)
            wait_until(lambda new=version: asked.states().get(new) == "AVAILABLE" and asked.states()[new - 1] == "END")
            shutil.rmtree(folder / str(version - 1))
            after.append(memory_mb(server.pid))
    assert before > _MB
    assert after[-1] - before < _MB
    assert after[-1] - after[4] < _MB / 4, after  # and it has settled


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
            running.send_signal(signal.SIGTERM)
            wait_for_line(running, "stopping")
            wait_until(lambda: asked.version() in ("UNAVAILABLE", "CANCELLED"))
            assert not late.done()
            running.send_signal(signal.SIGTERM)
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


def run_server(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving.server", *flags],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


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
