"""Work whose output appears when all of it is there: its lock, log and leftovers lie in a hidden folder beside it."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from components.errors import InputError
from pipeline.batch.outputs import unwritable
from pipeline.failures import WRONG_INPUT, Failure, explain
from pipeline.local.lock import lock
from pipeline.terminal import Outcome, quiet, remembered_interrupts
from serving.stores import AnyPath

_LOG = "log"


def work_beside(
    out: AnyPath, root: Path, work: Callable[[Console], Outcome], left: Callable[[], bool] | None = None
) -> Outcome:
    """Does some work under a lock, with all that frameworks print in a log.

    Args:
        out: What the work writes, for messages.
        root: The hidden folder. It goes in the end, unless a failure is not explained, or there is work to go on with.
        work: Given the console, does it and says how it went.
        left: Whether work that failed left something that the next run goes on with; None where it never does.

    Returns:
        What `work` returns, or the exit code of what went wrong.

    Raises:
        InputError: The input is wrong, or the disk full.
    """
    kept = left is not None
    failure, kind, outcome = None, InputError, Outcome()
    with _explained(out, kept):
        root.mkdir(parents=True, exist_ok=True)
        with lock(root, "another --out"):
            with remembered_interrupts(), quiet(root / _LOG) as console:
                try:
                    with _explained(out, kept):
                        outcome = work(console)
                except (Exception, KeyboardInterrupt) as error:
                    logging.getLogger(__name__).exception("failed")
                    failure = explain(error)
                    kind = type(error) if isinstance(error, InputError) else InputError
                    if isinstance(error, KeyboardInterrupt) and not kept:
                        failure = failure._replace(message="interrupted; nothing was changed: run it again")
                    if failure.exit_code != WRONG_INPUT:
                        _say(failure, root / _LOG, console)
            if failure is None or (failure.expected and not (left is not None and left())):
                shutil.rmtree(root)
    if failure is None:
        return outcome
    if failure.exit_code == WRONG_INPUT:
        raise kind(failure.message)
    return Outcome(failure.exit_code, error=failure.message)


@contextlib.contextmanager
def _explained(out: AnyPath, kept: bool) -> Iterator[None]:
    """Turns what the file system refuses into one message."""
    try:
        yield
    except OSError as error:
        raise unwritable(out, error, kept) from error


def _say(failure: Failure, log: Path, console: Console) -> None:
    console.print(f"[red]error[/]: {escape(failure.message)}", soft_wrap=True, highlight=False)
    if not failure.expected:
        console.print(f"the whole story is in {escape(str(log))}", soft_wrap=True, highlight=False)
