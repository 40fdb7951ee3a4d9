"""The entry point: what it makes of KFP's executor input, of logs, and of nodes that end in any way."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from kubeflow import entrypoint
from kubeflow.artifacts import LOCAL_ROOT
from tests import forks
from tests.kubeflow.toy import arguments, executor_input, logged
from tests.kubeflow.walker import IMAGE


@pytest.mark.parametrize(
    ("script", "code", "severity", "message"),
    [
        ("import os; os.kill(os.getpid(), 9)", 1, "ERROR", "failed: killed; most likely out of memory"),
        ("import os; os.abort()", 1, "ERROR", "failed: ended by SIGABRT"),
        ("raise SystemExit(2)", 2, "ERROR", "failed: the input is wrong"),
        ("raise SystemExit(5)", 1, "ERROR", "failed: exit code 5"),
        ("print('done, it says, but wrote nothing')", 1, "ERROR", "failed: it wrote no output"),
    ],
)
def test_a_node_that_fails_leaves_nothing(script, code, severity, message, root, capsys, monkeypatch):
    half = "import os; os.makedirs(os.environ['T'], exist_ok=True); open(os.environ['T'] + '/half', 'w').close()\n"
    monkeypatch.setenv("T", str(root / "s3/b/r/model"))
    monkeypatch.setattr(entrypoint, "NODE_COMMAND", (sys.executable, "-c", half + script))
    assert entrypoint.main(arguments()) == code
    assert not (root / "s3/b/r/model").exists()
    last = logged(capsys)[-1]
    assert last["severity"] == severity
    assert last["message"].startswith(message)
    assert last["seconds"] >= 0
    assert last["peak_memory_mib"] > 1


WRITES = (
    "import os, sys; p = os.environ['T']; assert not os.path.exists(p); os.makedirs(p)\n"
    "open(os.path.join(os.path.dirname(p), 'output_metadata.json'), 'w').write('{}')\n"
)


def test_what_an_earlier_try_left_is_gone_and_all_lines_are_json(root, capsys, monkeypatch):
    (root / "s3/b/r/model/old").mkdir(parents=True)
    says = (
        'os.write(1, b\'plain\\n\\n{"severity": "INFO", "node": "Toy", "message": "own"}\\n\')\n'
        "os.write(2, b'2026-11-22 01:02:03.000001: W tensorflow/x.cc:12] from TensorFlow\\n')\n"
        "os.write(2, b'E0000 00:00:1700000000.000000   12 x.cc:9] from absl\\n\\xff no UTF-8\\n')\n"
        'os.write(1, b\'{"severity": half\\n{"some": "JSON"}\\n[1]\')\n'
    )
    monkeypatch.setenv("T", str(root / "s3/b/r/model"))
    monkeypatch.setattr(entrypoint, "NODE_COMMAND", (sys.executable, "-c", WRITES + says))
    assert entrypoint.main(arguments()) == 0
    found = [(line["severity"], line["message"]) for line in logged(capsys)]
    assert [severity for severity, _ in found[:6]] == ["INFO", "INFO", "WARNING", "ERROR", "INFO", "INFO"]
    assert found[1] == ("INFO", "own")
    assert [message for _, message in found[5:]] == ['{"severity": half', '{"some": "JSON"}', "[1]", "done"]


def test_what_the_node_leaves_running_does_not_hold_the_container(root, capsys, monkeypatch):
    stays = "import subprocess; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    monkeypatch.setenv("T", str(root / "s3/b/r/model"))
    monkeypatch.setattr(entrypoint, "NODE_COMMAND", (sys.executable, "-c", WRITES + stays))
    watch = threading.Timer(60, os._exit, (1,))
    watch.start()
    try:
        assert entrypoint.main(arguments()) == 0
    finally:
        watch.cancel()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "code", "severity", "text"),
    [
        ("aborts at its end", 0, "INFO", '["train"] 5'),
        ("wrong", 2, "ERROR", "log.csv: row 3 is wrong; mend it"),
        ("a breach", 3, "ERROR", "failed: the data are out of the limits"),
        ("broken", 1, "ERROR", "RuntimeError: something broke"),
        ("slow", 1, "ERROR", "failed: ended by SIGTERM"),
    ],
)
def test_a_container(what, code, severity, text, tmp_path):
    (tmp_path / "s3/b/examples").mkdir(parents=True)
    command = [sys.executable, "-m", "kubeflow.entrypoint", *arguments(what)]
    environment = {**IMAGE, "HOME": str(tmp_path), LOCAL_ROOT: str(tmp_path)}
    plain = what == "aborts at its end"  # that one imports, runs and ends as in a cluster
    popen = subprocess.Popen if plain else forks.Popen
    process = popen(command, cwd="/", env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if what == "slow":
        while not (tmp_path / "s3/b/r/model/weights").exists():
            time.sleep(0.1)
        process.terminate()
    written, _ = process.communicate(timeout=300)
    assert process.returncode == code
    lines = [json.loads(line) for line in written.decode().splitlines()]
    assert [line for line in lines if line["severity"] == severity and text in line["message"]], lines
    assert any(line["message"] == "half of it is done" for line in lines)
    assert any("traceback" in line for line in lines) == (what == "broken")
    assert (tmp_path / "s3/b/r/model/weights").exists() == (code == 0)
    assert (tmp_path / "s3/b/r/output_metadata.json").exists() == (code == 0)


def test_a_store_that_the_launcher_does_not_know(capsys):
    text = json.dumps(executor_input()).replace("s3://b/r", "hdfs://b/r")
    assert entrypoint.main(["--node", "Toy", "--component", "tests.kubeflow.toy.Toy", "--executor_input", text]) == 2
    [line] = logged(capsys)
    assert line["message"].startswith("hdfs://b/r/model: Kubeflow's launcher brings nothing from there")
