"""The program: its commands, in the order of the list that `--help` shows, and what errors become."""

from __future__ import annotations

import errno
import gc
import os
import sys
import threading
import warnings

from components.errors import InputError, LockedError

# Each of these modules adds its commands as it is imported.
from pipeline.cli import (  # isort: skip
    runs,
    judging,
    serving,
    asking,
    batch,
    feedback,
    versions,
    promotion,
    canary,
    nightly,
    keeping,
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
    "feedback",
    "judging",
    "keeping",
    "kubeflow",
    "main",
    "nightly",
    "promotion",
    "runs",
    "serving",
    "versions",
]


COLLECTIONS = (20_000, 10, 10)
"""When Python collects garbage (`gc.set_threshold`): less often, for imports and the graphs of TensorFlow and Beam are
many small objects that stay. By default a run spends a sixth of its processor time on looking through them."""

_PATIENCE_S = 5.0
"""How long a command that has failed waits for threads that it has left."""


def main() -> None:
    """Entry point of the console script."""
    gc.set_threshold(*COLLECTIONS)
    if not sys.warnoptions:
        # Google's libraries warn on import about Python versions; nothing here is for the person at the terminal.
        warnings.simplefilter("ignore")
    before = threading.enumerate()
    try:
        app(prog_name="recommender")
    except CommandError as error:
        say_error(str(error))
        code = FAILED
    except (InputError, LockedError, ModuleNotFoundError) as error:
        failure = explain(error)
        say_error(failure.message)
        code = failure.exit_code
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or what is left to be printed fails again at the end
        say_error(f"what is printed can't be written: {error.strerror}")
        code = FAILED
    except SystemExit as end:
        if end.code != FAILED:
            raise
        code = FAILED
    if any(not thread.daemon for thread in threading.enumerate() if thread not in before):
        _end_soon(code)
    sys.exit(code)


def _end_soon(code: int) -> None:
    """Ends the process even if its threads don't: a Ctrl-C may have come as Beam was about to stop the thread that
    samples the states of a bundle, which then runs, and is waited for by Python, for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    end = threading.Timer(_PATIENCE_S, os._exit, [code])
    end.daemon = True
    end.start()
