"""The program as it is typed: what it prints where, and its exit code."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import __version__
from pipeline.nodes import NODES
from tests.pipeline.cli.command import COMMAND, recommender

ROOT = Path(__file__).parents[3]
MINIMAL = "name: shop\ndata:\n  interactions: {path: log.csv}\n"

TFX = "{'tensorflow', 'tfx', 'apache_beam', 'kfp'} & set(sys.modules)"
HEAVY = f"({TFX}) | {{'numpy', 'pyarrow', 'pipeline.config'}} & set(sys.modules)"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a config and its log."""
    (tmp_path / "shop.yaml").write_text(MINIMAL, encoding="utf-8")
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\na,b,1\n", encoding="utf-8")
    return tmp_path


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


@pytest.mark.parametrize("option", ["--from", "--only"])
def test_a_wrong_node_is_told_before_anything_heavy_is_imported(shop: Path, option: str) -> None:
    program = f"import sys; sys.argv = ['recommender', 'run', '--config', 'shop.yaml', '{option}', 'trainer']\n" + (
        f"from pipeline.cli import main\ntry: main()\nfinally: print(sorted({TFX}))"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=shop, env=environ, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout.strip() == "[]"
    assert ended.stderr == (
        f"error: {option} trainer: there is no such node; did you mean Trainer? The nodes are: {', '.join(NODES)}\n"
    )
    assert not (shop / "output").exists()


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


def test_validate_as_text_and_as_json(shop: Path) -> None:
    told = recommender("validate", "--config", "shop.yaml", "--set", "seed=7", cwd=shop)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines()[0] == (
        "✓ config shop: all keys are known and valid, output and base path can be written"
    )
    asked = recommender("validate", "--config", "shop.yaml", "--set", "seed=7", "--json", cwd=shop)
    assert (asked.returncode, asked.stderr) == (0, told.stdout), "messages go to the standard error"
    facts = json.loads(asked.stdout)
    assert [f"✓ {finding}" for finding in facts["findings"]] == told.stdout.splitlines()
    assert (facts["config"]["name"], facts["config"]["seed"]) == ("shop", 7)


def test_an_error_leaves_no_document(shop: Path) -> None:
    (shop / "log.csv").unlink()
    ended = recommender("validate", "--config", "shop.yaml", "--json", cwd=shop)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1].startswith("error: interactions: there is no file log.csv")


def test_files_in_their_order_then_the_environment_then_set(shop: Path) -> None:
    (shop / "first.yaml").write_text("seed: 2\nname: second\nmodel: {dim: 2, l2: 2}\ntraining: {epochs: 2}\n")
    (shop / "first.yaml").write_text("seed: 2\nmodel: {dim: 2, dropout: 0.2}\ntraining: {epochs: 2, batch_size: 2}\n")
    (shop / "second.yaml").write_text("seed: 3\nmodel: {dim: 3}\ntraining: {epochs: 3}\n")
    environ = {
        "RECOMMENDER_CONFIG": "shop.yaml",
        "RECOMMENDER_TRAINING__EPOCHS": "4",
        "RECOMMENDER_SEED": "4",
    }
    files = ("--overrides", "first.yaml", "--overrides", "second.yaml")
    ended = recommender("validate", "--json", *files, "--set", "seed=5", "--name", "six", cwd=shop, environ=environ)
    assert ended.returncode == 0, ended.stderr
    config = json.loads(ended.stdout)["config"]
    assert (config["model"]["dropout"], config["training"]["batch_size"]) == (0.2, 2)
    assert config["model"]["dim"] == 3
    assert config["training"]["epochs"] == 4
    assert config["seed"] == 5
    assert config["name"] == "six"

    environ["RECOMMENDER_OVERRIDES"] = "first.yaml:second.yaml"
    ended = recommender("validate", "--json", cwd=shop, environ=environ)
    assert json.loads(ended.stdout)["config"]["model"]["dim"] == 3
    ended = recommender("validate", "--json", "--overrides", "first.yaml", cwd=shop, environ=environ)
    assert json.loads(ended.stdout)["config"]["model"]["dim"] == 2, "what is typed takes the variable's place"


@pytest.mark.parametrize(
    ("arguments", "prepared"),
    [
        (("serve",), "no version of shop to serve"),
        (("history", "--json"), ""),
        (("query", "--user", "a"), "no model server at 127.0.0.1:4"),
        (("similar", "--item", "a"), "no model server at 127.0.0.1:4"),
        (("canary", "share", "0.5"), "no such base path"),
        (("export", "--out", "a.tar.gz"), "no version; make one"),
        (("batch", "--out", "a.csv"), "no version; make one"),
    ],
)
def test_the_environment_reaches_every_command(shop: Path, arguments: tuple[str, ...], prepared: str) -> None:
    environ = {"RECOMMENDER_CONFIG": "shop.yaml", "RECOMMENDER_SERVING__PORT": "4"}
    ended = recommender(*arguments, cwd=shop, environ=environ)
    assert prepared in ended.stderr
    wrong = recommender(*arguments, cwd=shop, environ={**environ, "RECOMMENDER_SERVING__PROT": "4"})
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == (
        "error: RECOMMENDER_SERVING__PROT: names no key of the config; did you mean RECOMMENDER_SERVING__PORT?\n"
    )


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


def test_boxes_are_for_terminals(shop: Path) -> None:
    (shop / "output" / "models").mkdir(parents=True)
    arguments = ("history", "--config", "shop.yaml")
    assert "╭" in at_terminal("history", "--help", cwd=shop)
    assert "┏" in at_terminal(*arguments, cwd=shop)
    assert recommender(*arguments, cwd=shop).stdout == (
        "shop, oldest first\ntime (UTC)  who  action  label  from  to  result  why\n"
    )
