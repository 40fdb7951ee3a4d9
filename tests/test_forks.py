"""The fork server's processes are as real as those that are started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import forks

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


def test_tensorflow_works_in_each() -> None:
    adds = "import tensorflow as tf; print(int(tf.function(lambda x: tf.reduce_sum(x @ x))(tf.ones([64, 64]))))"
    assert [python(adds).stdout for _ in range(3)] == ["262144\n"] * 3


def test_a_module_is_run_as_by_python_m(tmp_path: Path) -> None:
    (tmp_path / "said.py").write_text("import sys; print(__name__, sys.argv[1:], sys.stdin.read())", encoding="utf-8")
    command = [sys.executable, "-m", "said", "a"]
    assert forks.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL).stdout == "__main__ ['a'] \n"
