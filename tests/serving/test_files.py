"""Files that are replaced at once, and locks that outlive nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from serving.files import Held, holding, replacing, write_atomically

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("content", ["ä\n", b"\xff\x00"])
def test_a_file_is_replaced(tmp_path, content):
    path = tmp_path / "file"
    for _ in range(2):
        write_atomically(path, content)
        assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
        assert os.listdir(tmp_path) == ["file"]


def test_readers_see_the_old_content_until_all_of_the_new_is_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_what_fails_changes_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(TypeError), replacing(path) as file:
        file.write(["new"])
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_permissions_are_those_of_new_files(tmp_path):
    (tmp_path / "plain").write_text("")
    write_atomically(tmp_path / "file", "")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_pipe_is_written_to_and_stays(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, text=True) as reader:
        write_atomically(tmp_path / "pipe", "ä")
        assert reader.communicate(timeout=60) == ("ä", None)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_lock_says_who_holds_it(tmp_path):
    path = tmp_path / ".lock"
    with holding(path, {"who": "ann"}), pytest.raises(Held) as error, holding(path, {"who": "bob"}):
        pass
    assert error.value.holder == {"who": "ann"}
    with holding(path, {"who": "bob"}), pytest.raises(Held) as error, holding(path, {}):
        pass
    assert error.value.holder == {"who": "bob"}, "nothing is left of the one before"


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_holder_that_has_said_nothing_yet(tmp_path, content):
    path = tmp_path / ".lock"
    with holding(path, {"who": "ann"}):
        path.write_text(content)
        with pytest.raises(Held) as error, holding(path, {}):
            pass
    assert error.value.holder == {}


def test_a_link_is_no_lock(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic link"), holding(tmp_path / "lock", {}):
        pass
    assert (tmp_path / "precious").read_text() == "kept"


def test_waiting(tmp_path):
    path = tmp_path / ".lock"
    begun, go = threading.Event(), threading.Event()

    def hold() -> None:
        with holding(path, {}):
            begun.set()
            assert go.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert begun.wait(10)
    started = time.monotonic()
    with pytest.raises(Held), holding(path, {}, wait=0.05):
        pass
    assert time.monotonic() - started >= 0.05
    threading.Timer(0.05, go.set).start()
    with holding(path, {}, wait=10):
        pass
    holder.join(10)


def test_a_killed_holder_holds_nothing(tmp_path):
    path = tmp_path / ".lock"
    program = (
        "import sys, time; from serving.files import holding\n"
        "with holding(sys.argv[1], {'who': 'ann'}): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(Held) as error, holding(path, {}):
            pass
        assert error.value.holder == {"who": "ann"}
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        with holding(path, {}):
            pass
    finally:
        process.kill()
        process.wait()
