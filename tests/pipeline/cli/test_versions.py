"""`recommender versions`, `history` and what changes versions: as text, as JSON, and while another one is at work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from serving.promotion import files
from serving.server.ports import free_port
from serving.server.process import environment
from tests.pipeline.cli.command import recommender
from tests.serving.fake_replica import publish

CONFIG = "name: m\ndata: {interactions: {path: log.csv}}\nserving: {base_path: models, port: PORT}\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Two versions, and no server."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "movielens_100k.yaml").write_text(CONFIG.replace("PORT", str(free_port())))
    for version in (1, 2):
        publish(tmp_path / "models", "m", version)
    return tmp_path


def test_the_versions_as_text_and_as_json(shop: Path) -> None:
    recommender("promote", "1", "--label", "stable", "--offline", cwd=shop)
    told = recommender("versions", cwd=shop)
    assert (told.returncode, told.stderr) == (0, "")
    title, head, *rows = told.stdout.splitlines()
    assert title == f"m in {shop / 'models'}"
    assert head == "version  labels  loaded  blessed  hit@10  NDCG@10  parent  data  code"
    assert [row.split() for row in rows[:2]] == [["1", "stable", "unknown"], ["2", "unknown"]]
    assert rows[2].endswith(" doesn't answer")
    facts = json.loads(recommender("versions", "--json", cwd=shop).stdout)
    assert list(facts) == ["model", "base_path", "labels", "canary_share", "interrupted", "down", "versions"]
    assert (facts["model"], facts["labels"], facts["canary_share"], facts["interrupted"]) == (
        "m",
        {"stable": 1},
        0,
        False,
    )
    assert len(facts["down"]) == 1
    assert facts["versions"][1] == {"version": 2, "labels": [], "states": {}, "fingerprint": "", "release": None}


def test_what_was_done_as_text_and_as_json(shop: Path) -> None:
    given = ("--offline", "--as", "ann", "--why", "a start")
    told = recommender("promote", "1", "--label", "stable", *given, cwd=shop)
    assert (told.returncode, told.stdout) == (0, "✓ m: stable is version 1\n")
    asked = recommender("promote", "2", "--label", "stable", *given, "--json", cwd=shop)
    [entry] = json.loads(asked.stdout)
    assert asked.returncode == 0
    wanted = {"action": "promote", "model": "m", "label": "stable", "from_version": 1, "to_version": 2, "who": "ann"}
    assert {key: entry[key] for key in wanted} == wanted
    assert (entry["result"], entry["why"]) == ("done", "a start")
    trail = json.loads(recommender("history", "--json", cwd=shop).stdout)
    assert trail[-1] == entry
    shown = recommender("history", cwd=shop).stdout
    assert f"ann ({entry['by']})" in shown  # who it was, beside whom --as named
    assert [line.split()[2:7] for line in shown.replace(f" ({entry['by']})", "").splitlines()[2:]] == [
        ["ann", "promote", "stable", "1", "done"],
        ["ann", "promote", "stable", "1", "2"],
    ]


@pytest.mark.parametrize(
    "arguments",
    [("promote", "1", "--label", "stable", "--offline"), ("retire", "1", "--offline"), ("canary", "share", "1")],
)
def test_while_another_promotion_is_at_work_the_exit_code_is_its_own(shop: Path, arguments: tuple[str, ...]) -> None:
    with files.lock(shop / "models", "promote m"):
        ended = recommender(*arguments, cwd=shop)
    assert ended.returncode == 4
    assert ended.stdout == ""
    assert "another promotion is under way ('promote m' by " in ended.stderr
    assert ended.stderr.endswith("; wait for it, or let --lock-timeout SECONDS do so\n")


def test_the_audit_trail_is_verified(shop: Path) -> None:
    for version in ("1", "2"):
        recommender("promote", version, "--label", "stable", "--offline", cwd=shop)
    trail = shop / "models" / "promotions.jsonl"
    last = json.loads(trail.read_text().splitlines()[1])["hash"]
    told = recommender("history", "--verify", cwd=shop)
    assert told.stdout == f"{trail}: 2 lines as they were written; the last one's hash: {last}\n"
    assert (told.returncode, told.stderr) == (0, "")
    trail.write_text(trail.read_text().replace('"action": "promote"', '"action": "retire"', 1))
    told = recommender("history", "--verify", cwd=shop)
    assert (told.returncode, told.stdout) == (1, f"{trail}: line 1 was changed after it was written\n")
    told = recommender("history", "--verify", "--json", cwd=shop)
    assert told.returncode == 1
    assert json.loads(told.stdout) == {
        "file": str(trail),
        "lines": 2,
        "unhashed": 0,
        "torn": [],
        "hash": last,
        "faults": [{"line": 1, "what": "was changed after it was written"}],
    }


CLIENT_ALONE = """
import re, sys
from pathlib import Path

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

ABSENT = {"apache_beam", "pyarrow", "scipy", "tensorflow", "tensorflow_serving", "tfx"}
sys.meta_path.insert(0, Absent())
from pipeline.cli.app import app

for line in sys.argv[1:]:
    try:
        app(line.split())
    except SystemExit as end:
        assert end.code == 0, (line, end.code)
"""


@pytest.mark.slow
@pytest.mark.smoke
def test_promotion_works_where_the_client_alone_is_installed(shop: Path) -> None:
    lines = [
        "promote 1 --label stable --offline",
        "promote 2 --label stable --offline",
        "rollback --offline",
        "versions",
        "history --verify",
        "retire 2 --offline",
        "canary compare --help",
    ]
    told = subprocess.run(
        [sys.executable, "-c", CLIENT_ALONE, *lines], cwd=shop, env=environment(), capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert "stable is version 1, before: 2" in told.stdout
    assert "3 lines as they were written" in told.stdout
