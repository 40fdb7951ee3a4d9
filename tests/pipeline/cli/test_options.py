"""Options that commands share: which config they go by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipeline.cli.command import recommender


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
