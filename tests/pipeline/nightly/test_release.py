"""What moves labels: trials, verdicts and what is left alone, on replicas that keep TensorFlow Serving's rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.nightly import NightlySettings
from pipeline.feedback.answers import NothingToJoin
from pipeline.feedback.trial import Rules, Users, Verdict, decide
from pipeline.local.place import Place
from pipeline.nightly.journal import Step
from pipeline.nightly.release import Release
from serving.promotion import PromotionFailed, files, read_audit
from serving.server.ports import free_port
from tests.serving.fake_replica import publish
from tests.serving.promotion.world import M, World

LIMITS = {"num_queries": 4, "max_p99_ratio": 1e6}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, versions=(1,))
    yield world
    world.check()
    world.close()


def release(world: World, told: int | None = None, trial: Any = None, **settings: Any) -> Release:
    """What a night has that begins now, or one that told of so many lines of the audit trail."""
    place = Place(world.base, M, tuple(replica.target for replica in world.replicas), None, 7)
    made = Release(NightlySettings.model_validate({"trial": {**LIMITS, **(trial or {})}, **settings}), place, 0)
    made.told = made.count() if told is None else told
    return made


@pytest.mark.slow
@pytest.mark.smoke
def test_the_first_version_becomes_stable_and_a_better_one_by_a_trial(world: World) -> None:
    night = release(world)
    assert night.decide() is None
    assert night.release() == Step("release", "version 1 is stable", facts={"labels": {"stable": 1}})
    publish(world.base, M, 2)
    night = release(world)
    step = night.release()
    assert step == Step(
        "release", "version 2 is canary; version 2 is stable", facts={"labels": {"stable": 2, "canary": 2}}
    )
    [first, canary, share, stable] = read_audit(world.base, M)
    assert [entry.who for entry in (first, canary, share, stable)] == ["nightly"] * 4
    assert stable.why == "overlap@7 1.000, no limit broken"
    again = release(world)
    assert (again.decide(), again.release()) == (None, None)
    assert len(read_audit(world.base, M)) == 4


@pytest.mark.slow
def test_a_worse_version_goes_back_is_told_of_once_and_is_not_tried_again(world: World) -> None:
    release(world).release()
    publish(world.base, M, 2, "reversed")
    night = release(world)
    step = night.release()
    assert step is not None
    assert (step.code, step.cause) == (3, "canary")
    assert "version 2 is refused: overlap with stable's items: 0." in step.said
    assert world.labels == {"stable": 1, "canary": 1}
    again = release(world)
    assert (again.decide(), again.release()) == (None, None)
    # Killed before it could tell: what the audit trail has since then is told by the next call.
    resumed = release(world, told=1).decide()
    assert resumed is not None
    assert (resumed.code, resumed.said) == (3, step.said)


@pytest.mark.slow
def test_a_trial_takes_its_time_and_newer_versions_wait(world: World) -> None:
    release(world).release()
    publish(world.base, M, 2)
    slow: dict[str, Any] = {"trial": {"hours": 1, "share": 0.25}}
    step = release(world, **slow).release()
    assert step is not None
    assert (step.code, step.said) == (0, "version 2 is canary")
    assert files.read_share(world.base, M) == 0.25
    publish(world.base, M, 3)
    night = release(world, **slow)
    waiting = night.decide()
    assert waiting is not None
    assert waiting.said.startswith("version 2 is on trial until 20")
    assert night.release() is None
    assert world.labels == {"stable": 1, "canary": 2}
    # An hour later, as another setting has it.
    night = release(world)
    decided, begun = night.decide(), night.release()
    assert decided is not None
    assert begun is not None
    assert decided.said == "version 2 is stable"
    assert begun.said == "version 3 is canary; version 3 is stable"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stable", "canary", "said", "labels"),
    [
        (100, 102, "version 2 is on trial: nothing is decided yet: +2.0% clicks a user (", {"stable": 1, "canary": 2}),
        (100, 200, "version 2 is stable", {"stable": 2, "canary": 2}),
        (200, 100, "no limit broken; the canary's users have fewer clicks: -50.0%", {"stable": 1, "canary": 1}),
        (None, None, "version 2 is on trial, which nobody can decide yet: no list", {"stable": 1, "canary": 2}),
    ],
)  # fmt: skip
def test_users_decide(world: World, stable: int | None, canary: int | None, said: str, labels: dict[str, int]) -> None:
    def users() -> Verdict:
        """Of 400 on either side so many clicked."""
        if stable is None or canary is None:
            raise NothingToJoin("no list")
        counts = np.concatenate([np.arange(400) < stable, np.arange(400) < canary]).astype(int)
        return decide(Users(counts, np.arange(800) >= 400, 800, 400, 100.0, 0, {}), 0, 0.5, Rules())

    release(world).release()
    publish(world.base, M, 2)
    night = release(world, answers=["log"], trial={"outcome": "clicks"})
    night.users = users
    step = night.release()
    assert step is not None
    assert said in step.said
    assert world.labels == labels
    assert (step.code, step.cause) == ((3, "canary") if labels["canary"] == 1 else (0, ""))


@pytest.mark.slow
def test_a_trial_that_began_by_a_wrong_clock_comes_to_its_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    release(world).release()
    publish(world.base, M, 2)
    trial = {"trial": {"hours": 24}}
    release(world, **trial).release()
    for hours, said in ((-0.1, "version 2 is on trial until"), (-24 * 365, "version 2 is stable")):
        monkeypatch.setattr("pipeline.nightly.release.hours_since", lambda _, hours=hours: hours)
        step = release(world, **trial).decide()
        assert step is not None
        assert step.said.startswith(said)


@pytest.mark.slow
def test_a_night_that_was_killed_between_label_and_share_sets_the_share(world: World) -> None:
    release(world).release()
    publish(world.base, M, 2)
    night = release(world, trial={"hours": 1})
    night._promoter("blessed").promote(2, "canary")
    assert files.read_share(world.base, M) == 0
    night.decide()
    assert files.read_share(world.base, M) == 0.1
    # A person's share stays.
    night._promoter("").share(0.0)
    night.decide()
    assert files.read_share(world.base, M) == 0


@pytest.mark.slow
def test_what_people_do_is_left_to_them(world: World) -> None:
    release(world).release()
    publish(world.base, M, 2)
    world.promoter(who="ann").promote(2, "canary")
    night = release(world)
    waiting = night.decide()
    assert waiting is not None
    assert (waiting.code, waiting.said) == (0, "version 2 is on trial by ann, who decides")
    assert night.release() is None
    world.promoter(who="ann").promote(2, "stable")
    world.promoter(who="ann").rollback()
    assert release(world).release() is None
    assert world.labels == {"stable": 1, "canary": 1}


@pytest.mark.slow
def test_labels_may_be_moved_at_once_or_not_at_all(world: World) -> None:
    assert release(world, release="none").release() is None
    release(world).release()
    publish(world.base, M, 2)
    assert release(world, release="none").release() is None
    assert world.labels == {"stable": 1}
    step = release(world, release="stable").release()
    assert step is not None
    assert step.said == "version 2 is stable"


@pytest.mark.slow
def test_a_replica_that_is_down_holds_everything_up_unless_it_is_left_out(tmp_path: Path) -> None:
    world = World(tmp_path, versions=(1,))
    try:
        release(world).release()
        publish(world.base, M, 2)
        world.replicas[1].stop()
        with pytest.raises(PromotionFailed, match="no model server that serves m at"):
            release(world).release()
        assert world.labels == {"stable": 1}
        step = release(world, skip_down=True, release="stable").release()
        assert step is not None
        assert step.said == "version 2 is stable"
    finally:
        world.close()


@pytest.mark.slow
def test_before_there_is_a_server_the_first_version_is_stable_for_those_that_start_later(tmp_path: Path) -> None:
    publish(tmp_path, M, 1)
    night = Release(NightlySettings(), Place(tmp_path, M, (f"127.0.0.1:{free_port()}",), None, 7), 0)
    step = night.release()
    assert step is not None
    assert step.said == "version 1 is stable"
    assert night.labels == {"stable": 1}


@pytest.mark.slow
def test_a_killed_promotion_is_put_right_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    release(world).release()
    publish(world.base, M, 2)
    night = release(world)
    with monkeypatch.context() as killed:
        killed.setattr("serving.promotion.promoter.Promoter._probe", _die)
        killed.setattr("serving.promotion.promoter.Promoter._undo", lambda *_: None)
        with pytest.raises(SystemExit):
            night._promoter("").promote(2, "canary")
    assert files.read_journal(world.base) is not None
    release(world).recover()
    assert files.read_journal(world.base) is None
    assert world.labels == {"stable": 1}


def _die(*_: Any) -> None:
    raise SystemExit
