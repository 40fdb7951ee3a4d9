"""From a pushed version to what serves: `canary`, compared, `stable`, or back.

What is to be done is read off models.config, the audit trail and the versions on disk, so a night that was killed goes
on where it was, and a person may promote, roll back or stop a trial at any time.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from components.versions import newest
from pipeline.config.nightly import NightlySettings
from pipeline.failures import NOT_BLESSED
from pipeline.feedback.answers import NothingToJoin
from pipeline.local.place import Place
from pipeline.nightly.journal import Step, hours_since
from pipeline.terminal import say_progress
from serving.contract import CANARY, STABLE
from serving.promotion import Limits, compare, files
from serving.promotion.files import DONE

if TYPE_CHECKING:
    from pipeline.feedback.trial import Verdict
    from serving.promotion import AuditEntry, Promoter

WHO = "nightly"
"""Who decides, for the audit trail. Trials that somebody else has begun are left to them."""
_WAIT_S = 60.0
"""For another promotion to end."""


@dataclass
class Release:
    """What moves labels in a night.

    Args:
        settings: `nightly`.
        place: The versions and replicas.
        told: How many lines of the audit trail have been told of.
        users: Says what the users of a trial have decided so far; None if they are not asked.
    """

    settings: NightlySettings
    place: Place
    told: int
    users: Callable[[], Verdict] | None = None
    waiting: str = field(default="", init=False)

    @property
    def labels(self) -> dict[str, int]:
        """Version by label."""
        found = files.aspired(files.read_config(self.place.base_path), self.place.name)
        return dict(found.labels) if found else {}

    @property
    def trial(self) -> int | None:
        """The version under trial."""
        labels = self.labels
        version = labels.get(CANARY)
        return None if version == labels.get(STABLE) else version

    def count(self) -> int:
        """How many lines the audit trail has."""
        return len(self._audit())

    def recover(self) -> None:
        """Puts right what a killed promotion left."""
        if files.read_journal(self.place.base_path) is not None:
            self._promoter("").recover()

    def decide(self) -> Step | None:
        """Ends a trial whose time is over: the version becomes stable, or its label goes back."""
        version, settings = self.trial, self.settings.trial
        if version is None or self.settings.release == "none":
            return self._step("trial")
        begun = next((entry for entry in reversed(self._audit()) if _moved(entry, CANARY, version)), None)
        if begun is None or begun.who != WHO:
            self.waiting = f"version {version} is on trial by {begun.who if begun else 'somebody'}, who decides"
        elif 0 < (left := settings.hours - hours_since(begun.time)) <= 2 * settings.hours:  # or a clock was wrong
            self._set_share(version)
            ends = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=left)
            self.waiting = f"version {version} is on trial until {ends.isoformat(' ', 'minutes')}"
        else:
            self._judge(version)
        return self._step("trial")

    def release(self) -> Step | None:
        """Begins with the newest version, unless it has had its turn or another one is on trial."""
        found = newest(self.place.versions)
        if found is None or self.settings.release == "none" or self.trial is not None:
            return self._step("release")
        version = found.number
        if any(_moved(entry, label, version) for entry in self._audit() for label in (STABLE, CANARY)):
            return self._step("release")
        if STABLE not in self.labels:
            # Before there is a version no server can run, so that there is none to ask.
            up = any(states for states in self.place.states().values())
            self._promoter("the first version", offline=not up).promote(version, STABLE)
        elif self.settings.release == "stable":
            self._promoter("blessed").promote(version, STABLE)
        else:
            self._promoter("blessed").promote(version, CANARY)
            self._set_share(version)
            if not self.settings.trial.hours:
                self._judge(version)
        return self._step("release")

    def _judge(self, version: int) -> None:
        """Asks both versions the same, and carries out the verdict."""
        place, trial = self.place, self.settings.trial
        limits = Limits(trial.max_error_rate, trial.max_p99_ratio, trial.min_overlap)
        say_progress(f"comparing version {version} with the stable one")
        found = compare(
            place.base_path, place.name, place.targets, (), trial.num_queries, place.default_k, limits, place.tls
        )
        if not found.passed:
            self._promoter("; ".join(found.failures)).stop_canary()
            return
        why = f"overlap@{found.k} {found.overlap:.3f}, no limit broken"
        try:
            verdict = None if self.users is None else self.users()
        except NothingToJoin as error:
            self.waiting = f"version {version} is on trial, which nobody can decide yet: {error}"
            return
        if verdict is not None:
            why += f"; {verdict.why}: {verdict.figure}"
        if verdict is None or verdict.decision == "promote":
            self._promoter(why).promote(version, STABLE)
        elif verdict.decision == "stop":
            self._promoter(why).stop_canary()
        else:
            self.waiting = f"version {version} is on trial: {verdict.why}: {verdict.figure}; {verdict.how_long}"

    def _set_share(self, version: int) -> None:
        """Gives a version on trial its users, unless it has them."""
        if files.shared_version(self.place.base_path, self.place.name) != version:
            self._promoter("").share(self.settings.trial.share)

    def _step(self, name: str) -> Step | None:
        """What the audit trail says of it since it was last told."""
        entries = self._audit()
        fresh, self.told = entries[self.told :], len(entries)
        said, waiting, self.waiting = [], self.waiting, ""
        refused = False
        for entry in fresh:
            if entry.who != WHO or entry.result != DONE:
                continue
            if entry.action == "canary stop":
                refused = True
                said.append(f"version {entry.from_version} is refused: {entry.why}")
            elif entry.action == "promote":
                said.append(f"version {entry.to_version} is {entry.label}")
        said += [waiting] if waiting else []
        if not said:
            return None
        done = Step(name, "; ".join(said), facts={"labels": self.labels})
        return dataclasses.replace(done, code=NOT_BLESSED, cause="canary") if refused else done

    def _audit(self) -> list[AuditEntry]:
        return files.read_audit(self.place.base_path, self.place.name, genuine=True)

    def _promoter(self, why: str, offline: bool = False) -> Promoter:
        return self.place.promoter(
            offline, who=WHO, why=why, wait=_WAIT_S, skip_down=self.settings.skip_down and not offline
        )


def _moved(entry: AuditEntry, label: str, version: int) -> bool:
    """Whether an action gave a label to a version that had it not."""
    return entry.result == DONE and entry.label == label and entry.to_version == version != entry.from_version
