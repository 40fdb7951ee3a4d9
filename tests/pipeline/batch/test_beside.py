"""Work beside its output: what it leaves, and what is said of it, however it ends."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from rich.console import Console

from components.errors import InputError, LockedError
from pipeline.batch.beside import work_beside
from pipeline.local.lock import lock
from pipeline.terminal import Outcome


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / ".out.work"


def raising(error: BaseException, root: Path) -> object:
    def work(console: Console) -> Outcome:
        (root / "half").write_text("done")
        os.write(1, b"what frameworks print")
        raise error

    return work


def test_work_that_is_done(root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def work(console: Console) -> Outcome:
        assert root.is_dir()
        with pytest.raises(LockedError, match="another run is at work here"), lock(root):
            pass
        os.write(1, b"what frameworks print")
        console.print("what people see")
        return Outcome(3, {"a": 1})

    assert work_beside(tmp_path / "out", root, work) == Outcome(3, {"a": 1})
    assert capfd.readouterr().out == "what people see\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kept", "rest"), [(False, ", and run it again"), (True, ", and run it again: what is done is kept")]
)
def test_a_full_disk(root: Path, tmp_path: Path, kept: bool, rest: str) -> None:
    full = raising(OSError(errno.ENOSPC, "No space left on device"), root)
    with pytest.raises(InputError) as error:
        work_beside(tmp_path / "out", root, full, (lambda: True) if kept else None)  # type: ignore[arg-type]
    place = tmp_path / "out"
    assert str(error.value) == (
        f"{place}: can't be written: No space left on device; make room or name another --out{rest}"
    )
    assert root.exists() == kept


@pytest.mark.parametrize(
    ("left", "says"),
    [
        (None, "error: interrupted; nothing was changed: run it again\n"),
        (False, "error: interrupted; run it again to go on after the last step that was done\n"),
        (True, "error: interrupted; run it again to go on after the last step that was done\n"),
    ],
)
def test_an_interrupt(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], left: bool | None, says: str
) -> None:
    work = raising(KeyboardInterrupt(), root)
    asked = None if left is None else lambda: bool(left)
    assert work_beside(tmp_path / "out", root, work, asked).exit_code == 1  # type: ignore[arg-type]
    assert capfd.readouterr().out == says
    assert (root / "half").exists() == bool(left)


def test_a_bug_leaves_its_story(root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    outcome = work_beside(tmp_path / "out", root, raising(ZeroDivisionError("oh"), root))  # type: ignore[arg-type]
    assert (outcome.exit_code, outcome.facts) == (1, None)
    assert capfd.readouterr().out == f"error: ZeroDivisionError: oh\nthe whole story is in {root / 'log'}\n"
    log = (root / "log").read_text()
    assert "what frameworks print" in log
    assert "Traceback" in log


def test_wrong_input_is_told_by_the_command(root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"^no such thing$"):
        work_beside(tmp_path / "out", root, raising(InputError("no such thing"), root))  # type: ignore[arg-type]
    assert capfd.readouterr().out == ""
    assert not list(tmp_path.iterdir())
