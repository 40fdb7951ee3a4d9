"""One run at a time in one place; how such locks work otherwise is tests/components/test_locks.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.errors import LockedError
from pipeline.local.lock import lock


@pytest.mark.slow
@pytest.mark.smoke
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


def test_the_message_says_how_to_run_elsewhere(tmp_path: Path) -> None:
    with (
        lock(tmp_path),
        pytest.raises(LockedError, match=r"since 20.*\); wait for it, or run elsewhere with --out FILE$"),
        lock(tmp_path, "--out FILE"),
    ):
        pass
