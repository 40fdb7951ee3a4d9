"""Beam's options, and how its workers get the project's code."""

from __future__ import annotations

import contextlib
import difflib
import io
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from components.errors import InputError

WORKERS_CODE = re.compile(r"--(setup_file|requirements_file|extra_packages?|sdk_container_image)\b")
"""Options by which Beam's workers get the project's code."""

_JOB_SERVICE = re.compile(r"--job_endpoint\b|--runner[= ](?:\w+\.)*(?:Portable|Flink|Spark)Runner\b")
_JOB_SECONDS = 7 * 86_400
_PROBE_SECONDS = 5.0


def beam_args(configured: tuple[str, ...]) -> list[str]:
    """Beam's options, completed.

    The workers get the project by its own setup.py unless an option brings it some other way. A runner in this process
    has no use for it, but without such an option TFX packs itself up before every node. A job that is given to a job
    service may take a week: Beam's own limit, which its help denies, is five minutes.
    """
    setup_file = Path(__file__).parents[1] / "setup.py"
    arguments = list(configured)
    if not any(WORKERS_CODE.match(argument) for argument in configured) and setup_file.exists():
        arguments.append(f"--setup_file={setup_file}")
    text = " ".join(configured)
    if _JOB_SERVICE.search(text) and not re.search(r"--job[-_]server[-_]timeout\b", text):
        arguments.append(f"--job_server_timeout={_JOB_SECONDS}")
    return arguments


def check_beam(arguments: Sequence[str]) -> None:
    """Makes sure that Beam knows the options, for it drops others, and that the job service that they name answers, for
    which it would wait without a word.

    Raises:
        InputError: An option is unknown or wrong, or nobody answers.
    """
    _check_options(arguments)
    named = re.search(r"--job_endpoint[= ](\S+)", " ".join(arguments))
    if named is None or named[1] == "embed":
        return
    host, _, port = named[1].rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"beam.pipeline_args: --job_endpoint {named[1]!r}: expected host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PROBE_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"beam.pipeline_args: no job service answers at {named[1]} (--job_endpoint): "
            f"{getattr(error, 'strerror', None) or error}; start it, see docs/beam.md"
        ) from None


def _check_options(arguments: Sequence[str]) -> None:
    from apache_beam.options.pipeline_options import PipelineOptions

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = PipelineOptions(list(arguments))
            known = options.get_all_options()
            kept = options.get_all_options(drop_default=True, retain_unknown_options=True)
    except SystemExit:  # argparse's way to say what is wrong
        reason = said.getvalue().strip().rpartition("error: ")[2]
        raise InputError(f"beam.pipeline_args: {reason}") from None
    unknown = sorted(kept.keys() - known.keys())
    # A job service has options of its own, of which Beam hears when it asks that.
    if unknown and not _JOB_SERVICE.search(" ".join(arguments)):
        close = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean --{close[0]}?" if close else ""
        raise InputError(f"beam.pipeline_args: --{unknown[0]}: Beam has no such option{hint}")
