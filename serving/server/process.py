"""Runs a model server as a child process: the real tensorflow_model_server if there is one, else the embedded one."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Optional, Union

from serving.client import DeadlineExceeded, ModelNotFound, RecommenderClient, ServerUnavailable, VersionStatus
from serving.server.ports import free_port
from serving.stores import AnyPath, ObjectPath, as_path

EMBEDDED = "embedded"
REAL_SERVER = "tensorflow_model_server"

_READY = re.compile(r'^(?:|\{.*"message": ")ready .* port=(\d+) rest_api_port=(\d+)(?:|"\})$', re.MULTILINE)
_REAL_SERVER_LOAD_FAILED = "did not become available"  # and then tensorflow_model_server ends
_POLL_SECONDS = 0.05
_POLL_STORE = 10  # seconds between two looks for versions in an object store, where each is paid for
_POLL_CONFIG = 10  # seconds after which a server that missed a reload reads models.config
_STOP_SECONDS = 15.0
_LOG_TAIL = 2000  # characters of the log that an error shows


class ServerStartError(RuntimeError):
    """The server didn't come up: the environment is at fault (a port in use, the binary)."""


class ModelLoadError(RuntimeError):
    """The server can't load the model, crashes over it, or takes too long; the message says why."""


def find_model_server() -> Optional[str]:
    """Path of the real tensorflow_model_server, if one is on the PATH."""
    return shutil.which(REAL_SERVER)


def command(
    base_path: Union[str, AnyPath],
    model_name: str,
    *,
    port: int,
    rest_port: int,
    host: str = "127.0.0.1",
    binary: str = EMBEDDED,
    config_file: Optional[AnyPath] = None,
) -> list[str]:
    """The command line that serves the newest version under `base_path` as `model_name`, or what a config file says.

    Args:
        base_path: versions lie in `<base_path>/<model_name>/<version>`.
        model_name: the model's name in requests and on disk.
        port: gRPC port.
        rest_port: REST port.
        host: address to listen on (the real server listens on all of them, whatever is said here).
        binary: path of a tensorflow_model_server, or `EMBEDDED`.
        config_file: a models.config, which then decides about models and versions.
    """
    base_path = as_path(base_path).absolute()
    poll = _POLL_STORE if isinstance(base_path, ObjectPath) else 1
    flags = [f"--port={port}", f"--rest_api_port={rest_port}", f"--file_system_poll_wait_seconds={poll}"]
    if config_file is None:
        path = base_path / model_name
        flags += [f"--model_name={model_name}", f"--model_base_path={path}"]
    else:
        flags += [
            f"--model_config_file={config_file.absolute()}",
            f"--model_config_file_poll_wait_seconds={_POLL_CONFIG}",
        ]
    # Else a start with labels is refused: they are checked before anything is loaded.
    flags.append("--allow_version_labels_for_unavailable_models=true")
    if binary == EMBEDDED:
        return [sys.executable, "-m", "serving.server", f"--host={host}", *flags]
    return [binary, *flags]


def environment() -> dict[str, str]:
    """The environment of a child that can import this package, installed or not."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


class ServerProcess:
    """A model server as a child process; a context manager that leaves nothing running.

        with ServerProcess("output/models", "movielens-100k") as server:
            client = RecommenderClient(server.grpc_target, model="movielens-100k")

    Args:
        base_path: versions lie in `<base_path>/<model_name>/<version>`.
        model_name: the model's name in requests and on disk.
        grpc_port: 0 picks a free one.
        rest_port: 0 picks a free one.
        binary: path of a tensorflow_model_server, or `EMBEDDED`; by default the one on the PATH, else embedded.
        log_path: where the server's output goes; by default a temporary file.
        timeout: seconds that start and load may take.
        flags: more flags for the server.
    """

    def __init__(
        self,
        base_path: Union[str, AnyPath],
        model_name: str,
        grpc_port: int = 0,
        rest_port: int = 0,
        binary: Optional[str] = None,
        log_path: Optional[Union[str, Path]] = None,
        timeout: float = 120.0,
        flags: Sequence[str] = (),
    ):
        self.base_path = as_path(base_path)
        self.model_name = model_name
        self.binary = binary or find_model_server() or EMBEDDED
        self._ports = (grpc_port, rest_port)
        self._log_path = log_path
        self._timeout = timeout
        self._flags = list(flags)
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._log: Optional[IO[bytes]] = None

    @property
    def grpc_target(self) -> str:
        """`host:port` for the client's gRPC transport."""
        return f"127.0.0.1:{self._ports[0]}"

    @property
    def rest_target(self) -> str:
        """`host:port` for the client's REST transport."""
        return f"127.0.0.1:{self._ports[1]}"

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the server and waits until the model answers.

        Raises:
            ServerStartError: the server ended.
            ModelLoadError: the server can't load the model within the timeout.
        """
        if self.binary != EMBEDDED:  # which knows no port 0
            self._ports = self._ports[0] or free_port(), self._ports[1] or free_port()
        arguments = command(
            self.base_path, self.model_name, port=self._ports[0], rest_port=self._ports[1], binary=self.binary
        )
        if self.binary == EMBEDDED:
            arguments.append("--exit_with_stdin")
        self._log = open(self._log_path, "w+b") if self._log_path else tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [*arguments, *self._flags],
                stdin=subprocess.PIPE,  # closed when this process dies, even by SIGKILL
                stdout=self._log,
                stderr=subprocess.STDOUT,
                env=environment(),
            )
        except OSError as error:
            self._log.close()
            raise ServerStartError(f"{arguments[0]} can't be started: {error}") from error
        # Also when nobody calls stop: at the object's end and at the interpreter's.
        self._finalizer = weakref.finalize(self, _end, self._process, _STOP_SECONDS)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> Optional[int]:
        """Ends the server, by SIGTERM and, if that takes too long, by SIGKILL; returns its exit code."""
        if self._process is None:
            return None
        self._finalizer()
        if self._log is not None:
            self._log.close()
        return self._process.returncode

    def log(self) -> str:
        """What the server has written so far."""
        if self._log is None or self._log.closed:
            return ""
        return os.pread(self._log.fileno(), 1 << 24, 0).decode("utf-8", "replace")

    def peak_memory_mb(self) -> Optional[float]:
        """The server's peak resident memory in MiB; None where the system doesn't tell."""
        with contextlib.suppress(OSError):
            found = re.search(r"^VmHWM:\s*(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
            if found:
                return int(found[1]) / 1024
        return None

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._timeout
        with contextlib.ExitStack() as stack:
            client: Optional[RecommenderClient] = None
            while time.monotonic() < deadline:
                assert self._process is not None
                if self._process.poll() is not None:
                    raise self._ended(self._process.returncode)
                if client is None and self._find_ports():
                    client = stack.enter_context(RecommenderClient(self.grpc_target, model=self.model_name, timeout=5))
                if client is not None and _available(client):
                    return
                time.sleep(_POLL_SECONDS)
        raise ModelLoadError(f"the model wasn't ready within {self._timeout:g} s: {self._tail()}")

    def _ended(self, code: int) -> Exception:
        """The error for a server that ended while it started: of a signal (a crash, no memory), or by itself."""
        tail = self._tail()
        if code < 0:
            return ModelLoadError(f"the model server was killed by signal {-code} as it loaded the model: {tail}")
        if _REAL_SERVER_LOAD_FAILED in tail:
            return ModelLoadError(tail)
        return ServerStartError(f"the model server ended with exit code {code}: {tail}")

    def _find_ports(self) -> bool:
        """Learns the ports that the embedded server picked; tells whether they are known."""
        if self.binary == EMBEDDED:
            found = _READY.search(self.log())
            if not found:
                return False
            self._ports = int(found[1]), int(found[2])
        return True

    def _tail(self) -> str:
        return self.log()[-_LOG_TAIL:].strip() or "it wrote nothing"


def _available(client: RecommenderClient) -> bool:
    try:
        states = client.status()
    except (ServerUnavailable, DeadlineExceeded, ModelNotFound):
        return False
    failed: list[VersionStatus] = [state for state in states if state.error_code]
    if any(state.available for state in states):
        return True
    if failed and len(failed) == len(states):
        raise ModelLoadError(f"version {failed[0].version} can't be loaded: {failed[0].error_message}")
    return False


def _end(process: subprocess.Popen[bytes], seconds: float) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
