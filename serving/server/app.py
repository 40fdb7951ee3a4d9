"""The server process: claim the ports, load the first versions, open the ports, serve until SIGTERM, drain."""

from __future__ import annotations

import errno
import gc
import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Optional

from serving import stderr
from serving.server import logs, ports, settings
from serving.server.core import ServerCore
from serving.server.flags import Flags, parse
from serving.server.gauges import Gauges
from serving.server.observer import Observer
from serving.server.settings import SettingsError
from serving.server.status import StatusError
from serving.stores import as_path, on_disk

if TYPE_CHECKING:
    from serving.client.answer_log import AnswerLog

_LOGGER = logging.getLogger("serving.server")
_MAX_REQUEST_BYTES = 64 << 20
_GRACE_SECONDS = 30.0
_UNLOAD_SECONDS = 5.0
_SPANS_SECONDS = 5.0
_ENTRYPOINTS = ("GRPC", "REST")
"""Of the servers, as metrics name them."""


class _PortError(Exception):
    """A port can't be bound; the message names it and its flag."""


@dataclass
class _Settings:
    """What the flags' files say."""

    models: Any
    models_written: Any
    """What `settings.written` said before they were read, where their file is to be followed."""
    batching: Any
    credentials: Any
    admin_credentials: Any
    metrics_path: Optional[str]


def main(argv: Sequence[str]) -> int:
    """Runs the server; returns the exit code: 0 after SIGTERM, SIGINT or SIGHUP, 2 if arguments, files or ports are
    wrong."""
    flags = parse(argv)
    logs.set_up(flags.log_format, flags.log_level)
    for name in flags.without_effect:
        _LOGGER.warning("--%s has no effect here: it is for tensorflow_model_server", name)
    stopping = _Stopping()
    threading.Thread(target=_heed_signals, args=(_signals(), stopping), name="signals", daemon=True).start()
    if flags.exit_with_stdin:
        threading.Thread(target=_heed_end_of_stdin, args=(stopping,), daemon=True).start()
    try:
        return _serve(flags, _read_settings(flags), stopping)
    except (_PortError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2


def _serve(flags: Flags, found: _Settings, stopping: _Stopping) -> int:
    # The ports are claimed first, so that one in use is told at once, and opened last.
    rest_socket, admin_rest_socket = _claim_ports(flags)
    servers: list[Any] = []
    answers = _answer_log(flags)
    watch, end_spans = _observer(flags, answers)
    core = _core(flags, found, lambda: servers[0].update_health() if servers else None)
    admission = _admission(flags)
    gauges = Gauges(
        core,
        admission,
        lambda: {name: server.waiting for name, server in zip(_ENTRYPOINTS, servers)},
        lambda: {name: server.thread for name, server in zip(_ENTRYPOINTS, servers)},
        dict if answers is None else answers.counts,
    )
    _import_servers()
    core.start()
    _wait_for_first_versions(core, flags, stopping.asked)
    if stopping.asked.is_set():
        return 0
    if flags.model_config_file and flags.model_config_file_poll_wait_seconds:
        gauges.config_polled()
        arguments = (flags, found.models_written, core, stopping.asked, gauges.config_polled)
        threading.Thread(target=_follow_config_file, args=arguments, name="config", daemon=True).start()
    stopping.answers()
    servers.append(_grpc_server(flags, found, core, admission, watch))
    ports = {"port": servers[0].port, "rest_api_port": None}
    if rest_socket is not None:
        apart = admin_rest_socket is not None
        metrics_path = None if apart else found.metrics_path
        servers.append(_rest_server(flags, metrics_path, core, rest_socket, admission, watch, gauges))
        ports["rest_api_port"] = servers[-1].port
    if flags.admin_port is not None:
        ports = {"admin_port": servers[0].admin_port, **ports}
    if admin_rest_socket is not None:
        servers.append(_rest_server(flags, found.metrics_path, core, admin_rest_socket, admission, watch, gauges))
        ports = {"admin_rest_api_port": servers[-1].port, **ports}
    told = "".join(f" {name}={_or_none(port)}" for name, port in ports.items())
    ready = f"ready{logs.escaped(_models_line(core))} host={flags.host}{told}"
    if flags.log_format == "json":
        logs.always(ready)
    else:
        print(ready, flush=True)
    stopping.asked.wait()
    _drain(servers, stopping.at_once)
    end_spans()
    if answers is not None:
        answers.close()
    core.stop(0 if stopping.at_once.is_set() else _UNLOAD_SECONDS)
    _LOGGER.info("stopped")
    return 0


def _claim_ports(flags: Flags) -> tuple[Any, Any]:
    """Makes sure that ports and socket can be had; returns those of REST, bound, or None for one that isn't wanted."""
    admin_host = flags.admin_host or flags.host
    rest_sockets = [
        None if port is None else _bind(host, port, flag)
        for host, port, flag in (
            (flags.host, flags.rest_api_port, "--rest_api_port"),
            (admin_host, flags.admin_rest_api_port, "--admin_rest_api_port"),
        )
    ]
    for host, port, flag in ((flags.host, flags.port, "--port"), (admin_host, flags.admin_port, "--admin_port")):
        if port:
            _bind(host, port, flag).close()  # gRPC can't take over a bound socket
    if flags.grpc_socket_path:
        _clear(flags.grpc_socket_path)
    return rest_sockets[0], rest_sockets[1]


def _core(flags: Flags, found: _Settings, on_serving: Callable[[], None]) -> ServerCore:
    """The model manager with the models of the flags, which loads nothing yet."""
    core = ServerCore(
        _loader(flags, found.batching),
        poll_seconds=flags.file_system_poll_wait_seconds,
        load_threads=flags.num_load_threads,
        unload_threads=flags.num_unload_threads,
        max_load_retries=flags.max_num_load_retries,
        load_retry_seconds=flags.load_retry_interval_micros / 1e6,
        labels_before_versions=flags.allow_version_labels_for_unavailable_models,
        on_serving=on_serving,
    )
    try:
        core.apply(found.models)
    except StatusError as error:
        raise SettingsError(
            f"{flags.model_config_file or '--model_base_path'}: {_with_advice(error.message)}"
        ) from None
    return core


def _import_servers() -> None:
    """Imports TensorFlow and what needs it, which takes seconds."""
    with stderr.held_back():
        import tensorflow as tf

        import serving.server.rest  # noqa: F401

    tf.get_logger().setLevel(logging.ERROR)
    gc.collect()
    gc.freeze()  # what was imported stays: no later collection has to walk through it


def _admission(flags: Flags) -> Any:
    """What both servers together take on."""
    from serving.server.admission import Admission

    return Admission(flags.max_requests_in_flight, flags.max_bytes_in_flight)


def _answer_log(flags: Flags) -> Optional[AnswerLog]:
    """Where recommendations are logged, if they are."""
    if not flags.answer_log:
        return None
    from serving.client.answer_log import AnswerLog

    key = settings.secret(flags.answer_log_key_file) if flags.answer_log_key_file else None
    return AnswerLog(
        flags.answer_log,
        share=flags.answer_log_share,
        key=key,
        history=flags.answer_log_history,
        keep_bytes=flags.answer_log_keep_bytes or None,
    )


def _observer(flags: Flags, answers: Optional[AnswerLog]) -> tuple[Observer, Callable[[], None]]:
    """What is told of each request, and what ends it."""
    if not flags.enable_opentelemetry:
        return Observer(flags.access_log, answers=answers), lambda: None
    from serving.server import spans

    provider = spans.provider("recommender-server")

    def end() -> None:
        thread = threading.Thread(target=provider.shutdown, daemon=True)
        thread.start()
        thread.join(_SPANS_SECONDS)  # who takes the spans may hang

    return Observer(flags.access_log, spans.Spans(provider), answers), end


def _grpc_server(flags: Flags, found: _Settings, core: ServerCore, admission: Any, watch: Observer) -> Any:
    """The gRPC server, started."""
    from serving.server.grpc_service import Admin, GrpcServer

    admin = None
    if flags.admin_port is not None:
        admin = Admin(flags.admin_host or flags.host, flags.admin_port, found.admin_credentials)
    try:
        server = GrpcServer(
            core,
            host=flags.host,
            port=None if flags.grpc_socket_path and not flags.port else flags.port,
            socket_path=flags.grpc_socket_path or None,
            credentials=found.credentials,
            max_threads=flags.grpc_max_threads,
            max_message_bytes=_MAX_REQUEST_BYTES,
            options=flags.grpc_channel_arguments,
            admission=admission,
            admin=admin,
            watch=watch,
        )
    except OSError as error:
        wanted = f"port {flags.port} (--port)" + (f" or {flags.admin_port} (--admin_port)" if admin else "")
        raise _PortError(f"{wanted} can't be opened on {flags.host}: {error}") from None
    server.start()
    return server


def _rest_server(
    flags: Flags,
    metrics_path: Optional[str],
    core: ServerCore,
    rest_socket: Any,
    admission: Any,
    watch: Observer,
    gauges: Gauges,
) -> Any:
    """A REST server, started."""
    from serving.server.rest import RestServer

    server = RestServer(
        core,
        rest_socket,
        flags.rest_api_num_threads,
        flags.rest_api_timeout_in_ms / 1000,
        _MAX_REQUEST_BYTES,
        metrics_path=metrics_path,
        gauges=gauges.lines,
        cors=flags.rest_api_enable_cors_support,
        admission=admission,
        watch=watch,
    )
    try:
        server.start()
    except OSError as error:  # another server claimed the port while both were loading
        raise _PortError(f"port {flags.rest_api_port} (--rest_api_port) can't be opened: {error}") from None
    return server


def _drain(servers: Sequence[Any], at_once: threading.Event) -> None:
    """Lets the requests that run end, but not beyond the grace, nor a second signal."""
    _LOGGER.info("stopping: no new requests, those that run may end")
    stopping = [threading.Thread(target=server.stop, args=(_GRACE_SECONDS,), daemon=True) for server in servers]
    for thread in stopping:
        thread.start()
    while any(thread.is_alive() for thread in stopping) and not at_once.wait(0.02):
        pass


def _read_settings(flags: Flags) -> _Settings:
    batching = None
    if flags.enable_batching:
        batching = settings.batching_parameters(flags.batching_parameters_file)
    followed = flags.model_config_file and flags.model_config_file_poll_wait_seconds
    if flags.ssl_config_file and flags.rest_api_port is not None:
        _LOGGER.warning(
            "gRPC has TLS, but --rest_api_port hasn't: what is asked and answered there can be read on its way; leave"
            " it out, or put a proxy with TLS before it"
        )
    credentials = settings.server_credentials(flags.ssl_config_file, flags.use_alts_credentials)
    return _Settings(
        models_written=settings.written(flags.model_config_file) if followed else None,
        models=settings.model_config(flags.model_config_file)
        if flags.model_config_file
        else settings.single_model(flags.model_name, flags.model_base_path),
        batching=batching,
        credentials=credentials,
        admin_credentials=settings.server_credentials(flags.admin_ssl_config_file) or credentials,
        metrics_path=settings.metrics_path(flags.monitoring_config_file) if flags.monitoring_config_file else None,
    )


def _loader(flags: Flags, batching: Any) -> Callable[[str], Any]:
    """What loads a version's folder."""

    def load(path: str) -> Any:
        from serving.server.servable import Servable
        from serving.server.session import SessionOptions

        options = SessionOptions(
            flags.tensorflow_intra_op_parallelism or flags.tensorflow_session_parallelism,
            flags.tensorflow_inter_op_parallelism or flags.tensorflow_session_parallelism,
        )
        own = batching
        if own is not None and flags.enable_per_model_batching_parameters:
            own = settings.model_batching_parameters(path, own)
        warm_ups = max(1, flags.num_request_iterations_for_warmup) if flags.enable_model_warmup else 0
        return Servable(path, options, warm_ups, own)

    def load_copy(path: str) -> Any:
        with on_disk(as_path(path)) as copy:  # what is loaded needs no files any more
            return load(str(copy))

    return load_copy


def _wait_for_first_versions(core: ServerCore, flags: Flags, stop: threading.Event) -> None:
    """Waits until each model serves or the first look found only damaged versions; says what it waits for."""
    names = [manager.name for manager in core.models()]
    started = time.monotonic()
    said = False
    while not core.wait(names, 0.05) and not stop.is_set():
        waited = time.monotonic() - started
        empty = [manager for manager in core.models() if not manager.states()]
        if not said and waited >= 1.0:
            said = True
            for manager in empty:
                _LOGGER.info(
                    "no version of model %s in %s yet: the ports open when there is one, or after %g s",
                    manager.name,
                    manager.base_path,
                    flags.first_version_wait_seconds,
                )
        if waited >= flags.first_version_wait_seconds and core.wait([], 0):
            break
    for manager in core.models():
        if manager.current_version is None and not stop.is_set():
            _LOGGER.info(
                "no version of model %s can be served: requests get NOT_FOUND until there is one", manager.name
            )


def _follow_config_file(
    flags: Flags, taken: Any, core: ServerCore, stop: threading.Event, polled: Callable[[], None] = lambda: None
) -> None:
    """Takes on what the file says whenever it was written; one that can't be used changes nothing and is told once.

    `polled` is called after each look that found a file which counts.
    """
    path = flags.model_config_file
    refused: Optional[int] = None  # the core's generation then: after a reload that is newer it isn't tried again
    told = ""
    while not stop.wait(flags.model_config_file_poll_wait_seconds):
        generation, written = core.generation, taken
        try:
            written = settings.written(path)
            if written == taken and refused != generation:
                if refused is None:
                    told = ""
                    polled()
                continue
            if core.apply(settings.model_config(path), since=generation) is None:
                continue  # a reload came while the file was read: it may have been written since
            taken, refused, told = written, None, ""
            polled()
        except Exception as error:  # any: nobody would follow the file any more
            if written != taken:  # else it was refused already, or couldn't be looked at: what it said still counts
                taken, refused = written, generation
            if str(error) != told:
                told = str(error)
                known = isinstance(error, (SettingsError, StatusError))
                _LOGGER.error("%s changes nothing: %s", path, told, exc_info=None if known else error)


def _models_line(core: ServerCore) -> str:
    return "".join(
        f" model={shlex.quote(manager.name)} version={_or_none(manager.current_version)}" for manager in core.models()
    )


def _or_none(number: Optional[int]) -> str:
    return "none" if number is None else str(number)


def _with_advice(message: str) -> str:
    if "assign label" in message:
        return f"{message}; start with --allow_version_labels_for_unavailable_models"
    return message


def _bind(host: str, port: int, flag: str) -> Any:
    try:
        return ports.bind(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _PortError(f"port {port} ({flag}) is in use on {host}: stop its owner or name another port") from None
        raise _PortError(f"port {port} ({flag}) can't be opened on {host}: {error.strerror or error}") from None


def _clear(path: str) -> None:
    try:
        ports.clear_unix_socket(path)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _PortError(f"{path} (--grpc_socket_path) is in use: stop its owner or name another path") from None
        raise _PortError(f"{path} (--grpc_socket_path) can't be opened: {error.strerror or error}") from None


class _Stopping:
    """Who wants the server to stop, and how far that may take."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.at_once = threading.Event()
        """Don't wait for the requests that run."""
        self._answers = False
        self._lock = threading.Lock()
        self._told: set[int] = set()

    def answers(self) -> None:
        """From now on somebody may be answered."""
        with self._lock:
            self._answers = True

    def ask(self, number: int = 0) -> None:
        """Stops, for a signal, or for the end of standard input (0).

        A signal ends the process where nobody has been answered yet, and the second of its kind ends the drain.
        """
        with self._lock:
            if number and not self._answers:
                os._exit(0)
            if number in self._told:
                self.at_once.set()
            self._told.add(number)
        self.asked.set()


def _signals() -> int:
    """A pipe with the number of each signal that asks the server to stop.

    Python's own handlers run in the main thread between two of its steps, which may take seconds while TensorFlow is
    imported, and must not touch an event that this thread may be waiting for. This is written at once.
    """
    there, here = os.pipe()
    os.set_blocking(here, False)
    signal.set_wakeup_fd(here)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # the last when a terminal is closed
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it, and SIGINT in a script's background
            signal.signal(number, lambda *_: None)
    return there


def _heed_signals(pipe: int, stopping: _Stopping) -> None:
    while True:
        for number in os.read(pipe, 64):
            stopping.ask(number)


def _heed_end_of_stdin(stopping: _Stopping) -> None:
    while os.read(0, 4096):
        pass
    stopping.ask()
