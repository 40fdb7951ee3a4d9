"""A trial judged by what its users did: their clicks or conversions, by the version under trial and the stable one."""

from __future__ import annotations

import datetime
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.errors import InputError
from components.interaction_gen.sanity import as_time
from pipeline.config import Config
from pipeline.feedback import answers
from pipeline.feedback.outcomes import outcomes, windows
from pipeline.feedback.parts import Part, Parts, size_of, write_events, write_lists
from pipeline.feedback.run import find_log, find_pseudonyms, reasons
from pipeline.feedback.sequential import Difference, Group, difference, mismatch, users_needed
from serving.contract import CANARY
from serving.promotion import files
from serving.stores import AnyPath

Decision = Literal["promote", "stop", "go on"]
Outcome = Literal["clicks", "conversions"]

_DAY_US = 86_400_000_000
_HOUR_US = 3_600_000_000
_HALF = 0.5
"""The share at which a trial is over soonest."""
EARLIER = "lists from before the trial, or before its share was set"


@dataclass(frozen=True)
class Rules:
    """What is decided by."""

    outcome: Outcome = "clicks"
    min_effect: float = 0.05
    """The least difference that matters, as a share of what the stable version's users do."""
    alpha: float = 0.05
    """The probability of deciding wrongly, however often one looks."""
    better: bool = False
    """Whether the canary must be better to be promoted; otherwise it must not be worse by `min_effect`."""


@dataclass(frozen=True)
class Users:
    """The users of a trial."""

    counts: np.ndarray
    """Clicks or conversions of those whose hours are over, int64 [U]."""
    is_canary: np.ndarray
    """Their side, bool [U]."""
    arrived: int
    """All users that were shown anything."""
    arrived_canary: int
    """Those of them on the canary's side."""
    a_day: float
    """So many more users count from one day to the next, by the later half of the trial so far: at first all come who
    come often."""
    newest_event: int
    """Microseconds."""
    left_out: dict[str, int]


@dataclass(frozen=True)
class Verdict:
    """What a trial says so far. Counts are of users whose hours are over."""

    decision: Decision
    why: str
    outcome: Outcome
    since: int
    """Microseconds."""
    newest_event: int
    arrived: int
    stable: Group
    canary: Group
    difference: Difference
    min_difference: float
    """The least difference that matters."""
    needed_users: int | None
    """How many users it likely takes: those after which the interval is as narrow as `min_difference` on either side. A
    great difference takes fewer, one of half of it up to four times as many. None where nothing tells yet."""
    days_left: float | None
    """At this share of the users; None where nobody came lately."""
    days_left_at_half: float | None
    """With half of the users."""
    left_out: dict[str, int]

    @property
    def figure(self) -> str:
        """The difference in words, as a share of what the stable version's users do."""
        found, mean = self.difference, self.stable.mean
        if math.isinf(found.high) or not mean:
            return f"{found.value:+.4f} {self.outcome} a user; too few users yet for an interval"
        low, value, high = (part / mean for part in (found.low, found.value, found.high))
        return f"{value:+.1%} {self.outcome} a user ({low:+.1%} to {high:+.1%}, whenever one looks)"

    @property
    def how_long(self) -> str:
        """How long it will likely take, in words."""
        if self.needed_users is None:
            return "how long it will take can't be told before some users count, and do something"
        users = f"likely decided after {self.needed_users:,} users, sooner if they differ much"
        if self.days_left is None or self.days_left_at_half is None:
            return f"{users}; nobody new came lately"
        return (
            f"{users}: in about {self.days_left:,.1f} days as users come now; with a share of 0.5 (canary share 0.5), "
            f"which begins anew, in about {self.days_left_at_half:,.1f}"
        )


def judge(
    config: Config,
    base_path: AnyPath,
    name: str,
    logs: Sequence[str],
    events: str | None = None,
    rules: Rules = Rules(),
) -> Verdict:
    """Reads the log of answers and the later events of a trial, and says what comes of it.

    Args:
        config: Says how events are read, and in `feedback` what they are to answers.
        base_path: Holds the audit trail, by which the trial has begun.
        name: The model's.
        logs: Files, globs or folders of logs of answers.
        events: The interactions, a path or a glob; by default the config's.
        rules: What is decided by.

    Raises:
        InputError: A log or the events can't be read; NothingToJoin if there is nobody to judge by.
    """
    since = _began(base_path, name)
    users = read_users(config, logs, events, since, rules.outcome)
    return decide(users, since, files.read_share(base_path, name) or None, rules)


def decide(users: Users, since: int, share: float | None, rules: Rules) -> Verdict:
    """Says what comes of a trial."""
    stable, canary = Group.of(users.counts[~users.is_canary]), Group.of(users.counts[users.is_canary])
    found = difference(stable, canary, rules.alpha)
    least = rules.min_effect * stable.mean
    decision, why = _decision(found, least, rules)
    if not users.arrived_canary:
        decision, why = "go on", "the canary has answered nobody: `recommender canary share SHARE` sends it users"
    elif share is not None and mismatch(users.arrived_canary, users.arrived, share):
        decision = "go on"
        why = (
            f"{users.arrived_canary:,} of {users.arrived:,} users are the canary's, where its share is {share:g}: one "
            "side is not logged, or fails, and by such groups nothing can be decided"
        )
    needed = days = at_half = None
    if least > 0 and (canary.users or share is not None):
        needed = users_needed(stable, canary, least, rules.alpha, share)
        if users.a_day:
            days = max(needed - stable.users - canary.users, 0) / users.a_day
            at_half = users_needed(stable, canary, least, rules.alpha, _HALF) / users.a_day
    return Verdict(
        decision,
        why,
        rules.outcome,
        since,
        users.newest_event,
        users.arrived,
        stable,
        canary,
        found,
        least,
        needed,
        days,
        at_half,
        users.left_out,
    )


def _decision(found: Difference, least: float, rules: Rules) -> tuple[Decision, str]:
    if found.low > 0:
        return "promote", f"the canary's users have more {rules.outcome}"
    if found.high < 0:
        return "stop", f"the canary's users have fewer {rules.outcome}"
    if rules.better and found.high < least:
        return "stop", f"the canary is better by {rules.min_effect:.1%} nowhere"
    if not rules.better and found.low > -least:
        return "promote", f"the canary is not worse by {rules.min_effect:.1%}"
    return "go on", "nothing is decided yet"


def read_users(config: Config, logs: Sequence[str], events: str | None, since: int, outcome: Outcome) -> Users:
    """Reads what the users of a trial did. See `judge`.

    A user is on the canary's side if it answered any of their lists: others may answer where it fails. Counted is what
    they did with the lists of their first `feedback.user_hours`, once the windows of these are over, so that a user
    counts once and for good.
    """
    settings, counts = config.feedback, Counter[str]()
    if outcome == "conversions" and not settings.conversions:
        raise InputError("feedback.conversions names no types of events, so there are none to decide by")
    paths, log, key = answers.find_logs(logs), find_log(config, events), find_pseudonyms(config)
    recent = [path for path in paths if _written(path) >= since - _HOUR_US]
    taken, is_canary = [], []
    arrived = arrived_canary = lately = 0
    with tempfile.TemporaryDirectory(prefix="recommender-trial-") as folder:
        parts = Parts(Path(folder), size_of(recent))
        span = write_lists(parts, _since(answers.read_logs(recent, config.name, counts), since, counts), counts)
        if span.first is None:
            raise answers.NothingToJoin(
                f"{', '.join(map(str, paths[:3]))}: no list of {config.name} to a known user since {as_time(since)} "
                f"UTC, when the trial began or its share was set{reasons(counts)}"
            )
        clock = round(settings.clock_seconds * 1e6)
        newest = write_events(parts, log, settings, span.first - clock, key).last
        if newest is None or newest + clock < span.first:
            raise answers.NothingToJoin(f"{log.files[0].path}: no event is later than the first answer of the trial")
        hours = round(settings.user_hours * _HOUR_US)
        over = newest - hours - max(windows(settings))
        later_half = (span.first + over) / 2
        for part in parts:
            first, of_canary = _sides(part)
            arrived += len(first)
            arrived_canary += int(of_canary.sum())
            found = outcomes(part, settings, newest, counts)
            done = found.clicked if outcome == "clicks" else found.converted
            user = _codes(found.lists["user"], part)
            early = found.lists["time"].to_numpy() <= first[user] + hours
            per_list = np.bincount(found.list_of, done, minlength=len(user)) * early
            per_user = np.bincount(user, per_list, minlength=len(first)).astype(np.int64)
            taken.append(per_user[first <= over])
            is_canary.append(of_canary[first <= over])
            lately += int(((first > later_half) & (first <= over)).sum())
    left_out = {reason: count for reason, count in counts.items() if count}
    a_day = lately * _DAY_US / (over - later_half) if over > later_half else 0.0
    return Users(np.concatenate(taken), np.concatenate(is_canary), arrived, arrived_canary, a_day, newest, left_out)


def _written(path: Path) -> float:
    """Returns when a log was last written to, in microseconds: none of its lists is later. One that is gone is read by
    its other name, or told of."""
    return path.stat().st_mtime * 1e6 if path.exists() else math.inf


def _began(base_path: AnyPath, name: str) -> int:
    """Returns when a trial began or its share was set, by the audit trail, in microseconds; 0 where it says nothing."""
    times = [
        datetime.datetime.fromisoformat(entry.time).timestamp()
        for entry in files.read_audit(base_path, name, genuine=True)
        if entry.result == files.DONE and entry.action != "retire"
    ]
    return round(max(times, default=0) * 1e6)


def _since(tables: Iterator[pa.Table], since: int, counts: Counter[str]) -> Iterator[pa.Table]:
    for table in tables:
        kept = table.filter(pc.greater_equal(table["time"], since))
        counts[EARLIER] += len(table) - len(kept)
        yield kept


def _sides(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Returns the time of each user's first list, int64 [U], and whether the canary answered any, bool [U]."""
    user, time = _codes(part.lists["user"], part), part.lists["time"].to_numpy()
    count = int(user.max()) + 1
    first = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first, user, time)
    by_canary = pc.fill_null(pc.equal(part.lists["label"], CANARY), False).to_numpy()
    return first, np.bincount(user[by_canary], minlength=count) > 0


def _codes(users: pa.ChunkedArray, part: Part) -> np.ndarray:
    """Returns the users of some lists of a part as numbers from 0."""
    codes = pc.index_in(users.combine_chunks(), value_set=pc.unique(part.lists["user"].combine_chunks()))
    found: np.ndarray = codes.to_numpy(zero_copy_only=False).astype(np.int64)
    return found
