"""The program as a user starts it, and its commands as they are declared."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from typer.main import get_command

from pipeline.cli.app import app

ROOT = Path(__file__).parents[3]
MINIMAL = "name: shop\ndata:\n  interactions: {path: log.csv}\n"


@dataclasses.dataclass(frozen=True)
class Ended:
    """What a command did."""

    code: int
    stdout: str
    stderr: str
    seconds: float


def recommender(
    *arguments: str, cwd: Optional[Path] = None, environ: Mapping[str, str] = {}, timeout: float = 120
) -> Ended:
    """Runs the program in a process of its own, its output piped."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECOMMENDER_")}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", "from pipeline.cli import main; main()", *arguments],
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - started)


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
