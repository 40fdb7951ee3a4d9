"""The server's command line: tensorflow_model_server's spelling, `--flag=value` or `--flag value`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

_CPUS = os.cpu_count() or 1


@dataclass(frozen=True)
class Flags:
    """The parsed command line."""

    port: int
    rest_api_port: Optional[int]
    host: str
    model_name: str
    model_base_path: str
    file_system_poll_wait_seconds: float
    tensorflow_intra_op_parallelism: int
    tensorflow_inter_op_parallelism: int
    grpc_max_threads: int
    rest_api_num_threads: int
    rest_api_timeout_in_ms: int
    first_version_wait_seconds: float
    exit_with_stdin: bool


def parse(argv: Sequence[str]) -> Flags:
    """Reads the arguments; prints the usage and exits with 2 if they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.server",
        description="Serves the newest version of a SavedModel over gRPC and REST, as tensorflow_model_server does.",
        epilog="Example: python -m serving.server --port=8500 --rest_api_port=8501 --model_name=movielens-100k"
        " --model_base_path=output/serving/movielens-100k",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--port", type=_port, default=8500, help="gRPC port; 0 picks a free one, see the ready line (default: 8500)")
    add("--rest_api_port", type=_port, help="REST port; 0 picks a free one; no REST API without this flag")
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all (default: 127.0.0.1)")
    add("--model_name", default="default", help="the model's name in requests")
    add("--model_base_path", required=True, help="folder whose numeric subfolders are the model's versions")
    add(
        "--file_system_poll_wait_seconds",
        type=_not_negative,
        default=1.0,
        help="seconds between two looks for a new version; 0 looks once (default: 1)",
    )
    add("--tensorflow_intra_op_parallelism", type=_count, default=0, help="threads of one op; 0: TensorFlow chooses")
    add("--tensorflow_inter_op_parallelism", type=_count, default=0, help="ops at the same time; 0: TensorFlow chooses")
    add("--grpc_max_threads", type=_positive, default=4 * _CPUS, help="gRPC requests at the same time (default: 4/CPU)")
    add("--rest_api_num_threads", type=_positive, default=4 * _CPUS, help="REST requests at once (default: 4/CPU)")
    add("--rest_api_timeout_in_ms", type=_positive, default=30_000, help="time for a REST request (default: 30000)")
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
    flags = Flags(**vars(parser.parse_args(argv)))
    if flags.port and flags.port == flags.rest_api_port:
        parser.error(f"--port and --rest_api_port are both {flags.port}")
    if not flags.model_name:
        parser.error("--model_name is empty")
    return flags


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


def _count(text: str) -> int:
    return int(_not_negative(text))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number
