"""One call of `recommender nightly`: steps in a row, each of which looks what is there and does what is left to do.

A night that was killed is done over by the next call. What it had done is there: runs in the cache, versions on disk,
labels in models.config. Only how a run ended is taken from the journal, for a run after a promotion would have another
champion.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from components.errors import InputError, LockedError
from components.locks import locked
from components.versions import check_writable, newest
from pipeline.config import Config
from pipeline.failures import DONE, FAILED, LOCKED, NOT_BLESSED, WRONG_INPUT, explain
from pipeline.feedback.answers import NothingToJoin
from pipeline.local.output import keep_some, refresh
from pipeline.local.place import Place, find_place
from pipeline.nightly import journal
from pipeline.nightly.journal import FEEDBACK, Night, Step
from pipeline.nightly.notify import Notifier
from pipeline.nightly.release import Release
from pipeline.terminal import MARKS, Outcome, check_interrupts, remembered_interrupts, warn
from serving.promotion.errors import PromotionError, PromotionLocked, WrongPromotion

if TYPE_CHECKING:
    from pipeline.feedback.trial import Verdict

_AGAIN_H = 20.0
"""A problem that stays is told again after so many hours: once a night, however often nights are called."""
_KEPT = (journal.FILE, FEEDBACK)
"""What a night itself writes of the output."""
_KILLS = 2
"""So many kills in a row are a problem."""
_CAUSES = {FAILED: "failure", WRONG_INPUT: "input", NOT_BLESSED: "not_blessed", LOCKED: "locked"}


@dataclass
class Nightly:
    """What the steps of a night share."""

    config: Config
    accept: str
    root: Path
    """The output folder."""
    release: Release
    night: Night
    before: Sequence[Night]
    """The nights before."""

    @property
    def is_new(self) -> bool:
        """Whether the run of this night, or of the last one that had any, was of other data, or all that it had pushed
        is gone."""
        last = next((night for night in reversed(self.before) if night.step("run")), None)
        ended = last is not None and last.data == self.night.data and _has_verdict(last)
        return bool(self.accept) or last is None or not ended or self._is_lost(last)

    def _is_lost(self, last: Night) -> bool:
        run = last.step("run")
        return bool(run and run.facts.get("pushed")) and newest(self.release.place.versions) is None


def nightly(config: Config, accept: str = "") -> Outcome:
    """Does what there is to do for today.

    Args:
        config: The config.
        accept: Why data out of the limits of `guards` are let through this time; empty stops at such data.

    Returns:
        The exit code of the first step that has one, and the night as the journal has it.

    Raises:
        InputError: The config or the environment are wrong.
        LockedError: Another night is at work.
    """
    notifier = Notifier(config.nightly.notify, os.environ)
    with telling_of_failures(notifier, config.name):
        return _nightly(config, accept, notifier)


@contextlib.contextmanager
def telling_of_failures(notifier: Notifier, name: str) -> Iterator[None]:
    """Tells people why a night could not be, each time: there is no journal then that says who was told before."""
    try:
        yield
    except LockedError:  # there is a night
        raise
    except Exception as error:
        why = explain(error)
        failures = notifier.tell(f"{name}: there was no night", [why.message], problem=True)
        for failure in failures.values():
            warn(f"nobody could be told of this: {failure}")
        if why.exit_code == WRONG_INPUT:  # such as a full disk
            raise InputError(why.message) from error
        raise


def _nightly(config: Config, accept: str, notifier: Notifier) -> Outcome:
    root, kept = config.folder(), config.place()
    place = find_place(config, asked=config.nightly.release != "none")
    check_writable(root)
    root.mkdir(parents=True, exist_ok=True)

    def busy(holder: str) -> None:
        raise LockedError(f"{kept}: another night is at work ({holder}); wait for it")

    with contextlib.ExitStack() as held, remembered_interrupts():
        held.enter_context(locked(root / ".nightly.lock", busy))
        lease = None if root == kept else held.enter_context(locked(kept / ".nightly.lock", busy))
        refresh(config, _KEPT)
        path = root / journal.FILE
        nights, damaged = journal.read_or_set_aside(path)
        release = Release(config.nightly, place, 0, _users(config, place))
        night = Night(journal.now(), audit=release.count())
        if nights and not nights[-1].ended:
            night = _going_on(nights.pop())
        release.told = night.audit
        if damaged:
            night.steps.append(Step("journal", damaged, FAILED, "journal"))
        work = Nightly(config, accept, root, release, night, nights)

        def write() -> None:
            journal.write(path, [*nights, night])
            keep_some(config, lease, _KEPT)

        _work(work, write)
        _close(work, notifier)
        night.ended = journal.now()
        try:
            write()
        except OSError:
            if night.step("journal") is None:  # else people know
                raise
    return Outcome(night.code, dataclasses.asdict(night))


def _going_on(killed: Night) -> Night:
    """A night that was killed: what it had done is found where it is, and how its run had ended is kept."""
    run = [step for step in killed.steps if step.name == "run"] if _has_verdict(killed) else []
    return Night(killed.began, kills=killed.kills + 1, audit=killed.audit, data=killed.data, steps=run)


def _work(work: Nightly, write: Callable[[], None]) -> None:
    """Does the steps. One that fails does not keep the others from what they can do."""
    night, console = work.night, Console(highlight=False)
    if night.kills:
        console.print(f"the night that began at {night.began} was killed; going on", soft_wrap=True)
    for name, step in STEPS:
        _note(work, write)
        started = time.monotonic()
        try:
            done = step(work)
        except Exception as error:
            done = _failed(name, error, work.root)
        check_interrupts()
        if done is None:
            continue
        done = dataclasses.replace(done, seconds=round(time.monotonic() - started, 3))
        night.steps.append(done)
        mark = MARKS["failed" if done.code else "done"]
        console.print(f"{mark} {name:<8} {escape(done.said)}", soft_wrap=True)
    _note(work, write)
    order = ["journal", *(name for name, _ in STEPS)]
    night.steps.sort(key=lambda step: order.index(step.name))


def _note(work: Nightly, write: Callable[[], None]) -> None:
    """Writes the journal. That it can't be is a problem of the night, and stops none of it: `gc` may make room."""
    try:
        write()
    except OSError as error:
        if work.night.step("journal") is None:
            work.night.steps.append(_failed("journal", error, work.root))


def _users(config: Config, place: Place) -> Callable[[], Verdict] | None:
    """Who decides a trial beside its limits."""
    trial = config.nightly.trial
    if trial.outcome is None:
        return None
    outcome = trial.outcome

    def judge() -> Verdict:
        from pipeline.feedback import trial as of_users  # Beam: seconds

        rules = of_users.Rules(outcome, trial.min_effect, trial.alpha, trial.better)
        return of_users.judge(config, place.base_path, place.name, config.nightly.answers, None, rules)

    return judge


def _look(work: Nightly) -> Step:
    """Are there new data?"""
    from pipeline.nightly import data  # Beam: seconds

    night, found = work.night, data.find(work.config)
    if night.data != found.digest or work.accept:
        night.data = found.digest
        night.steps = [step for step in night.steps if step.name != "run"]
    what = f"{found.files:,} files, {found.bytes:,} bytes"
    return Step("data", f"{'new' if work.is_new else 'nothing new'}: {what}")


def _run(work: Nightly) -> Step | None:
    """Guards, training, judgement, and the push of what is blessed."""
    looked = work.night.step("data")
    if looked is None or looked.code or not work.is_new or work.night.step("run") is not None:
        return None
    from pipeline.local.run import run

    outcome = run(work.config, accept=work.accept)
    if outcome.facts is None:
        return Step("run", outcome.error, outcome.exit_code, _CAUSES[outcome.exit_code])
    facts = outcome.facts
    about = {key: facts[key] for key in ("run", "blessed", "pushed", "breaches", "report", "seconds")}
    about = {key: str(value) if isinstance(value, Path) else value for key, value in about.items()}
    if outcome.exit_code == DONE:
        return Step("run", _node(facts, "Pusher"), facts=about)
    if facts["blessed"] is None:
        return Step("run", "; ".join(facts["breaches"]), outcome.exit_code, "guards", about)
    refused = [str(check) for check in facts["evaluation"].failures]
    why = "; ".join(refused) or _node(facts, "ServableValidator")
    return Step("run", f"not blessed: {why}", outcome.exit_code, "not_blessed", about)


def _node(facts: dict[str, Any], name: str) -> str:
    return next((node["summary"] for node in facts["nodes"] if node["node"] == name), "")


def _feedback(work: Nightly) -> Step | None:
    """What became of what was served, by the events that the run has read."""
    run, logs = work.night.step("run"), work.config.nightly.answers
    if run is None or not _has_verdict(work.night) or run.cause == "guards" or not logs:
        return None
    if not any(night.labels for night in work.before):  # nobody can have been answered yet
        return None
    from pipeline.feedback.run import FACTS, feedback

    out = work.root / FEEDBACK
    try:
        outcome = feedback(work.config, logs, out)
    except NothingToJoin as error:
        return Step("feedback", f"nothing to join: {error}")
    if outcome.facts is None:
        return Step("feedback", outcome.error, outcome.exit_code, _CAUSES[outcome.exit_code])
    of_all = outcome.facts["figures"][0]
    counts = {name: of_all[name] for name in ("lists", "impressions", "clicks", "conversions")}
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return Step("feedback", said, facts={**counts, "file": str(out / FACTS)})


def _gc(work: Nightly) -> Step | None:
    """What is no longer needed goes."""
    if not work.config.nightly.gc or not _has_verdict(work.night):
        return None
    from pipeline.local.clean_up import gc

    outcome = gc(work.config, work.config.retention)
    if outcome.facts is None:
        return Step("gc", outcome.error, outcome.exit_code, _CAUSES[outcome.exit_code])
    facts = {key: outcome.facts[key] for key in ("freed", "bytes_before", "bytes_after")}
    before, after = facts["bytes_before"], facts["bytes_after"]
    said = f"{before - after:,} bytes are freed, {after:,} stay"
    if outcome.exit_code:
        limit = work.config.retention.gigabytes
        return Step("gc", f"{said}, more than retention.gigabytes: {limit:g}", outcome.exit_code, "disk", facts)
    return Step("gc", said, facts=facts)


STEPS: tuple[tuple[str, Callable[[Nightly], Step | None]], ...] = (
    ("recover", lambda work: work.release.recover()),
    ("data", _look),
    ("trial", lambda work: work.release.decide()),
    ("run", _run),
    ("release", lambda work: work.release.release()),
    ("feedback", _feedback),
    ("gc", _gc),
)
"""What a night does, in this order; each says None if there was nothing to do."""


def _has_verdict(night: Night) -> bool:
    """Whether the run of a night has come to an end that it would come to again."""
    run = night.step("run")
    return run is not None and run.code in (DONE, NOT_BLESSED)


def _failed(name: str, error: Exception, root: Path) -> Step:
    """What an exception says."""
    if isinstance(error, PromotionError):
        code = WRONG_INPUT if isinstance(error, WrongPromotion) else FAILED
        code = LOCKED if isinstance(error, PromotionLocked) else code
        return Step(name, str(error), code, "locked" if code == LOCKED else "replicas")
    failure = explain(error, root)
    if not failure.expected:
        logging.getLogger(__name__).exception("%s failed", name)
    return Step(name, failure.message, failure.exit_code, _CAUSES.get(failure.exit_code, "failure"))


def _close(work: Nightly, notifier: Notifier) -> None:
    """Judges the night, and tells people."""
    night, config = work.night, work.config
    first = next((step for step in night.steps if step.code), None)
    night.code, night.cause = (first.code, first.cause) if first else (DONE, "")
    night.labels = work.release.labels
    problems = [f"{step.name}: {step.said}" for step in night.steps if step.code]
    if night.kills >= _KILLS:
        problems.append(f"killed {night.kills} times before it came to its end: is there enough memory and time?")
    last = work.before[-1] if work.before else night
    recent = {text for old in work.before if _is_recent(old) for text in old.told}
    late, telling = last.untold, [text for text in problems if text not in recent]
    news = [step.said for step in night.steps if step.name in ("trial", "release") and not step.code]
    if config.nightly.notify_of == "problems":
        news = []
    title = f"{config.name}: {'a night needs somebody' if late or telling else 'a night'}"
    failures = notifier.tell(title, [*telling, *news], bool(late or telling), late, last.unreached)
    if failures:
        night.untold, night.unreached = list(dict.fromkeys([*late, *telling])), list(failures)
        night.steps.append(Step("notify", "; ".join(failures.values()), FAILED, "notify"))
        if not night.code:
            night.code, night.cause = FAILED, "notify"
    if len(failures) < len(notifier.names) or not notifier.names:
        night.told = list(dict.fromkeys([*late, *telling]))


def _is_recent(old: Night) -> bool:
    """Whether what a night told need not be told again. If its end is yet to come, its clock was wrong."""
    return bool(old.ended) and 0 <= journal.hours_since(old.ended) < _AGAIN_H
