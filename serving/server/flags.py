"""The server's command line: tensorflow_model_server's spelling, `--flag=value` or `--flag value`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Optional, Union

from serving.server import logs

_CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_WITHOUT_EFFECT = (
    "enable_profiler",
    "enable_serialization_as_tensor_content",
    "enable_signature_method_name_check",
    "flush_filesystem_caches",
    "force_allow_any_version_labels_for_unavailable_models",
    "mixed_precision",
    "num_tflite_interpreters_per_pool",
    "num_tflite_pools",
    "per_process_gpu_memory_fraction",
    "platform_config_file",
    "prefer_tflite_model",
    "remove_unused_fields_from_bundle_metagraph",
    "saved_model_tags",
    "skip_initialize_tpu",
    "tensorflow_session_config_file",
    "thread_pool_factory_config_file",
    "total_model_memory_limit_bytes",
    "use_tflite_model",
    "xla_cpu_compilation_enabled",
    "xla_gpu_compilation_enabled",
)
"""Flags of tensorflow_model_server that are taken, so that its command line can be used, and change nothing."""


@dataclass(frozen=True)
class Flags:
    """The parsed command line."""

    port: int
    rest_api_port: Optional[int]
    host: str
    grpc_socket_path: str
    grpc_max_threads: int
    grpc_channel_arguments: list[tuple[str, Union[int, str]]]
    use_alts_credentials: bool
    ssl_config_file: str
    rest_api_num_threads: int
    rest_api_timeout_in_ms: int
    rest_api_enable_cors_support: bool
    monitoring_config_file: str
    model_name: str
    model_base_path: str
    model_config_file: str
    model_config_file_poll_wait_seconds: float
    allow_version_labels_for_unavailable_models: bool
    file_system_poll_wait_seconds: float
    max_num_load_retries: int
    load_retry_interval_micros: int
    num_load_threads: int
    num_unload_threads: int
    enable_model_warmup: bool
    num_request_iterations_for_warmup: int
    enable_batching: bool
    batching_parameters_file: str
    enable_per_model_batching_parameters: bool
    tensorflow_session_parallelism: int
    tensorflow_intra_op_parallelism: int
    tensorflow_inter_op_parallelism: int
    admin_port: Optional[int]
    admin_rest_api_port: Optional[int]
    admin_host: str
    admin_ssl_config_file: str
    max_requests_in_flight: int
    max_bytes_in_flight: int
    log_format: str
    log_level: str
    access_log: float
    enable_opentelemetry: bool
    answer_log: str
    answer_log_share: float
    answer_log_history: int
    answer_log_keep_bytes: int
    answer_log_key_file: str
    first_version_wait_seconds: float
    exit_with_stdin: bool
    without_effect: tuple[str, ...]
    """Those that were given and change nothing here."""


def parse(argv: Sequence[str]) -> Flags:
    """Reads the arguments; prints the usage and exits with 2 if they are wrong."""
    reading = parser()
    values = vars(reading.parse_args(argv))
    del values["enable_grpc_healthcheck_service"]
    given = tuple(name for name in _WITHOUT_EFFECT if values.pop(name) is not None)
    flags = Flags(**values, without_effect=given)
    _check(flags, reading)
    return flags


def parser() -> argparse.ArgumentParser:
    """What reads them."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.server",
        description="Serves the versions of SavedModels over gRPC and REST, as tensorflow_model_server does.",
        epilog="Example: python -m serving.server --port=8500 --rest_api_port=8501 --model_name=movielens-100k"
        " --model_base_path=output/serving/movielens-100k",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,  # leaves the lines of --version alone
    )
    add = parser.add_argument

    def switch(name: str, default: bool, text: str) -> None:
        shown = f"{text} (default: {str(default).lower()})"
        add(name, type=_boolean, nargs="?", const=True, default=default, metavar="true|false", help=shown)

    add("--version", action="version", version=_version(), help="print the versions of server and TensorFlow")
    add("--port", type=_port, default=8500, help="gRPC port; 0 picks a free one, see the ready line (default: 8500)")
    add("--rest_api_port", type=_port, help="REST port; 0 picks a free one; no REST API without this flag")
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all (default: 127.0.0.1)")
    add("--grpc_socket_path", default="", help="UNIX socket for gRPC; with --port=0 the only way in for gRPC")
    add(
        "--grpc_max_threads",
        type=_positive,
        default=4 * _CPUS,
        help="gRPC requests in threads at once (default: 4/CPU)",
    )
    add(
        "--grpc_channel_arguments",
        type=_channel_arguments,
        default=[],
        help="options of the gRPC server, such as grpc.max_connection_age_ms=2000, with commas between them",
    )
    switch("--use_alts_credentials", False, "gRPC by ALTS, between machines of Google's cloud; then no TLS")
    add("--ssl_config_file", default="", help="file with an SSLConfig: gRPC over TLS")
    add("--rest_api_num_threads", type=_positive, default=4 * _CPUS, help="REST requests at once (default: 4/CPU)")
    add("--rest_api_timeout_in_ms", type=_positive, default=30_000, help="time for a REST request (default: 30000)")
    switch("--rest_api_enable_cors_support", False, "answer browsers from other origins")
    add("--monitoring_config_file", default="", help="file with a MonitoringConfig: metrics on the REST port")
    add("--model_name", default="default", help="the model's name in requests; not with --model_config_file")
    add("--model_base_path", default="", help="folder whose numeric subfolders are the model's versions")
    add("--model_config_file", default="", help="file with a ModelServerConfig: several models, policies, labels")
    add(
        "--model_config_file_poll_wait_seconds",
        type=_not_negative,
        default=0.0,
        help="seconds between two looks at that file; 0 looks once (default: 0)",
    )
    switch(
        "--allow_version_labels_for_unavailable_models", False, "a new label may point to a version that isn't loaded"
    )
    add(
        "--file_system_poll_wait_seconds",
        type=_not_negative,
        default=1.0,
        help="seconds between two looks for a new version; 0 looks once (default: 1)",
    )
    add("--max_num_load_retries", type=_count, default=5, help="further attempts after a failed load (default: 5)")
    add(
        "--load_retry_interval_micros",
        type=int,
        default=60_000_000,
        help="microseconds between two attempts; below 0: no waiting (default: a minute)",
    )
    add("--num_load_threads", type=_count, default=0, help="loads at the same time; 0: one (default: 0)")
    add("--num_unload_threads", type=_count, default=0, help="unloads at the same time; 0: one (default: 0)")
    switch("--enable_model_warmup", True, "run a version's warm-up requests before it serves")
    add(
        "--num_request_iterations_for_warmup",
        type=_count,
        default=0,
        help="how often each of them is run; 0: once (default: 0)",
    )
    switch("--enable_batching", False, "answer requests in batches")
    add("--batching_parameters_file", default="", help="file with BatchingParameters")
    switch("--enable_per_model_batching_parameters", False, "batch by the batching_params.pbtxt of each version")
    add("--tensorflow_session_parallelism", type=_count, default=0, help="sets both that follow; 0: TensorFlow chooses")
    add("--tensorflow_intra_op_parallelism", type=_count, default=0, help="threads of one op; 0: TensorFlow chooses")
    add("--tensorflow_inter_op_parallelism", type=_count, default=0, help="ops at the same time; 0: TensorFlow chooses")
    switch("--enable_grpc_healthcheck_service", True, "no effect here: it is always on")
    add(
        "--admin_port",
        type=_port,
        help="gRPC port for reloads of the config, which --port and the socket then refuse; answers all the rest too;"
        " the embedded server's own, as are the next three",
    )
    add("--admin_rest_api_port", type=_port, help="REST port for the metrics, which --rest_api_port then hasn't")
    add("--admin_host", default="", help="address that these two listen on (default: that of --host)")
    add(
        "--admin_ssl_config_file",
        default="",
        help="file with an SSLConfig for --admin_port (default: that of --ssl_config_file)",
    )
    add(
        "--max_requests_in_flight",
        type=_positive,
        default=1024,
        help="requests that run or wait at the same time, more are refused; the embedded server's own (default: 1024)",
    )
    add(
        "--max_bytes_in_flight",
        type=_positive,
        default=256 << 20,
        help="their bytes, likewise; the embedded server's own (default: 256 MiB)",
    )
    add("--log_format", choices=logs.FORMATS, default="text", help="of the log; json: an object a line (default: text)")
    add("--log_level", choices=logs.LEVELS, default="info", help="the least that is logged (default: info)")
    add(
        "--access_log",
        type=_share,
        default=0.0,
        help="the share of requests that are logged, 0.01 for one in a hundred; the embedded server's own (default: 0)",
    )
    switch("--enable_opentelemetry", False, "a span for each request; OTEL_TRACES_EXPORTER says where to")
    add(
        "--answer_log",
        default="",
        help="folder in which recommendations are logged, as files of JSON lines; the embedded server's own, as are the"
        " next four",
    )
    add("--answer_log_share", type=_share, default=1.0, help="of the requests, the share that is logged (default: 1)")
    add(
        "--answer_log_history",
        type=_count,
        default=0,
        help="items of a request's history that are logged; 0: how many there were (default: 0)",
    )
    add(
        "--answer_log_keep_bytes",
        type=_count,
        default=10 << 30,
        help="the oldest files are deleted where all have more; 0 keeps all (default: 10 GiB)",
    )
    add("--answer_log_key_file", default="", help="file with the secret by which users are logged as pseudonyms")
    add(
        "--first_version_wait_seconds",
        type=_not_negative,
        default=30.0,
        help="how long the ports stay closed if there is no version yet; the embedded server's own (default: 30)",
    )
    add(
        "--exit_with_stdin",
        action="store_true",
        help="stop when standard input is closed, so that a parent that dies leaves nothing; the embedded server's own",
    )
    for name in _WITHOUT_EFFECT:
        add(f"--{name}", nargs="?", const="true", help=argparse.SUPPRESS)
    return parser


def _check(flags: Flags, parser: argparse.ArgumentParser) -> None:
    ports: dict[int, str] = {}
    for name in ("port", "rest_api_port", "admin_port", "admin_rest_api_port"):
        port = getattr(flags, name)
        if port and ports.setdefault(port, name) != name:
            parser.error(f"--{ports[port]} and --{name} are both {port}")
    if flags.admin_ssl_config_file and flags.admin_port is None:
        parser.error("--admin_ssl_config_file counts only with --admin_port")
    if flags.admin_rest_api_port is not None and not flags.monitoring_config_file:
        parser.error("--admin_rest_api_port is for the metrics: it needs --monitoring_config_file")
    of_log = [name for name in vars(flags) if name.startswith("answer_log_")]
    if not flags.answer_log and any(getattr(flags, name) != parser.get_default(name) for name in of_log):
        parser.error(f"{', '.join(f'--{name}' for name in of_log)} count only with --answer_log")
    if not flags.model_name:
        parser.error("--model_name is empty")
    if not flags.model_base_path and not flags.model_config_file:
        parser.error("--model_base_path or --model_config_file is required")
    if flags.batching_parameters_file and not flags.enable_batching:
        parser.error("--batching_parameters_file counts only with --enable_batching")
    if (
        flags.tensorflow_session_parallelism
        and flags.tensorflow_intra_op_parallelism
        and flags.tensorflow_inter_op_parallelism
    ):
        parser.error(
            "--tensorflow_session_parallelism can't be combined with --tensorflow_intra_op_parallelism and"
            " --tensorflow_inter_op_parallelism"
        )


def _version() -> str:
    def installed(*names: str) -> str:
        for name in names:
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        return "unknown"

    own, library = installed("recommender-pipeline"), installed("tensorflow", "tensorflow-cpu")
    return f"TensorFlow ModelServer: embedded server of recommender-pipeline {own}\nTensorFlow Library: {library}"


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text} is neither true nor false")
    return text == "true"


def _channel_arguments(text: str) -> list[tuple[str, Union[int, str]]]:
    found: list[tuple[str, Union[int, str]]] = []
    for argument in filter(None, text.split(",")):
        key, equals, value = argument.partition("=")
        if not equals or not key:
            raise argparse.ArgumentTypeError(f"{argument} is not of the form key=value")
        number = value.lstrip("-")
        found.append((key, int(value) if number.isascii() and number.isdigit() else value))
    return found


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return number


def _not_negative(text: str) -> float:
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number
