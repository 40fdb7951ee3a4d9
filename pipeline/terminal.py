"""What the person at the terminal sees of a run: a line a node, progress, and no framework's chatter.

And what a script sees instead: plain lines where there is no terminal, or one JSON document.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_QUIET_INTERVAL = 10.0
"""Seconds between progress lines where there is no terminal that could overwrite them."""

_ANY_WIDTH = 100_000
"""Columns, where no line is to be folded."""

MARKS = {"done": "[green]✓[/]", "cached": "[cyan]=[/]", "failed": "[red]✗[/]", "pruned": "[yellow]-[/]"}


def shown(text: str) -> str:
    """Text of the data, such as a title, made safe to print: no markup, and no control characters."""
    return escape("".join(character if character.isprintable() else "·" for character in text))


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    exit_code: int = 0
    facts: Any = None
    """What it found out or did, as JSON has it; None where it failed."""
    show: Optional[Callable[[Console], None]] = None
    """Prints the same for a person, unless that was done on the way."""
    error: str = ""
    """What went wrong, where a command failed that has said so already."""


def is_plain(console: Console) -> bool:
    """Whether to do without boxes: nobody looks at it, or somebody has asked for plain text by NO_COLOR."""
    return not console.is_terminal or console.no_color


def print_table(console: Console, table: Table, least_width: int = 0) -> None:
    """Prints a table.

    Args:
        console: Where to. Where that is to be plain, columns are aligned without boxes, each row one line however long.
        table: The table.
        least_width: So many columns it may take also at a terminal that has less, which then folds its lines.
    """
    plain = is_plain(console)
    if plain:
        if table.title:
            console.print(table.title, soft_wrap=True, highlight=False)
        table.box, table.pad_edge, table.title = None, False, None
        for column in table.columns:
            column.header, column.no_wrap = str(column.header).replace("\n", " "), True
    width, console.width = console.width, _ANY_WIDTH if plain else max(console.width, least_width)
    try:
        with console.capture() as captured:
            console.print(table)
    finally:
        console.width = width
    for line in captured.get().rstrip("\n").split("\n"):
        console.out(line.rstrip(), highlight=False)


def say_error(message: str) -> None:
    """Says on the standard error what went wrong."""
    Console(stderr=True).print(f"[red]error[/]: {escape(message)}", soft_wrap=True, highlight=False)


def say_progress(message: str) -> None:
    """Says on the standard error what is being done."""
    Console(stderr=True).print(f"[dim]{escape(message)} …[/]", soft_wrap=True, highlight=False)


def warn(message: str) -> None:
    """Says on the standard error what should be otherwise."""
    Console(stderr=True).print(f"[yellow]warning[/]: {escape(message)}", soft_wrap=True, highlight=False)


@contextlib.contextmanager
def json_alone() -> Iterator[Callable[[Any], None]]:
    """Keeps the standard output for one JSON document: whatever else is printed meanwhile goes to the standard error.

    The file descriptor is redirected too, so that this holds for what C++ libraries and child processes print.

    Yields:
        Takes what the document says; it is printed at the end.
    """
    from pydantic_core import to_json

    document = b""

    def write(facts: Any) -> None:
        nonlocal document
        document = to_json(facts, indent=2, inf_nan_mode="null") + b"\n"

    out = sys.stdout
    out.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield write
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    if isinstance(out, io.TextIOWrapper):  # JSON is UTF-8, whatever the terminal's letters are
        out.buffer.write(document)
    else:
        out.write(document.decode())
    out.flush()


class Terminal:
    """Prints nodes as they start, move and end."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._status = console.status("") if console.is_terminal else None
        self._node = ""
        self._spoken = 0.0

    def start(self, node: str, silence: float = _QUIET_INTERVAL) -> None:
        """A node, or some other step, begins; without a terminal its progress is first told after `silence` seconds."""
        self._node = node
        self._spoken = time.monotonic() - _QUIET_INTERVAL + silence
        if self._status:
            self._status.update(f"{node} …")
            self._status.start()

    def progress(self, message: str) -> None:
        """The running node says how far it is."""
        if self._status:
            self._status.update(f"{escape(self._node)}  [dim]{escape(message)}[/]")
        elif time.monotonic() - self._spoken >= _QUIET_INTERVAL:
            self._spoken = time.monotonic()
            self.console.print(f"  {escape(self._node)}: {escape(message)}", soft_wrap=True)

    def pause(self) -> None:
        """What was started is over, and there is nothing to say about it."""
        if self._status:
            self._status.stop()

    def end(self, node: str, state: str, seconds: float, summary: str) -> None:
        """A node ended as `state`, a key of `MARKS`."""
        self.pause()
        self.console.print(
            f"{MARKS[state]} {escape(node):<19} {state:<11} {seconds:6.1f} s  {escape(summary)}",
            soft_wrap=True,
            highlight=False,
        )


class _ProgressHandler(logging.Handler):
    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.INFO)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self._terminal.progress(record.getMessage())


class _LogHandler(logging.StreamHandler):
    """Writes to the log; what its disk has no room for is left out, for a full disk is told at the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


_interrupts: list[int] = []


def _interrupt(number: int, frame: Any) -> None:
    _interrupts.append(number)
    raise KeyboardInterrupt


@contextlib.contextmanager
def remembered_interrupts() -> Iterator[None]:
    """Remembers Ctrl-C for `check_interrupts`: a KeyboardInterrupt that hits a finalizer or a callback is lost."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # remembered, ignored, or somebody else's
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _interrupts.clear()


def check_interrupts() -> None:
    """Raises the KeyboardInterrupt that was lost, if one was: where much has been imported or done."""
    if _interrupts:
        raise KeyboardInterrupt


@contextlib.contextmanager
def listening(terminal: Terminal) -> Iterator[None]:
    """Brings what components say of their progress to the terminal."""
    logger = logging.getLogger("recommender.progress")
    handler = _ProgressHandler(terminal)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        terminal.pause()
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextlib.contextmanager
def quiet(log_file: Path) -> Iterator[Console]:
    """Sends all that the process writes to `log_file`; yields a console that still reaches the terminal.

    File descriptors are redirected, not `sys.stderr`, because most of the noise comes from C++.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    for noise in (sys.stdout, sys.stderr):
        noise.flush()
    saved = [os.dup(1), os.dup(2)]
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    terminal = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace", buffering=1)
    # Without a buffer, which could still be full when the stream is closed.
    stream = io.TextIOWrapper(os.fdopen(os.dup(log), "wb", buffering=0), "utf-8", "replace", write_through=True)
    handler = _LogHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    try:
        yield Console(file=terminal)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for number, noise in enumerate((sys.stdout, sys.stderr), start=1):
            try:
                noise.flush()
            except OSError:  # the log's disk is full; what is still in the buffer must not come to the terminal
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)
                noise.flush()
        handler.close()
        stream.close()
        for number, descriptor in enumerate(saved, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        terminal.close()
        # TensorFlow's finalizers complain when a failed node's graphs outlive its modules.
        atexit.register(_mute, log_file)


def _mute(log_file: Path) -> None:
    """Sends what is written to the standard error as the interpreter ends to the log."""
    with contextlib.suppress(OSError):
        sys.stderr.flush()
        log = os.open(log_file, os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 2)
        os.close(log)
