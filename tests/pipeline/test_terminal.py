"""What the person at the terminal sees: nodes, their progress, and nobody's chatter."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from components.progress import progress
from pipeline.terminal import (
    Terminal,
    check_interrupts,
    json_alone,
    listening,
    print_table,
    quiet,
    remembered_interrupts,
    shown,
)


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


def test_a_full_disk_under_the_log_brings_no_noise_to_the_terminal() -> None:
    program = (
        "import contextlib, logging, sys; from pathlib import Path; from pipeline.terminal import quiet\n"
        "with quiet(Path('/dev/full')) as console:\n"
        "    for stream in (sys.stdout, sys.stderr):\n"
        "        with contextlib.suppress(OSError):\n"
        "            print('noise from print', file=stream)\n"
        "    logging.warning('noise from logging')\n"
        "    console.print('what matters')\n"
        "print('after')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("what matters\nafter\n", "", 0)


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


def table() -> Table:
    made = Table(title="figures under a title that is longer than they are wide")
    made.add_column("name")
    made.add_column("recent\nvalue", justify="right")
    made.add_column("why", overflow="fold")
    made.add_row("a", "[bold]1.5[/]", "short")
    made.add_row("🎬 b", "10.25", f"long {'x' * 100} end")
    return made


def printed(width: int, terminal: bool, least_width: int = 0) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None)
    print_table(console, table(), least_width)
    assert console.width == width
    return out.getvalue().splitlines()


def test_a_table_without_a_terminal_is_aligned_text_with_a_line_for_each_row() -> None:
    assert printed(20, terminal=False) == [
        "figures under a title that is longer than they are wide",
        "name  recent value  why",
        "a              1.5  short",
        f"🎬 b         10.25  long {'x' * 100} end",
    ]


def test_a_table_at_a_terminal_has_boxes_and_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(len(line) for line in printed(40, terminal=True)) == 40
    assert max(map(len, printed(40, terminal=True, least_width=200))) > 120
    assert "┃ name" in "".join(printed(40, terminal=True))
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed(40, terminal=True) == printed(40, terminal=False)


def test_a_json_document_is_alone_on_the_standard_output() -> None:
    program = (
        "import math, os, subprocess, sys; from pathlib import Path; from pipeline.terminal import json_alone\n"
        "with json_alone() as write:\n"
        "    print('from print'); os.write(1, b'from C\\n'); subprocess.run(['echo', 'from a child'])\n"
        "    write({'path': Path('a/b'), 'text': 'ä🎬', 'none': math.nan, 'pair': (1, 2.5)})\n"
        "print('after')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, encoding="utf-8")
    document = '{\n  "path": "a/b",\n  "text": "ä🎬",\n  "none": null,\n  "pair": [\n    1,\n    2.5\n  ]\n}\n'
    assert done.stdout == document + "after\n"
    assert sorted(done.stderr.splitlines()) == ["from C", "from a child", "from print"]


def test_an_error_leaves_no_document(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with json_alone() as write:
            write({"half": "done"})
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    print("after")
    assert capfd.readouterr().out == "after\n"


def test_interrupts_are_remembered_while_nobody_else_listens() -> None:
    def interrupt() -> None:
        with remembered_interrupts():
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            check_interrupts()

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what runs in the background
    try:
        interrupt()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_lost_interrupt_is_raised_where_it_is_asked_for() -> None:
    with remembered_interrupts():
        with remembered_interrupts(), contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            check_interrupts()
    with remembered_interrupts():
        check_interrupts()  # of before there is none left
