"""`recommender canary compare`: what is asked, what is printed of it, and what is done about it."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.promotion import Promoter, files
from tests.pipeline.cli.command import recommender
from tests.pipeline.feedback.shop import answer, write_answers
from tests.serving.fake_replica import FakeReplica, publish

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

LIMITS = ("--max-p99-ratio", "1000")  # the machine may be busy


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[FakeReplica]:
    """A server of which version 1 is stable and version 2 under trial; a folder with the config."""
    for version in (1, 2):
        publish(tmp_path / "models", "m", version)
    with FakeReplica(files.parse_config(files.render(None, "m", str(tmp_path / "models" / "m"), {}, None))) as server:
        (tmp_path / "shop.yaml").write_text(
            "name: m\ndata: {interactions: {path: log.csv}}\n"
            f"serving: {{base_path: {tmp_path}/models, default_k: 7, replicas: ['{server.target}']}}\n"
        )
        promoter = Promoter(tmp_path / "models", "m", [server.target], timeout=5)
        promoter.promote(1, "stable")
        promoter.promote(2, "canary")
        yield server


def compare(folder: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    """What the command printed, on the standard error too."""
    ended = recommender("canary", "compare", "-c", "shop.yaml", "-n", "4", *LIMITS, *arguments, cwd=folder)
    assert ended.returncode == code, ended.stderr
    return ended.stdout, ended.stderr


def test_the_figures_as_text_and_as_json(replica: FakeReplica, tmp_path: Path) -> None:
    told, _ = compare(tmp_path)
    head, stable, canary, *rest = told.splitlines()
    assert re.split("  +", head.strip()) == ["version", "requests", "errors", "p50 ms", "p99 ms"]
    assert stable.split()[:4] == ["stable", "1", "4", "0"]
    assert canary.split()[:4] == ["canary", "2", "4", "0"]
    assert rest == ["overlap@7 1.000, the same best item for 100.0%", "✓ the canary keeps to all limits"]
    asked, said = compare(tmp_path, "-k", "3", "--json")
    facts = json.loads(asked)
    assert (facts["k"], facts["overlap"], facts["same_first"], facts["passed"]) == (3, 1.0, 1.0, True)
    assert (facts["stable"]["version"], facts["canary"]["version"], facts["canary"]["requests"]) == (1, 2, 4)
    assert (facts["failures"], facts["done"]) == ([], [])
    assert "overlap@3 1.000" in said


@pytest.mark.parametrize("k", ["0", "-1", "1001"])
def test_a_number_of_items_that_no_version_answers_ends_nothing(replica: FakeReplica, tmp_path: Path, k: str) -> None:
    told, said = compare(tmp_path, "-k", k, "--auto", code=2)
    assert told == ""
    assert said.startswith("error: ")
    assert (f"k={k}: " if k != "1001" else "k must be at most 1000") in said
    assert replica.labels["m"] == {"stable": 1, "canary": 2}


def test_the_verdict_is_carried_out(replica: FakeReplica, tmp_path: Path) -> None:
    told, _ = compare(tmp_path, "--auto", "--as", "ann")
    assert told.splitlines()[-1] == "✓ m: stable is version 2, before: 1 on 1 of 1 replicas"
    assert replica.labels["m"] == {"stable": 2, "canary": 2}


def test_a_worse_canary_is_stopped(replica: FakeReplica, tmp_path: Path) -> None:
    (tmp_path / "models" / "m" / "2" / "saved_model.pb").write_text("reversed")
    replica.poll()
    (tmp_path / "queries.jsonl").write_text('{"user_id": "ann"}')
    told, _ = compare(tmp_path, "--queries", "queries.jsonl", "--auto", code=3)
    assert "not kept: overlap with stable's items: 0.000, at least 0.1 is wanted" in told.splitlines()
    assert told.splitlines()[-1] == "✓ m: canary is version 1, before: 2 on 1 of 1 replicas"
    assert replica.labels["m"] == {"stable": 1, "canary": 1}


def a_trial(folder: Path, share: float, stable: int, canary: int, count: int) -> None:
    """Has had `count` users on each side, of whom so many clicked, since the trial's beginning four days ago."""
    Promoter(folder / "models", "m", [], timeout=5).share(share)
    began = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=4)
    assert files.redact_audit(folder / "models", lambda line: {**line, "time": began.isoformat(timespec="seconds")})
    now = math.ceil(began.timestamp())
    lines, log = [], ["user_id,item_id,timestamp"]
    for label, clicking in (("stable", stable), ("canary", canary)):
        for number in range(count):
            user = f"{label}-{number}"
            lines.append(answer(user, now + 600 * number, ["a", "b"], label=label, model="m"))
            if number < clicking:
                log.append(f"{user},b,{now + 600 * number + 60}")
    log.append(f"nobody,z,{now + 3 * 86_400}")
    write_answers(folder / "answers" / "one.jsonl", lines)
    (folder / "log.csv").write_text("\n".join(log) + "\n")


def test_users_who_have_not_decided_yet(replica: FakeReplica, tmp_path: Path) -> None:
    a_trial(tmp_path, 0.5, stable=40, canary=41, count=100)
    told, said = compare(tmp_path, "--log", "answers", "--auto", "--json", code=5)
    facts = json.loads(told)
    assert facts["passed"]
    assert facts["done"] == []
    outcomes = facts["outcomes"]
    assert (outcomes["decision"], outcomes["stable"]["active"], outcomes["canary"]["active"]) == ("go on", 40, 41)
    assert outcomes["difference"]["low"] < 0 < outcomes["difference"]["high"]
    assert "… nothing is decided yet" in said
    assert f"likely decided after {outcomes['needed_users']:,} users" in said
    assert f"in about {outcomes['days_left']:,.1f} days as users come now" in said
    assert replica.labels["m"] == {"stable": 1, "canary": 2}


def test_users_stop_a_worse_canary(replica: FakeReplica, tmp_path: Path) -> None:
    a_trial(tmp_path, 0.5, stable=90, canary=30, count=100)
    told, _ = compare(tmp_path, "--log", "answers", "--auto", code=3)
    assert "not kept: the canary's users have fewer clicks" in told.splitlines()
    assert told.splitlines()[-1] == "✓ m: canary is version 1, before: 2 on 1 of 1 replicas"
    [*_, entry] = files.read_audit(tmp_path / "models", "m")
    assert re.search(r"fewer clicks: -66\.7% clicks a user \(-\S+% to -\S+%, whenever one looks\)", entry.why)
