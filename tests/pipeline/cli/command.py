"""`recommender` as a user types it, and what it printed."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from serving.server.process import environment

COMMAND = (sys.executable, "-c", "from pipeline.cli import main; main()")
_WIDTH = "120"


def recommender(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command in this process: most of a process of its own would go into imports."""
    from pipeline.cli import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["recommender", *arguments]),
        mock.patch.dict(os.environ, {"COLUMNS": _WIDTH}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _working_in(cwd),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def in_own_process(*arguments: str, path: Path | str = "") -> subprocess.CompletedProcess[str]:
    """The same in a process of its own, which another program can take the place of; `path` comes first in PATH."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env={**environment(), "COLUMNS": _WIDTH, "PATH": os.pathsep.join([str(path), os.environ["PATH"]])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def rows(output: str) -> list[list[str]]:
    """Cells of the rows of the printed table, which two spaces at least keep apart, and which begin with the rank."""
    return [re.split("  +", line.strip()) for line in output.splitlines() if re.match(r" *\d", line)]


@contextlib.contextmanager
def _working_in(folder: Path | None) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder or before)
    try:
        yield
    finally:
        os.chdir(before)
