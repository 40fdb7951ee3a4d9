"""The fork server's processes are as real as those that are started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import forks
from tests.e2e.world import wait_for

pytestmark = pytest.mark.slow


def python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return forks.run([sys.executable, "-c", code, *arguments], **options)


def test_it_has_its_own_place_and_is_a_child_of_the_caller(tmp_path: Path) -> None:
    asks = (
        "import os, sys; print(os.getppid(), os.getcwd(), sys.argv, dict(os.environ), os.getsid(0) == os.getpid());"
        "print(len(os.listdir('/proc/self/task')), 'tensorflow' in sys.modules, file=sys.stderr); sys.exit(7)"
    )
    ended = python(asks, "a", "b c", cwd=tmp_path, env={"X": "ä"}, start_new_session=True)
    assert ended.stdout == f"{os.getpid()} {tmp_path} ['-c', 'a', 'b c'] {{'X': 'ä'}} True\n"
    assert ended.stderr == "1 True\n", "nothing was running when it was forked off"
    assert ended.returncode == 7


def test_it_ends_as_python_ends() -> None:
    ended = python("import atexit; atexit.register(print, 'at exit'); raise ValueError('broken')")
    assert (ended.returncode, ended.stdout) == (1, "at exit\n")
    assert ended.stderr.endswith("ValueError: broken\n")
    assert python("import os; os.abort()").returncode == -signal.SIGABRT
    with pytest.raises(subprocess.CalledProcessError):
        python("raise SystemExit(2)", check=True)


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 9), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_it_takes_signals(sent: signal.Signals, code: int) -> None:
    waits = "import time\ntry: print('here', flush=True); time.sleep(60)\nexcept KeyboardInterrupt: raise SystemExit(9)"
    with forks.Popen([sys.executable, "-c", waits], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(sent)
        assert process.wait(30) == code


def test_it_forks_for_another_python_and_takes_its_exit_code() -> None:
    inner = "import os, sys; print(os.getppid(), sys.argv[1], 'tensorflow' in sys.modules); sys.exit(3)"
    outer = (
        "import os, subprocess, sys\n"
        "try:\n"
        "    done = subprocess.run([sys.executable, '-c', sys.argv[1], 'x'], stdout=subprocess.PIPE, text=True)\n"
        "finally:\n"
        "    print('once', flush=True)\n"
        "print(done.stdout == f'{os.getpid()} x True\\n', done.returncode)\n"
    )
    assert python(outer, inner).stdout == "once\nTrue 3\n"


def test_it_forks_also_where_threads_are_at_work(tmp_path: Path) -> None:
    """Each has its own files and is a child of the one that starts it, whichever thread does."""
    inner = "import os, sys; print(os.getppid(), sys.stdin.read(), 'tensorflow' in sys.modules, os.getcwd())"
    outer = (
        "import os, subprocess, sys\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def start(number):\n"
        "    command = [sys.executable, '-c', sys.argv[1]]\n"
        "    done = subprocess.run(command, input=str(number), capture_output=True, text=True, cwd=sys.argv[2])\n"
        "    return done.stdout == f'{os.getpid()} {number} True {sys.argv[2]}\\n'\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    print(list(pool.map(start, range(8))))\n"
    )
    assert python(outer, inner, str(tmp_path)).stdout == f"{[True] * 8}\n"


def test_nothing_is_left_when_it_is_killed() -> None:
    """Of what it has started goes on only what would go on; the server beside it ends."""
    waits = "import os; print(os.getpgid(0), flush=True); os.read(0, 1)"
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
    with forks.Popen([sys.executable, "-c", waits], text=True, **options) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{process.pid}\n"
        assert len(_of_session(process.pid)) == 2
        process.kill()
        process.wait()
        wait_for(lambda: not _of_session(process.pid), "the end of the server beside it")


def _of_session(session: int) -> list[int]:
    """The processes of a session that are alive."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, number = (process / "stat").read_text().rsplit(")", 1)[1].split()[:4]
            if int(number) == session and state != "Z":
                found.append(int(process.name))
    return found


def test_tensorflow_works_in_each() -> None:
    adds = "import tensorflow as tf; print(int(tf.function(lambda x: tf.reduce_sum(x @ x))(tf.ones([64, 64]))))"
    assert [python(adds).stdout for _ in range(3)] == ["262144\n"] * 3


def test_a_module_is_run_as_by_python_m(tmp_path: Path) -> None:
    (tmp_path / "said.py").write_text("import sys; print(__name__, sys.argv[1:], sys.stdin.read())", encoding="utf-8")
    command = [sys.executable, "-m", "said", "a"]
    assert forks.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL).stdout == "__main__ ['a'] \n"
