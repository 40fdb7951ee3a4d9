"""What went wrong, in words for the person at the terminal, and the exit code that goes with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from components.breaches import BreachError
from components.errors import InputError, LockedError
from pipeline.model.workers.cluster import WorkerError
from pipeline.variables import WORK
from serving.stores import StoreError

DONE, FAILED, WRONG_INPUT, NOT_BLESSED, LOCKED, UNDECIDED = range(6)

EXIT_CODES = {
    DONE: "done",
    FAILED: "it failed: a server, a full disk, an interrupt, a bug",
    WRONG_INPUT: "what was given is wrong: an option, the config, the data; the message names what",
    NOT_BLESSED: "the model is not blessed, a limit is not kept, or a version is not made again",
    LOCKED: "another process is at work there: try again later",
    UNDECIDED: "nothing is decided yet: let the trial go on, and ask again",
}
"""What the exit codes of all commands mean; a server that `serve` starts has its own."""

_WHILE_RUNNING = re.compile(r" \[while running '[^']*'\]$")
"""What Beam appends to a message."""
_INPUT_ERROR = re.compile(r"^(?:\w+\.)*InputError: (.+)$", re.MULTILINE)
"""An InputError in a traceback, which is what comes back from a worker in another process."""
_JOB_FAILED = re.compile(r"^Pipeline (\S+)_[\w-]+ failed in state (\w+): (.+)$", re.DOTALL)
"""What Beam says of a job on an engine: its name, its state, and of the causes the last alone."""
_DISK_FULL = ("No space left on device", "database or disk is full", "Disk quota exceeded")


class Failure(NamedTuple):
    """Why a run stopped."""

    message: str
    exit_code: int
    expected: bool
    """Whether the message says all that there is to know; else the log has the story."""


def explain(error: BaseException, root: Path | None = None) -> Failure:
    """Finds the reason behind an error: Beam and TFX wrap what went wrong, and a full disk comes as any of a dozen.

    Args:
        error: What was raised.
        root: Where the run writes, for the message about a full disk.
    """
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, InputError):
            return Failure(_WHILE_RUNNING.sub("", str(behind)), WRONG_INPUT, True)
        if isinstance(behind, BreachError):
            return Failure(str(behind), NOT_BLESSED, True)
        if isinstance(behind, LockedError):
            return Failure(str(behind), LOCKED, True)
        if isinstance(behind, (WorkerError, StoreError)):
            return Failure(str(behind), FAILED, True)
        if isinstance(behind, KeyboardInterrupt) or str(behind).startswith("KeyboardInterrupt [while running"):
            return Failure("interrupted; run it again to go on after the last step that was done", FAILED, True)
        behind = behind.__cause__ or behind.__context__
    if isinstance(error, ModuleNotFoundError):
        return Failure(
            f"the package {error.name!r} is not installed; the client alone needs less than a pipeline does: run "
            "`make setup`, and see `recommender doctor`",
            FAILED,
            True,
        )
    text = str(error)
    if from_worker := _INPUT_ERROR.search(text):
        return Failure(_WHILE_RUNNING.sub("", from_worker[1]), WRONG_INPUT, True)
    if any(words in text for words in _DISK_FULL):
        place = f" under {root}" if root else ""
        return Failure(
            f"the disk is full{place}; free some space, or write elsewhere with --set output=DIR, or {WORK}=DIR where "
            "the output is in an object store, and run it again: what is done is kept",
            WRONG_INPUT,
            True,
        )
    if job := _JOB_FAILED.match(text):
        return Failure(
            f"the engine's job {job[1]} is {job[2]}: {job[3][:2000]}; the engine's own log has the causes of that. If "
            "a machine was lost, run it again: what is done is kept",
            FAILED,
            False,
        )
    return Failure(f"{type(error).__name__}: {text[:2000]}", FAILED, False)
