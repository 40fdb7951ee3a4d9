"""`recommender` as a user types it, what it printed, and its commands as they are declared."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

from typer.main import get_command

from pipeline.cli.app import app, main
from pipeline.variables import PREFIX
from serving.server.process import environment

COMMAND = (sys.executable, "-c", "from pipeline.cli import main; main()")
TFX = "{'tensorflow', 'tfx', 'apache_beam', 'kfp'} & set(sys.modules)"
"""What takes seconds to import and is there, as a program says it."""
_WIDTH = "120"


def recommender(
    *arguments: str, cwd: Path | None = None, environ: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Runs a command in this process: most of a process of its own would go into imports.

    Args:
        *arguments: What is typed after `recommender`.
        cwd: Where.
        environ: More of the environment; of this process's own no variable of ours counts.
    """
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["recommender", *arguments]),
        mock.patch.dict(os.environ, {**_others(), "COLUMNS": _WIDTH, **environ}, clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _working_in(cwd),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def in_own_process(
    *arguments: str, cwd: Path | None = None, path: Path | str = "", environ: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own, which another program can take the place of.

    Args:
        *arguments: What is typed after `recommender`.
        cwd: Where.
        path: What comes first in PATH.
        environ: More of the environment; of this process's own no variable of ours is passed on.
    """
    paths = {"PYTHONPATH": environment()["PYTHONPATH"], "PATH": os.pathsep.join([str(path), os.environ["PATH"]])}
    return subprocess.run(
        [*COMMAND, *arguments],
        env={**_others(), **paths, "PYTHONUNBUFFERED": "1", "COLUMNS": _WIDTH, **environ},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=900,
        check=False,
    )


def _others() -> dict[str, str]:
    """The environment without variables of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


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


def commands() -> dict[str, Any]:
    """All commands by what is typed for them, such as `canary start`."""
    found: dict[str, Any] = {}

    def walk(prefix: str, known: Any) -> None:
        for name, command in known.commands.items():
            if hasattr(command, "commands"):
                walk(f"{prefix}{name} ", command)
            else:
                found[f"{prefix}{name}"] = command

    walk("", get_command(app))
    return found


def options(command: Any) -> dict[str, Any]:
    """The parameters of a command by each of the options that stand for them, such as `--config` and `-c`."""
    return {option: parameter for parameter in command.params for option in parameter.opts if option.startswith("-")}


def check_command_line(words: list[str]) -> None:
    """Makes sure that there is the command that is called, and that it has the options that are given.

    Args:
        words: What is typed after `recommender`.

    Raises:
        AssertionError: There isn't.
    """
    known: Any = get_command(app)
    rest = list(words)
    while hasattr(known, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in known.commands, f"there is no command {name!r}"
        known = known.commands[name]
    own = rest[: rest.index("--")] if "--" in rest else rest
    given = {word.partition("=")[0] for word in own if word.startswith("-")}
    there = {*options(known), "-h", "--help"}
    assert given <= there, f"recommender {' '.join(words)}: no option {', '.join(sorted(given - there))}"
