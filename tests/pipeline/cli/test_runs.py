"""`recommender run` and `validate`, as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline.config import Config
from pipeline.nodes import NODES
from pipeline.terminal import Outcome
from tests.pipeline.cli.command import TFX, recommender

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.smoke
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


@pytest.mark.slow
@pytest.mark.smoke
def test_validate_as_text_and_as_json(shop: Path) -> None:
    told = recommender("validate", "--config", "shop.yaml", "--set", "seed=7", cwd=shop)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines()[0] == (
        "✓ config shop: all keys are known and valid, output and base path can be written"
    )
    asked = recommender("validate", "--config", "shop.yaml", "--set", "seed=7", "--json", cwd=shop)
    assert (asked.returncode, asked.stderr) == (0, told.stdout), "messages go to the standard error"
    facts = json.loads(asked.stdout)
    said = [line for line in told.stdout.splitlines() if not line.startswith("    ")]
    assert [f"✓ {finding}" for finding in facts["findings"]] == said
    assert "    a        b        2020-09-13 12:26:40  1" in told.stdout.splitlines()
    assert (facts["warnings"], facts["log"]["users"], facts["interactions"]["rows_read"]) == ([], 2, 3)
    assert (facts["config"]["name"], facts["config"]["seed"]) == ("shop", 7)


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.smoke
def test_init_as_text_and_as_json(shop: Path) -> None:
    told = recommender("init", "log.csv", "-o", "new.yaml", cwd=shop)
    assert (told.returncode, told.stderr) == (0, "")
    first, *guesses, last = told.stdout.splitlines()
    assert first == "✓ 3 rows: 3 events of 2 users with 2 items, 2020-09-13 12:26:40 to 2020-09-13 12:26:42 UTC"
    assert "✓ columns.user_id: user_id: named like a user; such as a, b" in guesses
    assert last == "new.yaml is written: recommender run --config new.yaml"
    assert recommender("validate", "--config", "new.yaml", cwd=shop).returncode == 0
    again = recommender("init", "log.csv", "-o", "new.yaml", cwd=shop)
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == "error: new.yaml is there already: --force replaces it, and -o names another file\n"
    options = ("--user", "item_id", "--item", "user_id", "--time", "None", "--force", "--json")
    asked = recommender("init", "log.csv", "-o", "new.yaml", *options, cwd=shop)
    facts = json.loads(asked.stdout)
    columns = {"user_id": "item_id", "item_id": "user_id", "timestamp": None}
    assert facts["config"]["data"]["interactions"]["columns"] == columns
    assert {"key": "data.interactions.columns.timestamp", "value": None, "why": "--time says so"} in facts["guesses"]


@pytest.mark.slow
@pytest.mark.smoke
def test_init_of_what_can_not_be_guessed_or_run(shop: Path) -> None:
    (shop / "odd.csv").write_text("a,b\nx,y\nz,w\n", encoding="utf-8")
    unknown = recommender("init", "odd.csv", "-o", "new.yaml", cwd=shop)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "which column is the user can't be told from 'a' (text, such as x)" in unknown.stderr
    assert not (shop / "new.yaml").exists()
    (shop / "items.csv").write_text("item_id,name\nc,See\n", encoding="utf-8")
    halfway = recommender("init", "log.csv", "--catalogue", "items.csv", "-o", "new.yaml", cwd=shop)
    assert halfway.returncode == 2
    assert "error: new.yaml is written, but can't be run as it is: items.csv is a catalogue without" in halfway.stderr


def test_an_error_leaves_no_document(shop: Path) -> None:
    (shop / "log.csv").unlink()
    ended = recommender("validate", "--config", "shop.yaml", "--json", cwd=shop)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1].startswith("error: interactions: there is no file log.csv")


@pytest.mark.parametrize(
    ("typed", "module", "function", "given"),
    [
        (("run",), "run", "run", (None, None, "", False)),
        (("run", "--full"), "run", "run", (None, None, "", True)),
        (("run", "--from", "Trainer"), "run", "run", ("Trainer", None, "", False)),
        (("run", "--only", "Trainer"), "run", "run", (None, "Trainer", "", False)),
        (("run", "--accept", " a sale "), "run", "run", (None, None, "a sale", False)),
        (("reindex",), "reindex", "reindex", ("",)),
        (("reindex", "--accept", "a sale"), "reindex", "reindex", ("a sale",)),
        (("tune",), "tuning", "tune", ()),
        (("demo", "--user", "42"), "demo", "demo", ("42",)),
    ],
)
def test_a_command_does_what_it_is_called_with_its_config(
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
    typed: tuple[str, ...],
    module: str,
    function: str,
    given: tuple[str | bool | None, ...],
) -> None:
    """And ends with the exit code that comes of it."""
    called: list[tuple[Any, ...]] = []

    def note(config: Config, *values: Any) -> Outcome:
        called.append((config.name, config.seed, *values))
        return Outcome(3)

    stand_in = ModuleType(f"pipeline.local.{module}")
    setattr(stand_in, function, note)
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    ended = recommender(*typed, "--config", "shop.yaml", "--set", "seed=7", cwd=shop)
    assert (ended.returncode, ended.stderr) == (3, "")
    assert called == [("shop", 7, *given)]


def test_a_reason_must_say_something(shop: Path) -> None:
    ended = recommender("run", "--accept", " ", "--config", "shop.yaml", cwd=shop)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: --accept: say why, for whoever reads the report later\n"
