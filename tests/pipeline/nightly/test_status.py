"""What `recommender status` finds, and finds wrong."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from pipeline.config import Config
from pipeline.local.place import Place
from pipeline.nightly import journal
from pipeline.nightly.journal import Night, Step
from pipeline.nightly.status import status
from serving.promotion import files
from serving.server.ports import free_port
from tests.serving.promotion.world import M, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "models", versions=(1, 2))
    yield world
    world.close()


def config(folder: Path, **nightly: Any) -> Config:
    content = {"name": M, "output": str(folder / "output"), "nightly": nightly}
    return Config.model_validate({**content, "data": {"interactions": {"path": "log.csv"}}})


def find(world: World, folder: Path, *more: str, **nightly: Any) -> dict[str, Any]:
    targets = (*(replica.target for replica in world.replicas), *more)
    return status(config(folder, **nightly), Place(world.base, M, targets, None, 7))


def ago(**time: float) -> str:
    passed = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(**time)
    return passed.isoformat(timespec="seconds")


def write(folder: Path, *nights: Night) -> None:
    path = folder / "output" / M / journal.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    journal.write(path, nights)


def profile(world: World, version: int, days_old: float) -> None:
    """Says how old the newest event is that a version was made from."""
    newest = datetime.datetime.fromisoformat(ago(days=days_old)).timestamp()
    path = world.base / M / str(version) / "assets.extra" / "data_profile.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"format": 1, "log": {"last": int(newest * 1e6)}}))


GOOD = Step("run", "version 2 is published")


@pytest.mark.slow
@pytest.mark.smoke
def test_what_serves_since_when_and_how_old_its_data_are(world: World, tmp_path: Path) -> None:
    world.promoter(who="ann").promote(1, "stable")
    world.promoter(who="nightly").promote(2, "canary")
    world.promoter().share(0.2)
    profile(world, 1, 3)
    write(tmp_path, Night(ago(hours=2), ago(hours=1), steps=[GOOD]))
    found = find(world, tmp_path)
    canary, stable = found["serving"]
    assert (stable["label"], stable["version"], stable["by"]) == ("stable", 1, "ann")
    assert stable["age_days"] == pytest.approx(3, abs=0.01)
    assert 0 <= journal.hours_since(stable["since"]) < 0.1
    assert (canary["label"], canary["version"], canary["age_days"]) == ("canary", 2, None)
    assert (found["newest"], found["canary_share"], found["problems"]) == (2, 0.2, [])
    assert list(found["replicas"].values()) == [{1: "AVAILABLE", 2: "AVAILABLE"}] * 2
    [night] = found["nights"]
    assert (night["code"], night["said"]) == (0, ["run: version 2 is published"])


@pytest.mark.slow
def test_what_was_served_brought_by_the_last_feedback(world: World, tmp_path: Path) -> None:
    assert find(world, tmp_path)["online"] is None
    path = tmp_path / "output" / M / "feedback" / "feedback.json"
    path.parent.mkdir(parents=True)
    figures = [{"dimension": name, "value": "1"} for name in ("all", "version", "place")]
    path.write_text(json.dumps({"newest_event": 5, "level": 0.95, "figures": figures, "left_out": {}}))
    assert find(world, tmp_path)["online"] == {"newest_event": 5, "level": 0.95, "figures": figures[:2]}
    path.write_text("{")
    with pytest.raises(InputError, match=r"feedback\.json: damaged: .*remove it"):
        find(world, tmp_path)


@pytest.mark.slow
def test_what_is_wrong_with_what_serves(world: World, tmp_path: Path) -> None:
    assert find(world, tmp_path)["problems"] == ["no version is stable: what serves is whatever is newest"]
    assert find(world, tmp_path, release="none")["problems"] == []
    world.promoter().promote(1, "stable")
    profile(world, 1, 8)
    assert find(world, tmp_path)["problems"] == [], "without nights nobody has said that the data are to be new"
    write(tmp_path, Night(ago(hours=2), ago(hours=1), steps=[GOOD]))
    nobody = f"127.0.0.1:{free_port()}"
    world.replicas[1].reload(files.parse_config(files.render(None, M, str(world.base / M), {}, {2})))
    found = find(world, tmp_path, nobody)["problems"]
    assert found == [
        f"{world.replicas[1].target} does not serve version 1, which is stable",
        f"no answer from {nobody}",
        "what serves is made from data that end 8.0 days ago (nightly.max_age_days: 7)",
    ]
    assert len(find(world, tmp_path, max_age_days=None)["problems"]) == 1
    files.write_journal(world.base, files.Journal(files.new_entry("promote", M, "stable", 1, 2), None, "", "", "", ""))
    (world.base / M / "1").rename(world.base / M / "one")
    found = find(world, tmp_path)["problems"]
    assert found[0] == "stable is version 1, which is gone from the disk"
    assert found[-1].startswith("a promotion is under way, or was killed")


@pytest.mark.slow
def test_what_is_wrong_with_the_nights(world: World, tmp_path: Path) -> None:
    world.promoter().promote(1, "stable")
    breach = Step("run", "events: 12, at least 500", 3, "guards")
    silent = Night(ago(hours=41), ago(hours=40), code=3, cause="guards", steps=[breach], untold=["run: events"])
    write(tmp_path, silent)
    [silence, broken, untold] = find(world, tmp_path)["problems"]
    assert silence == "no night has come to its end for 40 hours (nightly.max_silence_hours: 36)"
    assert broken == f"the night of {silent.began}, run: events: 12, at least 500"
    assert untold == "nobody could be told of: run: events"
    write(tmp_path, dataclasses.replace(silent, ended=ago(hours=-5), steps=[GOOD], unreached=["json://h/"]))
    clock, missed = find(world, tmp_path)["problems"]
    assert clock == f"the last night ended at {ago(hours=-5)}, which is yet to come: is the clock right?"
    assert missed == "json://h/ could not be told of: run: events"
    # A night without new data mends nothing, one with a run does.
    idle = Night(ago(hours=2), ago(hours=1), steps=[Step("data", "nothing new: 1 files, 1 bytes")])
    write(tmp_path, silent, idle)
    assert find(world, tmp_path)["problems"] == [broken]
    write(tmp_path, silent, Night(ago(hours=2), ago(hours=1), steps=[GOOD]))
    assert find(world, tmp_path)["problems"] == []
    began = ago(hours=1)
    write(tmp_path, Night(ago(hours=2), ago(hours=1), steps=[GOOD]), Night(began, kills=3))
    assert find(world, tmp_path)["problems"] == [f"the night that began at {began} was killed 3 times"]
