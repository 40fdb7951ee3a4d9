"""Beam's options, and how its workers get the project's code."""

from __future__ import annotations

import contextlib
import difflib
import io
import logging
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.errors import InputError

WORKERS_CODE = re.compile(r"--(setup_file|requirements_file|extra_packages?|sdk_container_image)\b")
"""Options by which Beam's workers get the project's code."""

_ENVIRONMENT = re.compile(r"^--environment_config[= \n](.+)$", re.MULTILINE)
_NO_IMAGE = re.compile(r"^--environment_type[= \n](?!(DOCKER|beam:env:docker:v1)$)", re.MULTILINE | re.IGNORECASE)
"""The first names an image unless the second says that it names something else."""
_JOB_SERVICE = re.compile(
    r"^--job_endpoint\b|^--runner[=\n](?:\w+\.)*(?:Portable|Flink|Spark)(?:Runner)?$", re.MULTILINE | re.IGNORECASE
)
_JOB_SECONDS = 7 * 86_400
_PROBE_SECONDS = 5.0


def beam_args(configured: tuple[str, ...]) -> list[str]:
    """Beam's options, completed.

    The workers get the project by its own setup.py unless an option brings it some other way. A runner in this process
    has no use for it, but without such an option TFX packs itself up before every node; of Flink's and Spark's option
    for an image it doesn't know, so it is told by its own. A job that is given to a job
    service may take a week: Beam's own limit, which its help denies, is five minutes.
    """
    setup_file = Path(__file__).parents[1] / "setup.py"
    arguments = list(configured)
    text = "\n".join(configured)
    image = None if _NO_IMAGE.search(text) else _ENVIRONMENT.search(text)
    if not any(WORKERS_CODE.match(argument) for argument in configured):
        if image:
            arguments.append(f"--sdk_container_image={image[1].strip()}")
        elif setup_file.exists():
            arguments.append(f"--setup_file={setup_file}")
    if _JOB_SERVICE.search(text) and not re.search(r"^--job[-_]server[-_]timeout\b", text, re.MULTILINE):
        arguments.append(f"--job_server_timeout={_JOB_SECONDS}")
    return arguments


def check_beam(arguments: Sequence[str]) -> None:
    """Makes sure that Beam knows the runner and the options, for it drops others, and that the job service that they
    name answers, for which it would wait without a word.

    Raises:
        InputError: An option is unknown or wrong, or nobody answers.
    """
    if not arguments:
        return
    from apache_beam.runners.runner import create_runner

    named = _parsed(arguments)[0]["runner"]
    try:
        runner = type(create_runner(named or "FnApiRunner")).__name__
    except (ValueError, ImportError, AttributeError, TypeError) as error:
        raise InputError(f"beam.pipeline_args: --runner: {error}") from None
    options, dropped = _parsed(arguments)  # some runners bring options of their own with their module
    endpoint = options["job_endpoint"]
    # A job service has options of its own, of which Beam hears when it asks that.
    serves = endpoint is not None or runner in ("FlinkRunner", "SparkRunner", "PortableRunner")
    unknown = [argument for argument in dropped if argument]
    if unknown and not (serves and unknown[0].startswith("--")):
        name = unknown[0].partition("=")[0].lstrip("-")
        close = difflib.get_close_matches(name.replace("-", "_"), options, n=1)
        hint = f"; did you mean --{close[0]}?" if close else ""
        raise InputError(f"beam.pipeline_args: {unknown[0]!r}: Beam has no such option{hint}")
    if endpoint is not None and endpoint != "embed":
        _check_job_service(endpoint)


def _check_job_service(endpoint: str) -> None:
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"beam.pipeline_args: --job_endpoint {endpoint!r}: expected host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PROBE_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise InputError(
            f"beam.pipeline_args: no job service answers at {endpoint} (--job_endpoint): "
            f"{getattr(error, 'strerror', None) or error}; start it, see docs/beam.md"
        ) from None


def _parsed(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The options, and what Beam drops of the arguments."""
    from apache_beam.options import pipeline_options

    if {"-h", "--help"} & {*arguments}:
        raise InputError("beam.pipeline_args: --help is not for a run")
    dropped: list[str] = []

    class Listener(logging.Handler):
        """Beam tells of what it drops in its log alone."""

        def emit(self, record: logging.LogRecord) -> None:
            if isinstance(record.args, tuple) and record.args and isinstance(record.args[0], list):
                dropped.extend(record.args[0])

    listener, log = Listener(), logging.getLogger(pipeline_options.__name__)
    level, said = log.level, io.StringIO()
    log.addHandler(listener)
    log.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stderr(said):
            return pipeline_options.PipelineOptions(list(arguments)).get_all_options(), dropped
    except SystemExit:  # argparse's way to say what is wrong
        reason = said.getvalue().strip().rpartition("error: ")[2]
        raise InputError(f"beam.pipeline_args: {reason}") from None
    finally:
        log.removeHandler(listener)
        log.setLevel(level)
