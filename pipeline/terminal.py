"""What the person at the terminal sees of a run: a line a node, progress, and no framework's chatter."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape

_QUIET_INTERVAL = 10.0
"""Seconds between progress lines where there is no terminal that could overwrite them."""

MARKS = {"done": "[green]✓[/]", "cached": "[cyan]=[/]", "failed": "[red]✗[/]", "pruned": "[yellow]-[/]"}


def shown(text: str) -> str:
    """Text of the data, such as a title, made safe to print: no markup, and no control characters."""
    return escape("".join(character if character.isprintable() else "·" for character in text))


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
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    saved = [os.dup(1), os.dup(2)]
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    terminal = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace", buffering=1)
    handler = logging.StreamHandler(os.fdopen(os.dup(log), "w", encoding="utf-8", errors="replace"))
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
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # the log's disk may be full
                stream.flush()
        handler.close()
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
