"""Trials: who counts with what, by hand; what is decided of it; how often that is wrong, simulated."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.trial import clicks, conversions, simulate
from components.errors import InputError
from pipeline.feedback.trial import EARLIER, Rules, Users, decide, read_users
from tests.pipeline.feedback.shop import S, answer, write_answers, write_events, write_shop

HOUR = 3600


def trial(folder: Path, **feedback):
    """A trial that began after 1,000 seconds; windows and users' hours are one hour."""
    config = write_shop(folder, user_hours=1, **feedback)
    shown = [
        ("ann", 500, "stable", ["a"]),  # before the trial
        ("ann", 1000, "canary", ["a", "b"]),
        ("ann", 1500, "stable", ["c"]),  # the canary failed: she is its user all the same
        ("ann", 9000, "canary", ["d"]),  # her first hour is over
        ("bob", 1000, "stable", ["a"]),
        ("eve", 2000, "stable", ["a", "b"]),
        ("zoe", 15_000, "canary", ["a"]),  # her hour isn't
        (None, 2000, "canary", ["a"]),
    ]
    write_answers(folder / "trial.jsonl", [answer(user, at, items, label=label) for user, at, label, items in shown])
    did = [
        ("ann", "a", 1100, "click"),
        ("ann", "c", 1600, "click"),
        ("ann", "d", 9100, "click"),
        ("bob", "a", 1200, "buy"),
        ("eve", "a", 2100, "click"),
        ("eve", "b", 2200, "click"),
        ("max", "z", 16_000, "click"),
    ]
    write_events(folder / "log.csv", did)
    return config, [str(folder / "trial.jsonl")]


@pytest.mark.parametrize(("outcome", "of_canary", "of_stable"), [("clicks", [2], [0, 2]), ("conversions", [0], [0, 1])])
def test_each_user_counts_once_with_their_first_hours(tmp_path: Path, outcome, of_canary, of_stable) -> None:
    found = read_users(*trial(tmp_path), None, 1000 * S, outcome)
    assert sorted(found.counts[found.is_canary]) == of_canary
    assert sorted(found.counts[~found.is_canary]) == of_stable
    assert (found.arrived, found.arrived_canary, found.newest_event) == (4, 2, 16_000 * S)
    assert found.a_day == 0  # of those who count nobody came in the later half, after 4,900 seconds
    assert found.left_out == {
        EARLIER: 1,
        "lists of nobody in particular": 1,
        "lists whose window is not over yet": 1,
    }


def test_users_of_a_day(tmp_path: Path) -> None:
    config, logs = trial(tmp_path)
    write_answers(tmp_path / "more.jsonl", [answer(f"u{n}", 5000 + n, ["a"]) for n in range(13)])
    found = read_users(config, [*logs, str(tmp_path / "more.jsonl")], None, 1000 * S, "clicks")
    assert found.a_day == pytest.approx(13 * 24 * HOUR / 3900)  # 4,900 to 8,800, after which hours are not over


def test_logs_that_were_finished_before_the_trial_are_not_read(tmp_path: Path) -> None:
    config, logs = trial(tmp_path)
    old = tmp_path / "old.jsonl"
    old.write_text("not read")
    os.utime(old, (1000 - 2 * HOUR, 1000 - 2 * HOUR))
    assert "damaged lines" not in read_users(config, [*logs, str(old)], None, 1000 * S, "clicks").left_out
    os.utime(old, (1000, 1000))
    assert read_users(config, [*logs, str(old)], None, 1000 * S, "clicks").left_out["damaged lines"] == 1


def test_what_cant_be_judged(tmp_path: Path) -> None:
    config, logs = trial(tmp_path)
    with pytest.raises(InputError, match=r"no list of shop to a known user since 1970-01-12 .* \(8 lists from before"):
        read_users(config, logs, None, 10**6 * S, "clicks")
    write_events(tmp_path / "early.csv", [("ann", "a", 10, "click")])
    with pytest.raises(InputError, match="no event is later than the first answer of the trial"):
        read_users(config, logs, str(tmp_path / "early.csv"), 1000 * S, "clicks")
    config, logs = trial(tmp_path, conversions=[])
    with pytest.raises(InputError, match=r"feedback\.conversions names no types of events"):
        read_users(config, logs, None, 1000 * S, "conversions")


def users(stable: float, canary: float, each: int = 4000, **more) -> Users:
    """Of each side a share of the users clicked."""
    clicked = [np.arange(each) < share * each for share in (stable, canary)]
    sides = np.arange(2 * each) >= each
    return Users(
        np.concatenate(clicked).astype(int), sides, **{"arrived": 2 * each, "arrived_canary": each, **more},
        a_day=1000.0, newest_event=0, left_out={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stable", "canary", "better", "expected"),
    [
        (0.5, 0.6, False, ("promote", "the canary's users have more clicks")),
        (0.5, 0.4, False, ("stop", "the canary's users have fewer clicks")),
        (0.5, 0.5, False, ("promote", "the canary is not worse by 10.0%")),
        (0.5, 0.5, True, ("stop", "the canary is better by 10.0% nowhere")),
        (0.5, 0.6, True, ("promote", "the canary's users have more clicks")),
        (0.05, 0.05, False, ("go on", "nothing is decided yet")),
        (0.5, 0.0, False, ("go on", "nothing is decided yet")),
    ],
)
def test_decisions(stable: float, canary: float, better: bool, expected: tuple[str, str]) -> None:
    verdict = decide(users(stable, canary), 0, 0.5, Rules(min_effect=0.1, better=better))
    assert (verdict.decision, verdict.why) == expected


def test_how_long_it_will_take() -> None:
    verdict = decide(users(0.05, 0.05), 0, 0.5, Rules(min_effect=0.1))
    # Half the width comes to a tenth of 0.05 where 0.05 * 0.95 * 4 is a user's variance.
    assert verdict.min_difference == pytest.approx(0.005)
    assert verdict.needed_users is not None
    assert 55_000 < verdict.needed_users < 75_000  # 3 standard errors: 3^2 * 0.19 / 0.005^2 = 68,000
    assert verdict.days_left == pytest.approx((verdict.needed_users - 8000) / 1000)
    assert verdict.days_left_at_half == pytest.approx(verdict.needed_users / 1000)
    assert decide(users(0.0, 0.0), 0, 0.5, Rules()).needed_users is None
    early = users(0.05, 0.05)
    early = dataclasses.replace(early, counts=early.counts[:4000], is_canary=early.is_canary[:4000])
    assert decide(early, 0, 0.5, Rules(min_effect=0.1)).needed_users == pytest.approx(verdict.needed_users, rel=0.01)
    assert decide(early, 0, None, Rules(min_effect=0.1)).needed_users is None
    nobody = decide(dataclasses.replace(users(0.05, 0.05), a_day=0.0), 0, 0.5, Rules(min_effect=0.1))
    assert (nobody.needed_users, nobody.days_left) == (verdict.needed_users, None)


def test_groups_that_were_not_drawn_so_decide_nothing() -> None:
    wrong = decide(users(0.5, 0.6), 0, 0.05, Rules())
    assert (wrong.decision, wrong.why[:53]) == ("go on", "4,000 of 8,000 users are the canary's, where its shar")
    assert decide(users(0.5, 0.6), 0, None, Rules()).decision == "promote"
    nobody = decide(users(0.5, 0.6, arrived_canary=0), 0, 0.05, Rules())
    assert "the canary has answered nobody" in nobody.why


@pytest.mark.slow
@pytest.mark.parametrize(("draw", "share"), [(clicks, 0.1), (conversions, 0.5)])
def test_no_more_wrong_decisions_than_said_though_one_looks_each_night(draw, share: float) -> None:
    rules = Rules(min_effect=0.2, alpha=0.2)
    as_good = simulate(draw, share, 0.0, nights=20, a_night=500, trials=60, rules=rules)
    # Of both sides together 0.2 may be wrong, so of 60 trials 6 on either, and by chance up to 12.
    assert as_good.decisions["stop"] <= 0.2
    worse = simulate(draw, share, -0.2, nights=20, a_night=500, trials=60, rules=rules)
    assert worse.decisions["promote"] <= 0.2


@pytest.mark.slow
def test_a_great_effect_is_seen_soon() -> None:
    found = simulate(clicks, 0.5, -0.4, nights=40, a_night=300, trials=30, rules=Rules())
    assert found.decisions == {"promote": 0.0, "stop": 1.0, "go on": 0.0}
    assert found.users is not None
    assert found.users <= 3000
