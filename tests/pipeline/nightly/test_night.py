"""The steps of a night: what follows from what, who is told how often, and a kill. The runs here are made up;
tests/e2e/test_nightly.py has real ones."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.errors import InputError, LockedError
from components.locks import locked
from pipeline.config import Config
from pipeline.feedback.answers import NothingToJoin
from pipeline.feedback.trial import Rules
from pipeline.nightly import journal
from pipeline.nightly.journal import Night, Step
from pipeline.nightly.night import nightly
from pipeline.terminal import Outcome
from serving.promotion import PromotionFailed
from tests.pipeline.nightly.listeners import Webhook
from tests.serving.promotion.world import M, World

pytestmark = pytest.mark.slow

BREACH = "events: 12, at least 500"


class Shop:
    """A folder with data, two replicas with version 1, a webhook, and runs that end as is said."""

    def __init__(self, folder: Path, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.webhook = folder, webhook
        self.world = World(folder / "models", versions=(1,))
        self.log = folder / "log.csv"
        self.log.write_text("user,item\n")
        self.ran: list[str] = []
        """The reasons of `--accept` that runs were given."""
        self.ends: Any = self.done()
        monkeypatch.setattr("pipeline.local.run.run", self._run)

    def _run(self, config: Config, accept: str = "") -> Outcome:
        self.ran.append(accept)
        if isinstance(self.ends, BaseException):
            raise self.ends
        return self.ends

    def done(self, code: int = 0, blessed: Any = True, breaches: Any = (), refused: Any = ()) -> Outcome:
        nodes = [{"node": "Pusher", "summary": "version 1 is published"}]
        return Outcome(
            code,
            {
                "run": "r", "nodes": nodes, "blessed": blessed, "pushed": None, "breaches": list(breaches),
                "report": Path("report.html"), "seconds": 1.0, "evaluation": SimpleNamespace(failures=refused),
            },
        )  # fmt: skip

    def config(self, retention: Any = None, **settings: Any) -> Config:
        return Config.model_validate(
            {
                "name": M,
                "output": str(self.folder / "output"),
                "retention": retention or {},
                "data": {"interactions": {"path": str(self.log)}},
                "serving": {
                    "base_path": str(self.world.base),
                    "replicas": [replica.target for replica in self.world.replicas],
                },
                "nightly": {
                    "trial": {"num_queries": 4, "max_p99_ratio": 1e6},
                    "notify": [self.webhook.url],
                    "gc": False,
                    **settings,
                },
            }
        )

    def night(self, accept: str = "", **settings: Any) -> Night:
        """Calls for a night; returns what the journal has of it."""
        outcome = nightly(self.config(**settings), accept)
        last = self.nights()[-1]
        assert (last.code, outcome.facts["code"], outcome.facts["began"]) == (outcome.exit_code,) * 2 + (last.began,)
        return last

    @property
    def path(self) -> Path:
        return self.folder / "output" / M / journal.FILE

    def nights(self) -> list[Night]:
        return journal.read(self.path)

    def told(self) -> list[str]:
        """What the webhook was told since it was asked last, without the closing line."""
        posted, self.webhook.posted = self.webhook.posted, []
        return ["; ".join(one["message"].splitlines()[:-1]) for one in posted]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with Webhook() as webhook:
        shop = Shop(tmp_path, webhook, monkeypatch)
        yield shop
        shop.world.close()


def said(night: Night) -> list[str]:
    return [f"{step.name} {step.code} {step.said}" for step in night.steps]


@pytest.mark.smoke
def test_new_data_are_run_once_and_what_was_pushed_is_stable(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    night = shop.night()
    assert said(night) == [
        "data 0 new: 1 files, 10 bytes",
        "run 0 version 1 is published",
        "release 0 version 1 is stable",
    ]
    assert (night.code, night.cause, night.labels) == (0, "", {"stable": 1})
    assert "✓ release  version 1 is stable" in capsys.readouterr().out
    for _ in range(3):  # every hour
        assert said(shop.night()) == ["data 0 nothing new: 1 files, 10 bytes"]
    assert len(shop.nights()) == 2
    assert shop.ran == [""]
    shop.log.write_text("user,item\na,b\n")
    assert said(shop.night())[:2] == ["data 0 new: 1 files, 14 bytes", "run 0 version 1 is published"]
    assert shop.told() == []
    assert shop.world.labels == {"stable": 1}


def test_the_same_data_are_run_again_if_no_version_is_left(shop: Shop) -> None:
    assert shop.ends.facts is not None
    shop.ends.facts["pushed"] = {"version": 1, "new": True, "path": "1"}
    shop.night()
    shop.night()
    assert len(shop.ran) == 1
    shutil.rmtree(shop.world.base / M / "1")
    shop.night()
    assert len(shop.ran) == 2


def test_a_breach_ends_with_3_is_told_and_can_be_accepted(shop: Shop) -> None:
    shop.night()
    shop.log.write_text("user,item\na,b\n")
    shop.ends = shop.done(3, None, [BREACH, "users: 1, at least 9"])
    night = shop.night()
    assert (night.code, night.cause) == (3, "guards")
    assert shop.told() == [f"run: {BREACH}; users: 1, at least 9"]
    # Nothing new since then, so there is nothing to say and nothing to run.
    assert (shop.night().code, len(shop.ran)) == (0, 2)
    shop.ends = shop.done()
    assert said(shop.night("closed"))[1] == "run 0 version 1 is published"
    assert shop.ran[-1] == "closed"
    assert shop.told() == []


def test_a_model_that_is_not_blessed_is_told_with_the_reason(shop: Shop) -> None:
    shop.ends = shop.done(3, False, refused=["hit@10 0.1000 is below the champion's 0.2000"])
    night = shop.night()
    assert (night.code, night.cause) == (3, "not_blessed")
    assert shop.told() == ["run: not blessed: hit@10 0.1000 is below the champion's 0.2000"]


@pytest.mark.parametrize(
    ("ends", "code", "cause", "words"),
    [
        (Outcome(2, error="log.csv: no column item"), 2, "input", "log.csv: no column item"),
        (Outcome(4, error="another run is at work"), 4, "locked", "another run is at work"),
        (OSError(28, "No space left on device"), 2, "input", "the disk is full"),
        (KeyError("a bug"), 1, "failure", "KeyError: 'a bug'"),
    ],
)
def test_what_failed_is_tried_again_by_each_call_and_told_once(
    shop: Shop, ends: Any, code: int, cause: str, words: str
) -> None:
    shop.ends = ends
    for _ in range(2):
        night = shop.night()
        assert (night.code, night.cause) == (code, cause)
        assert words in night.steps[1].said
        # It keeps no other step from what it can do.
        assert night.labels == {"stable": 1}
    assert len(shop.ran) == 2
    [told] = shop.told()
    assert words in told


def test_what_stays_wrong_is_told_each_night_and_what_could_not_be_told_later(shop: Shop) -> None:
    shop.ends = Outcome(2, error="log.csv: no column item")
    shop.webhook.answer = 500
    night = shop.night()
    assert night.steps[-1].name == "notify"
    assert "500" in night.steps[-1].said
    assert (night.code, night.told, night.untold) == (2, [], ["run: log.csv: no column item"])
    shop.webhook.answer = 200
    shop.ends = shop.done()
    assert shop.told() != []
    night = shop.night()
    assert (night.code, night.told) == (0, ["run: log.csv: no column item"])
    shop.told()
    shop.ends = Outcome(2, error="log.csv: no column item")
    shop.log.write_text("other\n")
    shop.night()
    assert shop.told() == []
    yesterday = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=21)
    nights = shop.nights()
    for old in nights:
        old.began = old.ended = yesterday.isoformat(timespec="seconds")
    journal.write(shop.path, nights)
    shop.night()
    assert shop.told() == ["run: log.csv: no column item"]


def test_a_service_that_is_down_has_the_others_told_once(shop: Shop) -> None:
    with Webhook() as other:
        notify = [shop.webhook.url, other.url]
        shop.ends = Outcome(2, error="log.csv: no column item")
        other.answer = 500
        for _ in range(3):
            night = shop.night(notify=notify)
            assert (night.told, night.untold) == (["run: log.csv: no column item"],) * 2
            assert night.unreached == [other.url]
        assert len(shop.told()) == 1
        other.answer, other.posted = 200, []
        night = shop.night(notify=notify)
        assert (night.untold, night.unreached, night.code) == ([], [], 2)
        assert (len(shop.told()), len(other.posted)) == (0, 1)


def test_what_was_told_under_a_wrong_clock_is_told_again(shop: Shop) -> None:
    shop.ends = Outcome(2, error="log.csv: no column item")
    shop.night()
    nights = shop.nights()
    nights[-1].ended = "2099-01-01T00:00:00+00:00"
    journal.write(shop.path, nights)
    shop.night()
    assert shop.told() == ["run: log.csv: no column item"] * 2


def test_a_damaged_journal_is_set_aside_and_told(shop: Shop) -> None:
    shop.night()
    shop.path.write_text('{"began": "2026-')
    night = shop.night()
    assert [(step.name, step.code) for step in night.steps] == [("journal", 1), ("data", 0), ("run", 0)]
    assert (night.code, night.cause) == (1, "journal")
    [told] = shop.told()
    assert "nights.jsonl.damaged from now on" in told
    assert shop.night().code == 0


def test_a_journal_that_can_not_be_written_stops_no_step_and_is_told(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(journal, "write", full)
        outcome = nightly(shop.config())
    assert (outcome.exit_code, outcome.facts["labels"]) == (2, {"stable": 1})
    assert [step["name"] for step in outcome.facts["steps"]] == ["journal", "data", "run", "release"]
    [told] = shop.told()
    assert "the disk is full" in told
    assert shop.night().code == 0


def test_that_there_was_no_night_is_told(shop: Shop) -> None:
    (shop.folder / "output").write_text("a file")
    with pytest.raises(InputError):
        nightly(shop.config())
    [told] = shop.webhook.posted
    assert told["title"] == "m: there was no night"
    assert "can't be written" in told["message"]


def test_a_disk_without_room_for_a_lock_is_wrong_input_and_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.nightly.night.locked", lambda *_: _raise(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="the disk is full"):
        nightly(shop.config())
    [told] = shop.webhook.posted
    assert "the disk is full" in told["message"]


def test_changes_are_told_to_those_who_want_to_know(shop: Shop) -> None:
    shop.night(notify_of="changes")
    assert shop.told() == ["version 1 is stable"]
    assert shop.webhook.posted == []


def test_a_replica_that_is_down_is_told_and_the_next_call_goes_on(shop: Shop) -> None:
    shop.night()
    from tests.serving.fake_replica import publish

    publish(shop.world.base, M, 2)
    config = shop.world.replicas[1].config
    port = shop.world.replicas[1].port
    shop.world.replicas[1].stop()
    night = shop.night()
    assert (night.code, night.cause, night.labels) == (1, "replicas", {"stable": 1})
    [told] = shop.told()
    assert told.startswith(f"release: no model server that serves m at 127.0.0.1:{port}")
    from tests.serving.fake_replica import FakeReplica

    shop.world.replicas[1] = FakeReplica(config, port=port)
    night = shop.night()
    assert (night.code, night.labels) == (0, {"stable": 2, "canary": 2})
    assert len(shop.ran) == 1


def test_after_a_run_feedback_and_gc_have_their_turn(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = [{"lists": 1_200, "impressions": 12_000, "clicks": 30, "conversions": 0}]
    freed = {"freed": {}, "bytes_before": 5_000, "bytes_after": 4_000}
    asked: list[Any] = []

    def feedback(config: Config, logs: Any, out: Path) -> Outcome:
        asked.append((logs, out))
        if shop.log.read_text() == "early":
            raise NothingToJoin("no event is later than the first answer")
        return Outcome(0, {"figures": figures})

    def gc(config: Config, limits: Any) -> Outcome:
        return Outcome(3 if config.retention.gigabytes else 0, freed)

    monkeypatch.setattr("pipeline.feedback.run.feedback", feedback)
    monkeypatch.setattr("pipeline.local.clean_up.gc", gc)
    settings = {"answers": ["answers"], "gc": True}
    assert [step.name for step in shop.night(**settings).steps] == ["data", "run", "release", "gc"]
    assert asked == [], "nobody can have been answered before there was a version"
    shop.log.write_text("early")
    assert said(shop.night(**settings))[2:] == [
        "feedback 0 nothing to join: no event is later than the first answer",
        "gc 0 1,000 bytes are freed, 4,000 stay",
    ]
    shop.log.write_text("later")
    night = shop.night(**settings, retention={"gigabytes": 3e-6})
    assert said(night)[2:] == [
        "feedback 0 1,200 lists, 12,000 impressions, 30 clicks, 0 conversions",
        "gc 3 1,000 bytes are freed, 4,000 stay, more than retention.gigabytes: 3e-06",
    ]
    assert (night.code, night.cause) == (3, "disk")
    assert asked[-1] == (("answers",), shop.path.parent / "feedback")
    # Nothing new, nothing to do; and events out of the limits tell nothing of what was served.
    assert [step.name for step in shop.night(**settings, retention={"gigabytes": 3e-6}).steps] == ["data"]
    shop.log.write_text("much later")
    shop.ends = shop.done(3, None, [BREACH])
    assert [step.name for step in shop.night(**settings).steps] == ["data", "run", "gc"]


class Killed(BaseException):
    """What ends a process in the midst of a night."""


def test_a_night_that_was_killed_goes_on_and_a_run_counts_once_it_has_ended(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.ends = Killed()
    for _ in range(2):
        with pytest.raises(Killed):
            nightly(shop.config())
    assert [(night.ended, night.kills) for night in shop.nights()] == [("", 1)]
    shop.ends = shop.done(3, False, refused=["hit@10 is below"])
    with monkeypatch.context() as killed:
        killed.setattr("pipeline.nightly.release.Release.release", lambda self: _raise(Killed()))
        with pytest.raises(Killed):
            nightly(shop.config())
    with monkeypatch.context() as killed:
        killed.setattr("pipeline.nightly.data.find", lambda config: _raise(Killed()))
        with pytest.raises(Killed):
            nightly(shop.config())
    began = shop.nights()[-1].began
    shop.ends = AssertionError("the run has ended")
    night = shop.night()
    assert (night.code, night.cause, night.kills, night.began) == (3, "not_blessed", 4, began)
    assert night.labels == {"stable": 1}
    assert [step.name for step in night.steps] == ["data", "run", "release"]
    [told] = shop.told()
    assert told.startswith("run: not blessed: hit@10 is below; killed 4 times before it came to its end")
    assert len(shop.nights()) == 1


def test_a_killed_night_runs_again_if_the_data_are_others_or_are_let_through(shop: Shop) -> None:
    for accept, content in (("", "user,item\na,b\n"), ("closed", "user,item\na,b\n")):
        shop.night()
        nights = shop.nights()
        run = Step("run", BREACH, 3, "guards")
        killed = Night(journal.now(), kills=0, audit=1, data=nights[-1].data, steps=[run])
        journal.write(shop.path, [*nights[:-1], killed])
        shop.log.write_text(content)
        ran = len(shop.ran)
        night = shop.night(accept)
        assert (night.code, len(shop.ran)) == (0, ran + 1)


def test_one_night_at_a_time(shop: Shop) -> None:
    root = shop.folder / "output" / M
    root.mkdir(parents=True)
    with locked(root / ".nightly.lock", lambda holder: None), pytest.raises(LockedError, match="another night is at"):
        nightly(shop.config())
    assert shop.ran == []


def test_an_error_of_promotion_has_its_code(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.nightly.release.Release.release", lambda self: _raise(PromotionFailed("text")))
    assert said(shop.night())[-1] == "release 1 text"


def _raise(error: BaseException) -> Any:
    raise error


@pytest.mark.slow
def test_users_are_asked_whom_the_settings_name(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.serving.fake_replica import publish

    shop.night()
    publish(shop.world.base, M, 2)
    shop.log.write_text("more rows")
    asked: list[Any] = []

    def judge(config: Config, *of_trial: Any) -> Any:
        asked.append(of_trial)
        raise NothingToJoin("no list of m")

    monkeypatch.setattr("pipeline.feedback.trial.judge", judge)
    monkeypatch.setattr("pipeline.feedback.run.feedback", lambda *_: judge(*_))
    trial = {"outcome": "conversions", "min_effect": 0.2, "num_queries": 4, "max_p99_ratio": 1e6}
    night = shop.night(trial=trial, answers=["log"])
    assert asked[0] == (shop.world.base, M, ("log",), None, Rules("conversions", 0.2))
    [told] = [step.said for step in night.steps if step.name == "release"]
    assert told == "version 2 is canary; version 2 is on trial, which nobody can decide yet: no list of m"
