"""The server process: claim the ports, load the first version, open the ports, serve until SIGTERM, drain."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from serving.server.flags import Flags, parse

_LOGGER = logging.getLogger("serving.server")
_MAX_REQUEST_BYTES = 64 << 20
_GRACE_SECONDS = 30.0
_UNLOAD_SECONDS = 5.0


class _PortError(Exception):
    """A port can't be bound; the message names it and its flag."""


def main(argv: Sequence[str]) -> int:
    """Runs the server; returns the exit code: 0 after SIGTERM or SIGINT, 2 if arguments or ports are wrong."""
    flags = parse(argv)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.propagate = False
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if flags.exit_with_stdin:
        threading.Thread(target=_stop_at_end_of_stdin, args=(stop,), daemon=True).start()
    try:
        return _serve(flags, stop)
    except _PortError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2


@contextlib.contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Keeps what is written to stderr meanwhile, and shows it only if there is an error.

    TensorFlow's libraries write while they are loaded, before they look at TF_CPP_MIN_LOG_LEVEL.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _serve(flags: Flags, stop: threading.Event) -> int:
    # The ports are claimed first, so that one in use is told at once, and opened last.
    rest_socket = None if flags.rest_api_port is None else _bind(flags.host, flags.rest_api_port, "--rest_api_port")
    if flags.port:
        _bind(flags.host, flags.port, "--port").close()  # gRPC can't take over a bound socket

    with _stderr_held_back():
        import tensorflow as tf

        from serving.server.core import ServerCore
        from serving.server.grpc_service import GrpcServer
        from serving.server.rest import RestServer
        from serving.server.servable import Servable, SessionOptions
        from serving.server.versions import VersionManager

    tf.get_logger().setLevel(logging.ERROR)
    gc.collect()
    gc.freeze()  # what was imported stays: no later collection has to walk through it
    options = SessionOptions(flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism)
    grpc_server: Optional[GrpcServer] = None

    def update_health() -> None:
        if grpc_server is not None:
            grpc_server.update_health()

    versions = VersionManager(
        flags.model_name,
        os.path.abspath(flags.model_base_path),
        load=lambda path: Servable(path, options),
        poll_seconds=flags.file_system_poll_wait_seconds,
        on_change=update_health,
    )
    core = ServerCore({flags.model_name: versions})
    versions.start()
    _wait_for_first_version(versions, flags, stop)
    if stop.is_set():
        return 0
    try:
        grpc_server = GrpcServer(core, flags.host, flags.port, flags.grpc_max_threads, _MAX_REQUEST_BYTES)
    except OSError as error:
        raise _PortError(f"port {flags.port} (--port) can't be opened on {flags.host}: {error}") from None
    grpc_server.start()
    rest_server = None
    if rest_socket is not None:
        rest_server = RestServer(
            core, rest_socket, flags.rest_api_num_threads, flags.rest_api_timeout_in_ms / 1000, _MAX_REQUEST_BYTES
        )
        try:
            rest_server.start()
        except OSError as error:  # another server claimed the port while both were loading
            raise _PortError(f"port {flags.rest_api_port} (--rest_api_port) can't be opened: {error}") from None
    version = versions.current_version
    print(
        f"ready model={shlex.quote(flags.model_name)} version={'none' if version is None else version}"
        f" host={flags.host} port={grpc_server.port} rest_api_port={rest_server.port if rest_server else 'none'}",
        flush=True,
    )
    stop.wait()
    _LOGGER.info("stopping: no new requests, those that run may end")
    stopping = [threading.Thread(target=s.stop, args=(_GRACE_SECONDS,)) for s in (grpc_server, rest_server) if s]
    for thread in stopping:
        thread.start()
    for thread in stopping:
        thread.join()
    versions.stop(_UNLOAD_SECONDS)
    _LOGGER.info("stopped")
    return 0


def _wait_for_first_version(versions: Any, flags: Flags, stop: threading.Event) -> None:
    """Waits until a version serves or the first look found only damaged ones; says what it waits for."""
    said = False
    waited, step = 0.0, 0.05
    while not versions.wait(step) and not stop.is_set():
        waited += step
        if not said and waited >= 1.0 and not versions.states():
            said = True
            _LOGGER.info(
                "no version of model %s in %s yet: the ports open when there is one, or after %g s",
                versions.name,
                versions.base_path,
                flags.first_version_wait_seconds,
            )
        if waited >= flags.first_version_wait_seconds and not versions.states():
            break
    if versions.current_version is None and not stop.is_set():
        _LOGGER.info("no version of model %s can be served: requests get NOT_FOUND until there is one", versions.name)


def _bind(host: str, port: int, flag: str) -> Any:
    from serving.server.ports import bind

    try:
        return bind(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _PortError(f"port {port} ({flag}) is in use on {host}: stop its owner or name another port") from None
        raise _PortError(f"port {port} ({flag}) can't be opened on {host}: {error.strerror or error}") from None


def _stop_at_end_of_stdin(stop: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    stop.set()
