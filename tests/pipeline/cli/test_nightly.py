"""`recommender nightly` and `status`, as they are typed: what is printed, and exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.promotion import files
from tests.pipeline.cli.command import recommender
from tests.pipeline.nightly.listeners import Webhook
from tests.serving.fake_replica import FakeReplica, publish

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a config and a server of the versions 1 and 2, and no data."""
    for version in (1, 2):
        publish(tmp_path / "models", "m", version)
    with FakeReplica(files.parse_config(files.render(None, "m", str(tmp_path / "models" / "m"), {}, None))) as server:
        (tmp_path / "shop.yaml").write_text(
            "name: m\noutput: output\ndata: {interactions: {path: log.csv}}\n"
            f"serving: {{base_path: {tmp_path}/models, replicas: ['{server.target}']}}\n"
            "nightly: {trial: {num_queries: 4, max_p99_ratio: 1000000}}\n"
        )
        yield tmp_path


def test_status_says_what_is_wrong_and_ends_with_3(folder: Path) -> None:
    ended = recommender("status", "-c", "shop.yaml", cwd=folder)
    assert ended.returncode == 3
    assert ended.stdout.splitlines() == [
        "m: no labels; the newest is version 2",
        "✗ no version is stable: what serves is whatever is newest",
    ]
    assert recommender("promote", "2", "--label", "stable", "-c", "shop.yaml", cwd=folder).returncode == 0
    ended = recommender("status", "-c", "shop.yaml", cwd=folder)
    first, last = ended.stdout.splitlines()
    assert (ended.returncode, last) == (0, "✓ nothing is wrong")
    assert first.startswith("m: stable is version 2 since 20")
    facts = json.loads(recommender("status", "-c", "shop.yaml", "--json", cwd=folder).stdout)
    assert [entry["version"] for entry in facts["serving"]] == [2]
    assert facts["problems"] == []


def test_a_night_without_data_says_so_does_the_rest_and_is_in_status(folder: Path) -> None:
    ended = recommender("nightly", "-c", "shop.yaml", "--json", cwd=folder)
    night = json.loads(ended.stdout)
    assert ended.returncode == night["code"] == 2
    assert night["cause"] == "input"
    assert [(step["name"], step["code"]) for step in night["steps"]] == [("data", 2), ("release", 0)]
    assert night["labels"] == {"stable": 2}
    assert "✗ data     interactions: there is no file log.csv" in ended.stderr
    shown = recommender("status", "-c", "shop.yaml", cwd=folder)
    assert shown.returncode == 3
    assert "data: interactions: there is no file log.csv; release: version 2 is stable" in shown.stdout
    assert f"✗ the night of {night['began']}, data: interactions: there is no file log.csv" in shown.stdout


@pytest.mark.parametrize("content", ["data: {interactions: {pth: log.csv}}\n", "data: {interactions\n"])
def test_a_config_that_can_not_be_read_is_told(folder: Path, content: str) -> None:
    with Webhook() as webhook:
        told = f"nightly:\n  notify: ['{webhook.url}']\n"
        (folder / "shop.yaml").write_text(f"name: m\n{told}{content}")
        ended = recommender("nightly", "-c", "shop.yaml", cwd=folder)
        [posted] = webhook.posted
    assert ended.returncode == 2
    assert posted["title"] == "recommender: there was no night"
    assert posted["message"].startswith("shop.yaml: ")
    assert posted["message"].splitlines()[0] in ended.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("nightly.notify=['${NOWHERE}']", "nightly.notify: the environment has no variable NOWHERE"),
        ("nightly.trial.share=2", "nightly.trial.share: "),
        ("serving={port: 0}", "serving.port is 0, any free one"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(folder: Path, change: str, message: str) -> None:
    ended = recommender("nightly", "-c", "shop.yaml", "--set", change, cwd=folder)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert not (folder / "output").exists()
    assert recommender("nightly", "-c", "shop.yaml", "--accept", " ", cwd=folder).returncode == 2
