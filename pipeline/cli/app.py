"""The program: its commands, in the order of the list that `--help` shows, and what errors become."""

from __future__ import annotations

import sys
import warnings

from components.errors import InputError, LockedError

# Each of these modules adds its commands as it is imported.
from pipeline.cli import (  # isort: skip
    runs,
    judging,
    serving,
    asking,
    batch,
    versions,
    promotion,
    canary,
    kubeflow,
)
from pipeline.cli.command import CommandError, app
from pipeline.failures import FAILED, explain
from pipeline.terminal import say_error

__all__ = [
    "app",
    "asking",
    "batch",
    "canary",
    "judging",
    "kubeflow",
    "main",
    "promotion",
    "runs",
    "serving",
    "versions",
]


def main() -> None:
    """Entry point of the console script."""
    if not sys.warnoptions:
        # Google's libraries warn on import about Python versions; nothing here is for the person at the terminal.
        warnings.simplefilter("ignore")
    try:
        app(prog_name="recommender")
    except CommandError as error:
        say_error(str(error))
        sys.exit(FAILED)
    except (InputError, LockedError, ModuleNotFoundError) as error:
        failure = explain(error)
        say_error(failure.message)
        sys.exit(failure.exit_code)
