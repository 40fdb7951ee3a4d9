"""Locks between processes: who holds one, that it ends with its holder, and that it is waited for."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from components.locks import locked

HOLD = """
import sys
from pathlib import Path
from components.locks import locked
with locked(Path(sys.argv[1]), print):
    print("held", flush=True)
    sys.stdin.read()
"""


class BusyError(Exception):
    pass


def refuse(holder: str) -> None:
    raise BusyError(holder)


@pytest.fixture
def other(tmp_path: Path):
    """Another process that holds `lock` until its input ends."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()


def test_who_comes_second_is_told_who_holds_it_and_may_ask_again(other: subprocess.Popen, tmp_path: Path) -> None:
    said = f"process {other.pid} on {re.escape(socket.gethostname())}, since 20[-0-9]+ [0-9:]+[+-][0-9:]+"
    for _ in range(2):
        with pytest.raises(BusyError, match=f"^{said}$"), locked(tmp_path / "lock", refuse):
            pass


def test_a_killed_process_leaves_no_lock(other: subprocess.Popen, tmp_path: Path) -> None:
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    with locked(tmp_path / "lock", refuse):
        assert f'"pid": {os.getpid()},' in (tmp_path / "lock").read_text(), "the dead one's sign is replaced"


@pytest.mark.slow
@pytest.mark.smoke
def test_it_is_waited_for_where_nobody_objects(other: subprocess.Popen, tmp_path: Path) -> None:
    told: list[str] = []

    def end(holder: str) -> None:
        told.append(holder)
        threading.Timer(0.1, other.stdin.close).start()

    with locked(tmp_path / "lock", end):
        assert other.wait() == 0, "it was held until the other had gone"
    assert len(told) == 1


def test_threads_keep_each_other_out_and_an_error_frees_the_lock(tmp_path: Path) -> None:
    def try_it() -> None:
        try:
            with locked(tmp_path / "lock", refuse):
                refused.append(False)
        except BusyError:
            refused.append(True)

    def fail() -> None:
        with locked(tmp_path / "lock", refuse):
            thread = threading.Thread(target=try_it)
            thread.start()
            thread.join()
            raise KeyError

    refused: list[bool] = []
    with pytest.raises(KeyError):
        fail()
    try_it()
    assert refused == [True, False]


def test_a_holder_that_has_not_signed_yet(tmp_path: Path) -> None:
    with open(tmp_path / "lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match=r"^a process that has just begun$"), locked(tmp_path / "lock", refuse):
            pass


def test_a_holder_whose_words_are_damaged(tmp_path: Path) -> None:
    with open(tmp_path / "lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write('{"pid": 7}')
        file.flush()
        with (
            pytest.raises(BusyError, match=r"^process 7 on unknown, since unknown$"),
            locked(tmp_path / "lock", refuse),
        ):
            pass


def test_where_there_can_be_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="File exists"), locked(tmp_path / "file" / "lock", refuse):
        pass

    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Function not implemented"), locked(tmp_path / "lock", refuse):
        pass
