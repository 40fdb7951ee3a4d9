"""The program as it is typed: what it prints where, and its exit code."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import __version__
from tests.pipeline.cli.command import COMMAND, TFX, recommender

ROOT = Path(__file__).parents[3]

HEAVY = f"({TFX}) | {{'numpy', 'pyarrow', 'pipeline.config'}} & set(sys.modules)"


def test_its_version() -> None:
    ended = recommender("--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"recommender {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("vaildate",), "No such command 'vaildate'. Did you mean 'validate', 'evaluate'?"),
        (("validate", "--cofnig", "x"), "No such option: --cofnig"),
        (("promote", "1", "--label", "beta"), "Invalid value for '--label'"),
        (("evaluate", "--version", "1", "--label", "stable"), "error: --version and --label exclude each other"),
        (("query", "--version", "1", "--label", "stable"), "error: --version and --label exclude each other"),
        (("run", "--from", "Trainer", "--only", "Pusher"), "error: --from and --only exclude each other"),
        (("validate", "--config", "none.yaml"), "error: none.yaml: no such config file (there are: none in configs/)"),
        (("validate", "--config", "shop.yaml", "--overrides", "none.yaml"), "error: none.yaml: no such file"),
        (("history", "--config", "shop.yaml", "--set", "sed=1"), "sed: unknown key; did you mean 'seed'?"),
    ],
)
def test_a_mistake_is_one_plain_message(shop: Path, arguments: tuple[str, ...], said: str) -> None:
    ended = recommender(*arguments, cwd=shop)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert said in ended.stderr
    assert not set("╭╮│─━") & set(ended.stderr)
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no /dev/full")
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_full_disk_behind_what_is_printed_is_said(shop: Path, more: tuple[str, ...]) -> None:
    (shop / "log.csv").write_text(
        "user_id,item_id,timestamp\n" + "".join(f"u{n % 9},i{n % 7},{n}\n" for n in range(90))
    )
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [*COMMAND, "validate", "--config", "shop.yaml", *more]
        ended = subprocess.run(command, cwd=shop, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1
    assert "error: what is printed can't be written: No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
@pytest.mark.smoke
def test_help_and_typing_mistakes_import_nothing_heavy() -> None:
    program = (
        "import sys; from pipeline.cli import main\n"
        "for arguments in (['--help'], ['run', '--help'], ['run', '--nope'], ['qery']):\n"
        "    sys.argv = ['recommender', *arguments]\n"
        "    try: main()\n"
        f"    except SystemExit: print(sorted({HEAVY}), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert [line for line in ended.stderr.splitlines() if line.startswith("[")] == ["[]"] * 4


LEAVES_A_THREAD = """
import sys, threading
from pipeline.cli import app

def leave(prog_name):
    threading.Thread(target=threading.Event().wait).start()
    print("interrupted; run it again", end="")
    sys.exit(int(sys.argv[1]))

app._PATIENCE_S = 0.1
app.app = leave
app.main()
"""


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(("code", "ends"), [(1, True), (0, False)])
def test_a_thread_that_never_ends_keeps_only_what_went_well_from_its_end(code: int, ends: bool) -> None:
    command = [sys.executable, "-c", LEAVES_A_THREAD, str(code)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        if ends:
            assert process.communicate(timeout=300) == ("interrupted; run it again", None)
            assert process.returncode == code
        else:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(5)
    finally:
        process.kill()
        process.wait()


def test_a_former_name_of_an_option_goes_on_working_with_a_warning(shop: Path) -> None:
    ended = recommender("evaluate", "--config", "shop.yaml", "--model", "7", cwd=shop)
    first, *_, last = ended.stderr.splitlines()
    assert first == "warning: --model is now --version"
    assert last.startswith("error: --version 7: neither a version in output/models/shop")
    ended = recommender("serve", "--config", "shop.yaml", "--model=books", "--", "--model_name=x", cwd=shop)
    assert ended.stderr == (
        "warning: --model is now --name\n"
        "error: output/models/books: no version of books to serve; make one with `recommender run`\n"
    )
    ended = recommender("canary", "share", "0.5", "--config", "shop.yaml", "--wait", "0", cwd=shop)
    assert ended.stderr.startswith("warning: --wait is now --lock-timeout\nerror: ")


def test_a_former_name_of_a_variable_goes_on_working_with_a_warning(shop: Path) -> None:
    environ = {"RECOMMENDER_CONFIG": "shop.yaml", "RECOMMENDER_CACHE": str(shop)}
    ended = recommender("validate", cwd=shop, environ=environ)
    assert (ended.returncode, ended.stderr) == (0, "warning: RECOMMENDER_CACHE is now RECOMMENDER_DATASETS\n")


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands_options_and_nodes(shell: str) -> None:
    def completions(typed: str) -> str:
        environ = {
            "_RECOMMENDER_COMPLETE": f"complete_{shell}",
            "_TYPER_COMPLETE_ARGS": typed,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(typed.split(" ")) - 1),
        }
        return recommender(environ=environ).stdout

    assert "validate" in completions("recommender va")
    assert "--overrides" in completions("recommender run --ov")
    nodes = completions("recommender run --from T")
    assert "Trainer" in nodes
    assert "Transform" in nodes
    assert "Pusher" not in nodes


def at_terminal(*arguments: str, cwd: Path, **environ: str) -> str:
    """What the program shows at a terminal."""
    try:
        parent, child = pty.openpty()
    except OSError as error:  # a root folder without /dev/pts
        pytest.skip(f"no terminal can be made here: {error}")
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "TERM": "xterm", **environ},
        stdin=child,
        stdout=child,
        stderr=child,
    )
    os.close(child)
    shown = b""
    try:
        while block := os.read(parent, 4096):
            shown += block
    except OSError:  # the other end is closed
        pass
    process.wait(60)
    os.close(parent)
    return shown.decode()


@pytest.mark.slow
@pytest.mark.smoke
def test_boxes_are_for_terminals(shop: Path) -> None:
    (shop / "output" / "models").mkdir(parents=True)
    arguments = ("history", "--config", "shop.yaml")
    assert "╭" in at_terminal("history", "--help", cwd=shop)
    assert "┏" in at_terminal(*arguments, cwd=shop)
    assert recommender(*arguments, cwd=shop).stdout == (
        "shop, oldest first\ntime (UTC)  who  action  label  from  to  result  why\n"
    )
