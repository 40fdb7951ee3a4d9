"""Command lines that were written for an older version are understood by today's program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.cli.command import commands, options

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

_LIST = """
import json
from typer.main import get_command
from pipeline.cli.app import app

def walk(prefix, known):
    for name, command in known.commands.items():
        if hasattr(command, "commands"):
            yield from walk(f"{prefix}{name} ", command)
        else:
            yield f"{prefix}{name}", [option for each in command.params for option in each.opts if option[0] == "-"]

print(json.dumps(dict(walk("", get_command(app)))))
"""


def test_every_command_and_option_is_still_understood(old_checkout: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(old_checkout)}
    done = subprocess.run(
        [sys.executable, "-c", _LIST], cwd=old_checkout, env=environ, capture_output=True, text=True, check=True
    )
    old = json.loads(done.stdout)
    assert len(old) > 20
    known = commands()
    for name, given in old.items():
        assert name in known
        assert set(given) <= {*options(known[name]), *known[name].formerly}, name
