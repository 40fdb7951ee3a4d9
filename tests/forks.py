"""Commands in processes of their own that needn't import TensorFlow, TFX and Beam first.

`import` of those costs each process ten seconds. Here one process, the server, imports them once and forks for each
command, before any thread is there that a fork would lose. What is forked off is as real a process as any: the caller
is its parent, it has its own session, streams, folder, environment and exit code, can be killed, and ends as Python
ends. Only what happens before and during imports is not seen: what tests that starts a plain process.

    Popen(["python", "-m", "kubeflow.node", ...], stdout=subprocess.PIPE)  # as subprocess.Popen

A process that was forked off has in turn what it starts of these forked: by a process beside it that has no threads.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Optional

CHECKOUT = Path(__file__).resolve().parents[1]
ROOMS = ("pipeline", "components", "serving", "kubeflow")

LIBRARIES = (
    "apache_beam.runners.worker.sdk_worker_main",
    "apache_beam.runners.worker.worker_pool_main",
    "tensorflow_data_validation",
    "tensorflow_model_analysis",
    "tensorflow_transform.beam",
    "tfx.components.statistics_gen.executor",
    "tfx.components.transform.executor",
    "tfx.v1",
)
"""What Beam's workers import of other packages, of which TensorFlow is one."""

_NOT_IMPORTED = ("kubeflow.entrypoint", "kubeflow.node", "serving.server", "pipeline.model.workers.worker")
"""Modules that are run by `python -m`, which complains about those that are imported already."""

_WITHOUT_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""For libraries that start threads when they are imported."""

_SERVERS_VARIABLES = {"TF_CPP_MIN_LOG_LEVEL": "3", "GRPC_VERBOSITY": "NONE", "TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1"}
"""What `serving/server/__main__.py` sets before it imports TensorFlow and gRPC."""

_LIBRARIES_FILES: set[int] = set()
"""Files that are open after all imports, which a forked process keeps."""

COLLECTIONS = (20_000, 10, 10)
"""When Python collects garbage (`gc.set_threshold`), as `pipeline/cli/app.py` has it."""

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_SIZE = struct.Struct("!q")


class Popen(subprocess.Popen):
    """A `subprocess.Popen` of `[PYTHON, "-m", MODULE, ...]` or `[PYTHON, "-c", CODE, ...]` by the fork server.

    Of the options of `subprocess.Popen` it takes the streams and their text, `cwd`, `env` and `start_new_session`;
    SIGINT is handled as at a terminal.
    """

    # Popen has no other place to say how a process is made; the arguments are the same from Python 3.10 to 3.13.
    def _execute_child(self, args: Sequence[str], *options: Any) -> None:
        assert options[1] is None, "no function can be handed to a forked process"
        assert not options[3], "it has the three streams only"
        _fork(self, args, options, _server(self._imported).fork)

    _imported = "all"


class PopenOfLibraries(Popen):
    """The same by a server that has imported what the project needs and nothing of the project itself."""

    _imported = "libraries"


def _fork(process: Any, args: Sequence[str], options: Sequence[Any], by: Callable[..., int]) -> None:
    """What `subprocess.Popen._execute_child` does, by a server's `fork`."""
    p2cread, _, _, c2pwrite, _, errwrite = streams = options[9:15]
    fds = [stream if stream != -1 else usual for usual, stream in enumerate((p2cread, c2pwrite, errwrite))]
    process.pid = by(list(map(str, args)), os.fspath(options[4] or os.getcwd()), options[5], fds, bool(options[20]))
    process._child_created = True
    process._close_pipe_fds(*streams)


def run(args: Sequence[str], *, check: bool = False, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, as `subprocess.run(capture_output=True, text=True)` does."""
    with Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as process:
        stdout, stderr = process.communicate()
    ended = subprocess.CompletedProcess(args, process.returncode, stdout, stderr)
    if check:
        ended.check_returncode()
    return ended


class _Client:
    """Asks a fork server that this process has started."""

    def __init__(self, server: socket.socket) -> None:
        self._lock = threading.Lock()
        self._socket = server

    def fork(
        self, args: list[str], cwd: str, env: Optional[Mapping[str, str]], fds: list[int], new_session: bool
    ) -> int:
        """Starts a command as a child of this process; returns its process id."""
        request = {"args": args, "cwd": cwd, "env": dict(os.environ if env is None else env), "session": new_session}
        with self._lock, _adopting():
            socket.send_fds(self._socket, [b"f"], fds)
            _send(self._socket, request)
            pid = _receive(self._socket)
        if pid is None:
            raise RuntimeError("the fork server is gone")
        return int(pid)


@functools.cache
def _server(imported: str) -> _Client:
    """A fork server of this process, by what it has imported: `all`, `libraries` or `server`."""
    asking, answering = socket.socketpair()
    environment = {**os.environ, **_WITHOUT_THREADS}
    # What makes the frameworks quieter or faster than a user has them is read when they are imported.
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS", "TF_CPP_MIN_LOG_LEVEL", "TF_USE_LEGACY_KERAS"):
        environment.pop(name, None)
    environment.update(_SERVERS_VARIABLES if imported == "server" else {})
    with answering:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(answering.fileno()), imported],
            cwd=CHECKOUT,
            env=environment,
            pass_fds=[answering.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def end() -> None:
        asking.close()
        process.wait()

    atexit.register(end)
    if _receive(asking) is None:
        assert process.stderr is not None
        raise RuntimeError(f"the fork server did not start: {process.stderr.read().decode()[-2000:]}")
    return _Client(asking)


@contextlib.contextmanager
def _adopting() -> Any:
    """Inside, processes whose parent ends become children of this one."""
    libc = ctypes.CDLL(None)
    libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_SUBREAPER, 0, 0, 0, 0)


def threads() -> int:
    """The threads of this process, Python's and others."""
    return len(os.listdir("/proc/self/task"))


def _open_files() -> set[int]:
    return set(map(int, os.listdir("/proc/self/fd"))) - {0, 1, 2}


def import_libraries() -> None:
    """Imports what Beam's workers need of other packages."""
    for name in LIBRARIES:
        importlib.import_module(name)


def import_server() -> None:
    """Imports what a model server needs."""
    importlib.import_module("serving.server.app")
    importlib.import_module("tensorflow")


def import_all() -> None:
    """Imports the rooms, and so all that they need."""
    for room in ROOMS:
        package = importlib.import_module(room)
        for found in pkgutil.walk_packages(package.__path__, f"{room}."):
            if not found.name.startswith(_NOT_IMPORTED) and not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    for name in ("pipeline.pipeline", "filelock", "tensorboard.summary"):  # some only when they are used
        importlib.import_module(name)
    code = importlib.import_module("pipeline.code")
    for file in (file for room in ROOMS for file in (CHECKOUT / room).rglob("*.py")):
        code._names(file.read_bytes())  # is remembered, and asked for by each run


def main() -> None:
    """The server: answers requests until the socket is closed; a process that it forks off returns from its `serve`."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    gc.disable()  # none of what is imported is garbage
    {"all": import_all, "libraries": import_libraries, "server": import_server}[sys.argv[2]]()
    if threads() != 1:
        raise SystemExit(f"an import has started threads: {threads()}")
    _LIBRARIES_FILES.update(_open_files() - {connection.fileno()})
    gc.collect()
    gc.freeze()  # so that the collections of what is forked off don't copy the pages of what they all share
    gc.enable()
    gc.set_threshold(*COLLECTIONS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _send(connection, os.getpid())
    _serve(connection)


def _serve(connection: socket.socket) -> NoReturn:
    """Answers requests until the connection is closed; a process that is forked off becomes what was asked for."""
    while True:
        _, fds, _, _ = socket.recv_fds(connection, 1, 3)
        if not fds:
            os._exit(0)
        request = _receive(connection)
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            for fd in fds:
                os.close(fd)
            continue
        between = os.getpid()
        if os.fork():
            os._exit(0)
        break
    # A grandchild, which its caller adopts when the child has ended.
    while os.getppid() == between:
        time.sleep(0.001)
    _send(connection, os.getpid())
    connection.close()
    become(request["args"], request["cwd"], request["env"], fds, request["session"])


def become(args: list[str], cwd: str, env: Mapping[str, str], fds: Sequence[int], new_session: bool) -> NoReturn:
    """Makes this process the one of a command line of Python, and runs that to its end."""
    if new_session:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for usual, copy in enumerate([os.dup(fd) for fd in fds]):
        os.dup2(copy, usual)
    for fd in _open_files() - _LIBRARIES_FILES:
        with contextlib.suppress(OSError):  # the one that was open to list them
            os.close(fd)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    tempfile.tempdir = None  # may have been asked for while importing, in another environment
    if "PYTHONUNBUFFERED" in env:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    _server_beside()
    _, how, what, *rest = args
    if how == "-c":
        sys.argv, sys.path[0] = ["-c", *rest], ""
        sys.modules["__main__"] = module = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), module.__dict__)
    else:
        assert how == "-m", args
        sys.argv, sys.path[0] = [what, *rest], cwd
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    raise SystemExit(0)


_execute_child = subprocess.Popen._execute_child  # type: ignore[attr-defined]


def fork_servers() -> None:
    """Lets this process have model servers forked, whoever starts one."""
    _start_by(lambda *request: _server("server").fork(*request), ["-m", "serving.server"])


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Inside, subprocesses are started as ever: for what is said of their start and imports."""
    execute_child = subprocess.Popen._execute_child  # type: ignore[attr-defined]
    subprocess.Popen._execute_child = _execute_child  # type: ignore[attr-defined]
    try:
        yield
    finally:
        subprocess.Popen._execute_child = execute_child  # type: ignore[attr-defined]


def _server_beside() -> None:
    """Forks off a server that ends with this process, and lets it fork what this process starts, where it can.

    What is looked for by its command line, such as the workers of a training, is started as ever.
    """
    asking, answering = socket.socketpair()
    if not os.fork():
        asking.close()
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):  # whoever reads from these waits for their end
            os.dup2(nothing, stream)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _serve(answering)
    answering.close()
    _start_by(_Client(asking).fork, ["-c"], ["-m", "kubeflow.node"], ["-m", "serving.server"])


def _start_by(fork: Callable[..., int], *kinds: list[str]) -> None:
    """From now on subprocesses of these kinds, by how Python's arguments begin, are forked, others started as ever."""

    def execute_child(self: Any, args: Any, *options: Any) -> None:
        python, *arguments = list(args)[:3] if isinstance(args, (list, tuple)) else [None]
        forked = python == sys.executable and any(arguments[: len(kind)] == kind for kind in kinds)
        if forked and not options[1] and not options[3]:  # neither a function to call nor files to pass
            sys.stdout.flush()
            _fork(self, args, options, fork)
        else:
            _execute_child(self, args, *options)

    subprocess.Popen._execute_child = execute_child  # type: ignore[attr-defined]


def _send(connection: socket.socket, message: Any) -> None:
    content = json.dumps(message).encode("utf-8", "surrogatepass")
    connection.sendall(_SIZE.pack(len(content)) + content)


def _receive(connection: socket.socket) -> Any:
    """The next message; None at the end."""
    with connection.makefile("rb") as file:
        size = file.read(_SIZE.size)
        return json.loads(file.read(_SIZE.unpack(size)[0])) if len(size) == _SIZE.size else None


if __name__ == "__main__":
    main()
