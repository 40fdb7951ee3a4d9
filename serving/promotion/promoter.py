"""Moves labels between versions: load, probe, move the label, verify, unload; all replicas or none.

Each step changes models.config first, by rename, and then the replicas, so that a server which polls that file or
starts meanwhile never sees a state without the labelled versions. A journal says how far an action may have come. If
one fails, or its process was killed, everything is put back, or finished if the label had moved everywhere; by the
process itself or by the next command.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Optional

from serving.client import Tls
from serving.contract import CANARY, STABLE
from serving.promotion import files
from serving.promotion.errors import PromotionError, PromotionFailed, ReplicaDown, WrongPromotion
from serving.promotion.files import DONE, AuditEntry, Journal
from serving.promotion.probe import known_users, leaves_out_all, probe
from serving.promotion.replica import Replica
from serving.stores import AnyPath

_LABELS = (STABLE, CANARY)


class Promoter:
    """Promotes, rolls back and retires the versions of one model.

    The rules: a label, once there, never goes. `canary` points where `stable` does unless a version is under trial.
    Loaded are the labelled versions and, after a promotion, the one that was stable before, so that a rollback takes
    effect at once.

    Args:
        base_path: holds models.config, and the versions in `<model>/<version>`.
        model: the model's name.
        targets: `host:port` of each replica's gRPC; none writes models.config only, for servers that start later.
        tls: how to connect to them, if by TLS.
        who: for the audit trail; by default user@host.
        why: likewise.
        wait: seconds to wait for another promoter to end.
        timeout: seconds in which a replica must have loaded a version.
        skip_down: leave out replicas that don't answer. They must read models.config when they start again.
        metrics: the Evaluator's figures of a version, for the audit trail.
        say: told what is done next.

    The methods raise `WrongPromotion` if what was asked for can't be, before anything is changed, and
    `PromotionFailed` if it failed; its message says whether everything is as it was.
    """

    def __init__(
        self,
        base_path: AnyPath,
        model: str,
        targets: Sequence[str],
        *,
        tls: Optional[Tls] = None,
        who: Optional[str] = None,
        why: str = "",
        wait: float = 0.0,
        timeout: float = 300.0,
        skip_down: bool = False,
        metrics: Callable[[int], Mapping[str, float]] = lambda version: {},
        say: Callable[[str], None] = lambda message: None,
    ):
        self._base_path = base_path.absolute()
        self._model = model
        self._targets = tuple(targets)
        self._tls = tls
        self._who, self._why = who, why
        self._wait, self._timeout, self._skip_down = wait, timeout, skip_down
        self._metrics = metrics
        self._say = say
        self._finished: Optional[AuditEntry] = None
        """A killed promoter's action that had come so far that it was finished, not undone."""
        self._tolerant = False

    def promote(self, version: int, label: str) -> AuditEntry:
        """Moves `label`, which is `stable` or `canary`, to a version."""
        if label not in _LABELS:
            raise WrongPromotion(f"label {label!r}: it is {STABLE} or {CANARY}")
        with self._exclusive("promote") as labels:
            if label == CANARY and STABLE not in labels:
                raise WrongPromotion(
                    f"{self._model} has no {STABLE} version that a {CANARY} could be tried beside: promote one to"
                    f" {STABLE} first"
                )
            return self._move("promote", label, version, labels, checked=True, probed=True)

    def rollback(self) -> AuditEntry:
        """Moves `stable` back to the version that it was at before the last promotion; again, one further back."""
        with self._exclusive("rollback") as labels:
            # The same command again after it was killed must not go back twice.
            done = self._finished
            if done is not None and done.action == "rollback":
                return done
            current = labels.get(STABLE)
            history = self._history(current)
            earlier = [v for v in history[:-1] if v != current]
            if not earlier:
                raise WrongPromotion(f"{self._model}: there is no earlier {STABLE} version on disk to roll back to")
            # It was stable once, and may be needed at once: it isn't probed again.
            return self._move("rollback", STABLE, earlier[-1], labels, checked=True)

    def retire(self, version: int) -> AuditEntry:
        """Unloads a version from all replicas and deletes it."""
        with self._exclusive("retire") as labels:
            done = self._finished
            if done is not None and done.action == "retire" and done.from_version == version:
                return done
            self._check_on_disk(version)
            held = [label for label, labelled in labels.items() if labelled == version]
            if held:
                raise WrongPromotion(
                    f"version {version} has the label {held[0]}: give that to another version first (promote, rollback"
                    " or canary stop)"
                )
            found = files.aspired(files.read_config(self._base_path), self._model)
            if found is None or found.versions is None:
                raise WrongPromotion(
                    f"servers of {self._model} load what is newest, so no version can be unloaded by name: promote one"
                    f" to {STABLE} first"
                )
            return self._change(self._entry("retire", None, version, None), labels, found.versions - {version})

    def stop_canary(self) -> AuditEntry:
        """Ends the trial: no users go to the canary any more, and its label goes back to the stable version."""
        with self._exclusive("canary stop") as labels:
            if CANARY not in labels:
                raise WrongPromotion(f"{self._model} has no {CANARY}")
            return self._move("canary stop", CANARY, labels[STABLE], labels)

    def share(self, share: float) -> AuditEntry:
        """Sets the share of users, 0 to 1, that clients send to the canary."""
        if not 0 <= share <= 1:
            raise WrongPromotion(f"share {share:g}: it is from 0 to 1, such as 0.05 for one user in twenty")
        with self._exclusive("canary share") as labels:
            version = labels.get(CANARY)
            if version is None or version == labels[STABLE]:
                raise WrongPromotion(
                    f"{self._model} has no version under trial: begin with canary start VERSION --share {share:g}"
                )
            files.write_share(self._base_path, self._model, share, version)
            entry = self._entry("canary share", None, None, version)
            entry = dataclasses.replace(
                entry, why=f"share {share:g}" + (f": {self._why}" if self._why else ""), result=DONE
            )
            return files.append_audit(self._base_path, entry)

    def recover(self) -> None:
        """Puts right what a killed promoter left, and does no more."""
        with self._exclusive("recover"):
            pass

    @contextlib.contextmanager
    def _exclusive(self, action: str) -> Iterator[dict[str, int]]:
        """Holds the lock, puts right what a killed promoter left, and lends the labels as they are then."""
        if not self._base_path.is_dir():
            raise WrongPromotion(f"{self._base_path}: no such base path; `recommender run` pushes the first version")
        with files.lock(self._base_path, f"{action} {self._model}", self._wait):
            for fault in files.verify_audit(self._base_path).faults:
                self._say(f"{self._base_path / files.AUDIT_FILE}: {fault}: see `recommender history --verify`")
            self._recover()
            found = files.aspired(files.read_config(self._base_path), self._model)
            yield dict(found.labels) if found else {}

    def _move(
        self,
        action: str,
        label: str,
        version: int,
        labels: Mapping[str, int],
        checked: bool = False,
        probed: bool = False,
    ) -> AuditEntry:
        """Moves a label to a version, whose files are `checked` first and which is `probed` before it gets it."""
        self._check_on_disk(version)
        moved = {**labels, label: version}
        if label == STABLE and labels.get(CANARY) == labels.get(STABLE) is not None:
            moved[CANARY] = version
        entry = self._entry(action, label, labels.get(label), version)
        if checked:
            entry = dataclasses.replace(entry, digest=self._checked_digest(version))
        standby = files.stable_history([*self._audit(), dataclasses.replace(entry, result=DONE)], moved[STABLE])[-2:-1]
        return self._change(entry, moved, {*moved.values(), *standby}, version if probed else None)

    def _change(
        self, entry: AuditEntry, labels: Mapping[str, int], versions: Collection[int], probed: Optional[int] = None
    ) -> AuditEntry:
        """Takes files and replicas from what models.config says now to these labels and (if loaded now) versions."""
        replicas, journal = self._plan(entry, labels, versions)
        self._say(f"{_words(entry)}: begins")
        files.write_journal(self._base_path, journal)
        try:
            self._say("loading")
            self._apply(replicas, journal.loading)
            self._wait_for_labelled(replicas, self._model, journal.labelling)
            if probed is not None and replicas:
                self._say("asking the new version")
                self._each(replicas, lambda replica: self._probe(replica, probed))
            self._note(journal, "labelling")
            self._say("moving the label")
            self._apply(replicas, journal.labelling)
            self._say("verifying")
            self._verify(replicas, self._model, journal.labelling)
            self._note(journal, "labelled")
        except BaseException as error:
            self._undo(replicas, journal, str(error) or type(error).__name__)
            if not isinstance(error, PromotionError):
                raise
            raise PromotionFailed(f"{error}. Everything is as it was before") from error
        return self._finish(replicas, journal)

    def _plan(
        self, entry: AuditEntry, labels: Mapping[str, int], versions: Collection[int]
    ) -> tuple[list[Replica], Journal]:
        """The replicas, made sure to be where models.config says, and the configs that they are to go through."""
        config = files.read_config(self._base_path)
        file = files.config_path(self._base_path).read_text("utf-8") if config is not None else None
        found = files.aspired(config, self._model)
        before = found or files.Aspired()
        on_disk = set(files.versions_on_disk(self._base_path, self._model))
        replicas, available = self._answering(file is not None and found is None, on_disk)
        loaded = before.versions if before.versions is not None else available or {max(on_disk)}
        # A server refuses a label whose version somebody deleted, and with it the whole config.
        old, new = ({k: v for k, v in of.items() if v in on_disk} for of in (before.labels, labels))
        every = (on_disk & loaded) | set(old.values()) | set(new.values())
        # Only what is loaded anyway is kept beside the labelled ones: nothing else may fail to load.
        kept = (on_disk & loaded & set(versions)) | set(new.values())

        def text(of_labels: Mapping[str, int], of_versions: Optional[Collection[int]]) -> str:
            return files.render(config, self._model, str(self._base_path / self._model), of_labels, of_versions)

        # A model that the servers don't know yet stays out of what is put back: perhaps it can't be loaded.
        unknown = file is not None and found is None and not available
        journal = Journal(
            entry=dataclasses.replace(entry, replicas=tuple(replica.target for replica in replicas)),
            file=file,
            before=file if file is not None and unknown else text(old, before.versions),
            loading=text(old, every),
            labelling=text(new, every),
            after=text(new, kept),
        )
        if found is not None:
            # One that was started without models.config may refuse what comes: better before anything is changed.
            try:
                self._reload(replicas, journal.before)
                self._verify(replicas, self._model, journal.before)
            except PromotionFailed as error:
                raise PromotionFailed(f"{error}. Nothing was changed; start it again from models.config") from None
        return replicas, journal

    def _recover(self) -> None:
        """Undoes or finishes what a killed promoter, of this model or another one, left."""
        journal = files.read_journal(self._base_path)
        if journal is None:
            return
        entry = journal.entry
        self._say(f"{_words(entry)} by {entry.who} at {entry.time} was interrupted: putting that right first")
        replicas = [Replica(target, self._tls) for target in entry.replicas]
        # One that is gone for good, or was another's from the start, must not hold up everything for ever.
        self._tolerant = self._skip_down or not self._targets
        if journal.phase == "labelled":
            finished = self._finish(replicas, journal)
            self._finished = finished if entry.model == self._model else None
        else:
            self._undo(replicas, journal, "it was interrupted")
        self._tolerant = False

    def _undo(self, replicas: Sequence[Replica], journal: Journal, reason: str) -> None:
        self._say("putting everything back")
        try:
            if journal.phase == "labelling":
                # The label comes off before anything is unloaded, so that no request is on its way to what goes.
                self._apply(replicas, journal.loading)
                self._note(journal, "loading")
            files.write_config(self._base_path, journal.file)
            self._reload(replicas, journal.before)
            self._verify(replicas, journal.entry.model, journal.before)
        except PromotionError as error:
            kept = files.config_is(self._base_path, journal.file)
            raise PromotionFailed(
                f"{_words(journal.entry)} failed: {reason}. And it could not be undone: {error}. models.config is"
                f" {'' if kept else 'not '}as it was before; mend that and run any promotion command, with --skip-down"
                " to leave out replicas that don't answer"
            ) from error
        self._close(journal, f"undone: {reason}")

    def _finish(self, replicas: Sequence[Replica], journal: Journal) -> AuditEntry:
        """The label has moved: what is no longer needed goes."""
        entry = journal.entry
        try:
            self._say("unloading")
            self._apply(replicas, journal.after)
            found = files.aspired(files.parse_config(journal.after), entry.model) or files.Aspired()
            every = files.aspired(files.parse_config(journal.labelling), entry.model) or files.Aspired()
            gone = every.named - found.named
            self._each(replicas, lambda replica: replica.wait_unloaded(entry.model, gone, self._timeout))
            if found.labels.get(CANARY) == found.labels.get(STABLE) and files.read_share(self._base_path, entry.model):
                files.write_share(self._base_path, entry.model, 0.0, found.labels[STABLE])
            if entry.action == "retire" and entry.from_version is not None:
                files.remove_version(self._base_path, entry.model, entry.from_version)
            return self._close(journal, DONE)
        except PromotionError as error:
            raise PromotionFailed(
                f"{_words(entry)} is done, but not what follows: {error}. Mend that and run any promotion command, with"
                " --skip-down to leave out replicas that don't answer"
            ) from error

    def _close(self, journal: Journal, result: str) -> AuditEntry:
        entry = dataclasses.replace(journal.entry, result=result)
        for known in files.read_audit(self._base_path, genuine=True):
            if known.id == entry.id:  # a process was killed before it could remove the journal
                entry = known
                break
        else:
            entry = files.append_audit(self._base_path, entry)
        files.write_journal(self._base_path, None)
        return entry

    def _note(self, journal: Journal, phase: str) -> None:
        journal.phase = phase
        files.write_journal(self._base_path, journal)

    def _apply(self, replicas: Sequence[Replica], text: str) -> None:
        files.write_config(self._base_path, text)
        self._reload(replicas, text)

    def _reload(self, replicas: Sequence[Replica], text: str) -> None:
        config = files.parse_config(text)
        self._each(replicas, lambda replica: replica.reload(config))

    def _verify(self, replicas: Sequence[Replica], model: str, text: str) -> None:
        """Makes sure that each of the model's labels is answered by its version."""
        labels = self._wait_for_labelled(replicas, model, text)

        def verify(replica: Replica) -> None:
            for label, version in labels.items():
                answering = replica.labelled(model, label)
                if answering != version:
                    raise PromotionFailed(
                        f"{replica.target}: label {label!r} is answered by version {answering}, not {version}"
                    )

        self._each(replicas, verify)

    def _wait_for_labelled(self, replicas: Sequence[Replica], model: str, text: str) -> Mapping[str, int]:
        """Waits until all versions that have a label there are loaded; returns the labels."""
        found = files.aspired(files.parse_config(text), model) or files.Aspired()
        versions = set(found.labels.values())
        self._each(replicas, lambda replica: replica.wait_available(model, versions, self._timeout))
        return found.labels

    def _probe(self, replica: Replica, version: int) -> None:
        path = self._base_path / self._model / str(version)
        users, without_history = known_users(path), leaves_out_all(path)
        with replica.client(self._model, version=version) as client:
            faults = probe(client, version, users, without_history)
        if faults:
            raise PromotionFailed(f"{replica.target}: version {version} answers wrongly: {'; '.join(faults[:3])}")

    def _answering(self, new: bool, on_disk: set[int]) -> tuple[list[Replica], set[int]]:
        """The replicas, and the versions that any of them has loaded.

        All must answer, unless those that don't are to be left out, and serve the model, unless it is `new`.
        """
        replicas: list[Replica] = []
        down: list[str] = []
        loaded: set[int] = set()
        for replica in [Replica(target, self._tls) for target in self._targets]:
            try:
                states = replica.states(self._model)
            except ReplicaDown:
                states = None
            if states is None or not (states or new):
                down.append(replica.target)
                continue
            replica.check_leave()
            replicas.append(replica)
            available = {version for version, status in states.items() if status.available}
            if available and not available & on_disk:
                raise PromotionFailed(
                    f"{replica.target} serves {self._model} version {max(available)}, which isn't in"
                    f" {self._base_path / self._model}: is it another's server?"
                )
            loaded |= available
        if down and (not self._skip_down or not replicas):
            raise ReplicaDown(
                f"no model server that serves {self._model} at {', '.join(down)}: start it with `recommender serve`,"
                " leave it out by --skip-down, or, when no server is to run now, write models.config by --offline"
            )
        return replicas, loaded

    def _each(self, replicas: Sequence[Replica], work: Callable[[Replica], Any]) -> None:
        """Does something to all replicas at the same time; if some fail, raises for all of them when all have ended."""
        if not replicas:
            return
        with ThreadPoolExecutor(len(replicas)) as pool:
            futures = [pool.submit(work, replica) for replica in replicas]
        errors = [error for error in (future.exception() for future in futures) if error is not None]
        for error in errors:
            if not isinstance(error, PromotionError):
                raise error
        if errors and not self._tolerant:
            raise PromotionFailed("; ".join(map(str, errors)))
        for error in errors:
            self._say(f"left out: {error}")

    def _check_on_disk(self, version: int) -> None:
        there = files.versions_on_disk(self._base_path, self._model)
        if version not in there:
            listed = ", ".join(map(str, there)) or "none"
            raise WrongPromotion(f"{self._base_path / self._model}: no version {version} (there are: {listed})")

    def _checked_digest(self, version: int) -> str:
        """The digest of a version's files, which must be what they were: servers may have it loaded from before."""
        found = files.digest(self._base_path, self._model, version)
        if files.known_digest(self._audit(), version) not in ("", found):
            raise WrongPromotion(
                f"{self._base_path / self._model / str(version)}: its files are not what they were when it was"
                " promoted, so that a server that starts may fail to load it: bring them back, or promote another"
                " version"
            )
        return found

    def _history(self, current: Optional[int]) -> list[int]:
        """Stable versions that are still on disk, oldest first."""
        there = set(files.versions_on_disk(self._base_path, self._model))
        return [v for v in files.stable_history(self._audit(), current) if v in there or v == current]

    def _audit(self) -> list[AuditEntry]:
        return files.read_audit(self._base_path, self._model, genuine=True)

    def _entry(self, action: str, label: Optional[str], before: Optional[int], after: Optional[int]) -> AuditEntry:
        metrics = self._metrics(after) if after is not None else {}
        return files.new_entry(action, self._model, label, before, after, self._who, self._why, metrics)


def _words(entry: AuditEntry) -> str:
    """An action in words."""
    if entry.label is None:
        return f"{entry.action} {entry.model} version {entry.from_version}"
    return f"{entry.action} {entry.model} {entry.label} to {entry.to_version}"
