"""The parts of a run that need no TFX: lock, terminal, failures, tables."""

from __future__ import annotations

import dataclasses
import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from components.errors import InputError
from components.evaluator.report import Check, Lead, Report
from components.progress import progress
from pipeline.failures import explain
from pipeline.local.lock import lock
from pipeline.local.run import show_report
from pipeline.terminal import Terminal, listening, quiet, shown


def test_a_second_run_is_refused_by_name_of_the_first(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pipeline.local.lock import lock\nwith lock(Path(sys.argv[1])): pass"
    )
    with lock(tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert done.returncode != 0
    assert f"another run is at work here (process {os.getpid()}" in done.stderr
    again = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from pipeline.local.lock import lock\n"
        "with lock(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == -9
    with lock(tmp_path):
        pass


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


def test_the_input_error_behind_a_wrapped_one_is_found() -> None:
    wrapped = RuntimeError("while running")
    wrapped.__cause__ = InputError("items.csv: no column 'x'")
    assert explain(wrapped) == ("items.csv: no column 'x'", 2, True)


def test_an_input_error_in_a_worker_of_beams_is_found() -> None:
    here = InputError("items.csv: no column 'x' [while running 'Read/Do']")
    elsewhere = RuntimeError(
        'Traceback (most recent call last):\n  File "read.py", line 8, in process\n'
        "components.errors.InputError: items.csv: no column 'x' [while running 'Read/Do']\n\n"
    )
    assert explain(here) == explain(elsewhere) == ("items.csv: no column 'x'", 2, True)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("tensorflow says: /x; No space left on device [while running 'Write']"),
        RuntimeError("database or disk is full"),
    ],
)
def test_a_full_disk_is_called_so(error: Exception) -> None:
    message, code, _ = explain(error, Path("/data/out"))
    assert "the disk is full under /data/out" in message
    assert code == 2


def test_a_missing_package_is_named_with_the_way_to_get_it() -> None:
    message, code, _ = explain(ModuleNotFoundError("No module named 'numpy'", name="numpy"))
    assert "'numpy' is not installed" in message
    assert "make setup" in message
    assert code == 1


def test_control_characters_of_titles_do_not_reach_the_terminal() -> None:
    assert shown("[bold]\x1b[31mred\u2028end é🙂") == r"\[bold]·[31mred·end é🙂"


def test_other_errors_name_their_type_and_an_interrupt_says_how_to_go_on() -> None:
    assert explain(ValueError("a bug")) == ("ValueError: a bug", 1, False)
    assert "run it again" in explain(KeyboardInterrupt()).message


def report() -> Report:
    def slices(hit: float) -> dict[str, dict[str, float]]:
        return {
            "overall": {"count": 2000, "hit_rate@10": hit, "mrr": hit / 2, "gini@10": 0.5},
            "user_type=new": {"count": 1990, "hit_rate@10": hit, "mrr": hit / 2},
            "user_type=known": {"count": 10},
        }

    return Report(
        metrics={"candidate": slices(0.25), "champion": slices(0.2), "recent_popularity": slices(0.125)},
        checks=(
            Check("hit_rate@10", "overall", 0.25, 0.125, "recent_popularity", True),
            Check("mrr", "user_type=new", 0.125, 0.5, "min", False),
        ),
        blessed=False,
        headline="hit_rate@10",
        depths={"candidate": 10, "champion": 10},
        exclude_seen=True,
        batch_size=256,
        min_slice_size=50,
        intervals={"candidate": {"overall": {"hit_rate@10": (0.24, 0.27), "mrr": (0.12, 0.14)}}},
        confidence_level=0.9,
        leads=(Lead("champion", 0.05, (-0.01, 0.11)), Lead("recent_popularity", 0.125, (0.1, 0.15))),
    )


@pytest.mark.parametrize("terminal", [True, False])
def test_the_report_shows_every_model_and_says_where_a_slice_is_too_small(terminal: bool) -> None:
    out = io.StringIO()
    assert show_report(report(), Console(file=out, width=60, force_terminal=terminal, color_system=None)) == 3
    text = out.getvalue()
    assert "2,000 point-in-time queries, ± at 90% confidence" in text
    assert "hit@10 by slice" in text
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line.startswith("│")]
    assert rows == [
        ["hit@10", "0.2500 ±0.0150", "0.2000", "0.1250"],
        ["MRR", "0.1250 ±0.0100", "0.1000", "0.0625"],
        ["Gini@10", "0.5000", "0.5000", "0.5000"],
        ["user_type=new", "1,990", "0.2500", "0.2000", "0.1250"],
        ["user_type=known", "10", "too few", "too few", "too few"],
    ]
    assert [line for line in text.splitlines() if " against " in line] == [
        "hit@10 against the champion: +0.0500 (-0.0100 to +0.1100)",
        "hit@10 against recent_popularity, the best baseline: +0.1250 (+0.1000 to +0.1500)",
    ]
    assert "✓ hit@10 0.2500 is above recent_popularity's 0.1250" in text
    assert "not blessed: MRR 0.1250 is below 0.5000 where user_type=new" in text


def test_a_report_without_intervals_or_failures() -> None:
    out = io.StringIO()
    passed = dataclasses.replace(report(), blessed=True, checks=report().checks[:1], intervals={}, leads=())
    assert show_report(passed, Console(file=out)) == 0
    assert "±" not in out.getvalue()
    assert "against" not in out.getvalue()
