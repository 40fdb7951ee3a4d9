"""`recommender query`, `similar` and `serve`, as a user types them."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from datetime import datetime

import pytest

from components.errors import InputError
from pipeline.cli.parsing import parse_context, parse_ids
from serving.promotion import Promoter
from serving.server.ports import free_port
from serving.server.process import environment
from tests.pipeline.cli.command import COMMAND, in_own_process, recommender, rows
from tests.serving.fixtures import MODEL

pytestmark = pytest.mark.slow


def ask(server, command: str, *arguments: str, transport: str = "grpc", cwd=None) -> subprocess.CompletedProcess[str]:
    target = server.grpc_target if transport == "grpc" else server.rest_target
    options = ("--target", target, "--transport", transport, "--name", MODEL)
    return recommender(command, *arguments, *options, cwd=cwd)


def test_query_known_user_needs_no_config(server, transport, tmp_path):
    ended = ask(server, "query", "--user", "ann", "-k", "2", transport=transport, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert rows(ended.stdout) == [
        ["1", "3", "v1: title of 3", "998.0000"],
        ["2", "4", "v1: title of 4", "997.0000"],
    ]
    assert "tiny version 7" in ended.stdout
    assert "source: user (ann is known)" in ended.stdout


def test_query_with_history_and_exclusions(server):
    ended = ask(server, "query", "--history", '"a,b", 10', "--history", "🎬", "--exclude", '9,"say ""hi"""', "-k", "2")
    assert ended.returncode == 0, ended.stderr
    # a,b is at place 10: 9 is in the history, 11 excluded; then 8 (excluded), 12 and 7, 13.
    assert [row[1] for row in rows(ended.stdout)] == ["two words", "8"]
    assert "source: history" in ended.stdout


def test_query_unknown_user_says_so(server):
    ended = ask(server, "query", "--user", "who?", "-k", "1")
    assert ended.returncode == 0
    assert rows(ended.stdout)[0][1] == "1"
    assert "user who? is unknown to the model; these are the popular items" in ended.stdout


def test_query_with_context(server, transport):
    context = ("--context", "device=w", "--context", "age=30", "--context", "timestamp=1970-01-01T00:00:07")
    ended = ask(server, "query", *context, "-k", "1", transport=transport)
    assert ended.returncode == 0, ended.stderr
    # Item w has popularity 1 of 20, and gets 5000 for the device, 30 for the age and 7 for the time.
    assert [row[1::2] for row in rows(ended.stdout)] == [["w", "6038.0000"]]


def test_query_with_everything_excluded(server):
    every = '1,2,3,4,5,6,7,8,9,10,"a,b","say ""hi""",two words,🎬,ä,x,y,z,v,w'
    ended = ask(server, "query", "--exclude", every)
    assert ended.returncode == 0
    assert ended.stdout.strip() == "nothing is left to recommend: every item was seen or is excluded"


def test_similar(server, transport):
    ended = ask(server, "similar", "--item", "2", "-k", "2", "--exclude", "1", transport=transport)
    assert ended.returncode == 0, ended.stderr
    assert [row[1] for row in rows(ended.stdout)] == ["3", "4"]
    assert "similar to 2 v1: title of 2" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("similar", "--item", "nothing"), "item 'nothing': the model 'tiny' doesn't know it"),
        (("query", "-k", "0"), "k=0"),
        (("query", "-k", "31"), "refused the request"),
        (("query", "--history", '"open'), "--history: "),
        (("query", "--transport", "soap"), "--transport soap: it is grpc or rest"),
        (("query", "--target", "no port"), "write it as host:port"),
        (("query", "--context", "device=NO"), "device=False is a bool"),
        (("query", "--context", "device=5"), "refused the request"),
    ],
)
def test_wrong_input_exits_with_2(server, arguments, text):
    defaults = ("--target", server.grpc_target, "--name", MODEL)
    ended = recommender(arguments[0], *defaults, *arguments[1:])
    assert ended.returncode == 2
    assert text in ended.stderr
    assert "Traceback" not in ended.stderr


def test_no_server_exits_with_1():
    target = f"127.0.0.1:{free_port()}"
    for transport in ("grpc", "rest"):
        ended = recommender("query", "--target", target, "--name", MODEL, "--transport", transport)
        assert ended.returncode == 1
        assert ended.stderr.strip() == f"error: no model server at {target}: start one with `recommender serve`"


def test_unknown_model_exits_with_1(server):
    ended = recommender("query", "--target", server.grpc_target, "--name", "nope")
    assert ended.returncode == 1
    assert "model 'nope' isn't served" in ended.stderr


def test_query_imports_neither_tensorflow_nor_the_config():
    program = (
        "import sys; sys.argv = ['recommender', 'query', '--target', '127.0.0.1:1', '--name', 'm']\n"
        "from pipeline.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'tensorflow', 'tfx', 'numpy', 'apache_beam', 'pipeline.config'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        ([], []),
        (["50,181,1"], ["50", "181", "1"]),
        (["50, 181", "1"], ["50", "181", "1"]),
        (['"a,b",c'], ["a,b", "c"]),
        (['"say ""hi"""', '5" disk'], ['say "hi"', '5" disk']),
        (["two words,,🎬,"], ["two words", "🎬"]),
        ([""], []),
    ],
)
def test_parse_ids(values, ids):
    assert parse_ids(values, "--history") == ids


@pytest.mark.parametrize(
    ("values", "context"),
    [
        ([], {}),
        (["device=ios", "age=30", "ratio=0.5"], {"device": "ios", "age": 30, "ratio": 0.5}),
        (["tags=[a, b]", 'zip="90210"', "q=a=b"], {"tags": ["a", "b"], "zip": "90210", "q": "a=b"}),
        (["timestamp=2026-01-31T20:15:00"], {"timestamp": datetime(2026, 1, 31, 20, 15)}),
        (["age="], {"age": None}),
    ],
)
def test_parse_context(values, context):
    assert parse_context(values) == context


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["device"], "'device': expected name=value"),
        (["=ios"], "'=ios': expected name=value"),
        (["a=1", "a=2"], r"a is given twice; write several values as a=\[a,b\]"),
        (["a=[1"], "not valid YAML"),
        (["timestamp=2026-02-31"], "not valid YAML: day is out of range"),
    ],
)
def test_parse_context_refuses(values, message):
    with pytest.raises(InputError, match=message):
        parse_context(values)


def test_parse_ids_with_an_open_quote():
    with pytest.raises(InputError, match=r"--history: .*double quotes"):
        parse_ids(['"a,b'], "--history")


def test_serve_until_ctrl_c(servable, tmp_path):
    shutil.copytree(servable, tmp_path / MODEL / "4")
    port = free_port()
    process = subprocess.Popen(
        [
            *(*COMMAND, "serve", "--name", MODEL),
            *("--base-path", str(tmp_path), "--port", str(port), "--rest-port", "0"),
        ],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = []
        while not lines or not lines[-1].startswith("ready "):
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        assert lines[0].startswith(f"serving {MODEL} version 4 from {tmp_path}")
        ended = recommender("query", "--user", "ann", "--target", f"127.0.0.1:{port}", "--name", MODEL)
        assert ended.returncode == 0
        assert "version 4" in ended.stdout
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_serve_what_was_promoted(servable, tmp_path):
    for version in ("4", "5"):
        shutil.copytree(servable, tmp_path / "models" / MODEL / version)
    Promoter(tmp_path / "models", MODEL, []).promote(4, "stable")
    script = tmp_path / "tensorflow_model_server"
    script.write_text('#!/bin/sh\necho "started with $@"\n')
    script.chmod(0o755)
    models = str(tmp_path / "models")
    arguments = ("serve", "--base-path", models, "--name", MODEL, "--port", "8700", "--rest-port", "8701")
    ended = in_own_process(*arguments, "--", "--enable_batching=true", path=tmp_path)
    assert ended.stdout.splitlines()[1].startswith(f"serving {MODEL} stable version 4 from {models}")
    started = ended.stdout.splitlines()[-1]
    assert f"--model_config_file={models}/models.config" in started
    assert "--allow_version_labels_for_unavailable_models=true" in started
    assert started.endswith(" --enable_batching=true")
    assert "--model_base_path" not in started


def test_serve_without_a_version(tmp_path):
    ended = recommender("serve", "--base-path", str(tmp_path), "--name", MODEL)
    assert ended.returncode == 2
    assert f"{tmp_path / MODEL}: no version of tiny to serve; make one with `recommender run`" in ended.stderr


def test_serve_prefers_tensorflow_model_server(tmp_path):
    (tmp_path / "models" / MODEL / "4").mkdir(parents=True)
    (tmp_path / "models" / MODEL / "4" / "saved_model.pb").write_bytes(b"")
    script = tmp_path / "tensorflow_model_server"
    script.write_text('#!/bin/sh\necho "started with $@"\nexit 7\n')
    script.chmod(0o755)
    arguments = (
        "serve",
        "--base-path",
        str(tmp_path / "models"),
        "--name",
        MODEL,
        "--port",
        "8700",
        "--rest-port",
        "0",
    )
    ended = in_own_process(*arguments, path=tmp_path)
    assert ended.returncode == 7
    assert f"by {script}" in ended.stdout
    assert "listens on all addresses" in ended.stdout
    started = ended.stdout.splitlines()[-1]
    assert started.startswith("started with --port=8700 --rest_api_port=")
    assert "--rest_api_port=0 " not in started
    assert "--host" not in started
