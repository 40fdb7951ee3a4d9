"""What the person at the terminal sees: nodes, their progress, and nobody's chatter."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from components.progress import progress
from pipeline.terminal import Terminal, listening, quiet, shown


def test_quiet_keeps_even_c_level_noise_off_the_terminal(tmp_path: Path) -> None:
    program = (
        "import logging, os, sys; from pathlib import Path; from pipeline.terminal import quiet\n"
        "with quiet(Path(sys.argv[1])) as console:\n"
        "    os.write(2, b'noise from C\\n'); print('noise from print', flush=True)\n"
        "    logging.warning('noise from logging')\n"
        "    console.print('what matters')\n"
        "print('after')"
    )
    log = tmp_path / "a" / "run.log"
    done = subprocess.run([sys.executable, "-c", program, str(log)], capture_output=True, text=True, check=True)
    assert done.stdout == "what matters\nafter\n"
    assert done.stderr == ""
    text = log.read_text()
    for noise in ("noise from C", "noise from print", "noise from logging"):
        assert noise in text


def test_quiet_restores_logging_after_an_error(tmp_path: Path) -> None:
    handlers = logging.getLogger().handlers[:]
    with pytest.raises(KeyError), quiet(tmp_path / "run.log"):
        raise KeyError
    assert logging.getLogger().handlers == handlers


def test_terminal_says_what_a_node_did_and_how_far_it_is() -> None:
    out = io.StringIO()
    terminal = Terminal(Console(file=out, width=200))
    with listening(terminal):
        terminal.start("data set", silence=0)
        progress("fetching")
        terminal.start("Trainer")
        progress("epoch 1")  # too soon after the start to be worth a line
        terminal._spoken -= 60
        progress("epoch [2] of 9")
        terminal.end("Trainer", "done", 1.25, "best epoch [5]")
    assert out.getvalue().splitlines() == [
        "  data set: fetching",
        "  Trainer: epoch [2] of 9",
        "✓ Trainer             done           1.2 s  best epoch [5]",
    ]


def test_control_characters_of_titles_do_not_reach_the_terminal() -> None:
    assert shown("[bold]\x1b[31mred\u2028end é🙂") == r"\[bold]·[31mred·end é🙂"
