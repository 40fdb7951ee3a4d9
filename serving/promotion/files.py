"""What promotion keeps under the base path, beside the models: models.config, a journal, the audit trail, a lock.

    <base path>/models.config             what the servers serve, in TensorFlow Serving's own format
    <base path>/promotions.jsonl          the audit trail: one line an action, only ever appended to
    <base path>/promotions.head           where it ends: see `serving.promotion.chain`
    <base path>/.promotion.journal        only while a promotion is under way, or after one was killed
    <base path>/.promotion.lock           held while a promotion is under way
    <base path>/<model>/traffic.json      the share of users that clients send to the canary

Files are replaced by rename, so that whoever reads or polls one sees the old content or the new, and are on the disk,
as is their place in the folder, before anything else is done. The base path may be in an object store: there the lock
is a lease, and an object is written if it still is what it was when the lease was taken (`serving.stores`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import getpass
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional, Union

from google.protobuf import text_format

from serving import contract
from serving.contract import CANARY, STABLE
from serving.files import find_versions, flush_folder, holding, write_atomically
from serving.promotion import chain
from serving.promotion.errors import PromotionError, PromotionFailed, PromotionLocked, WrongPromotion
from serving.protos import models_config_pb2
from serving.stores import AnyPath, Held, Lease, ObjectPath, StoreError, remove

AUDIT_FILE = "promotions.jsonl"
_HEAD_FILE = "promotions.head"
_JOURNAL_FILE = ".promotion.journal"
_LOCK_FILE = ".promotion.lock"
_RETIRED = ".retired-"
_NEEDED = ("saved_model.pb", "saved_model.pbtxt", "variables", "assets")
_BLOCK = 1 << 20
_LEASES: dict[AnyPath, Lease] = {}
"""The locks that this process holds in object stores, by base path."""

DONE = "done"
NEWEST = "the newest"
"""Why a version is needed that nothing names: servers serve it where there are no labels."""
FORGET = "forget"
"""The action by which a version takes the place of another one, whose users it doesn't all have."""

_HEAD = "# Written by `recommender promote` and its like, which keep the other models' entries but no comments.\n"


@dataclass(frozen=True)
class AuditEntry:
    """One action, as a line of the audit trail."""

    id: str
    time: str
    """When it began, ISO 8601 in UTC."""
    who: str
    """user@host, or whom --as named."""
    action: str
    """promote, rollback, retire, canary start, canary share, canary stop or forget."""
    model: str
    label: Optional[str]
    """The label that moved, if one did."""
    from_version: Optional[int]
    to_version: Optional[int]
    why: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The Evaluator's of the version that the label moved to."""
    replicas: tuple[str, ...] = ()
    result: str = ""
    """`done`, or what failed, or that it was undone."""
    by: str = ""
    """user@host whose process it was, whatever --as says; empty in entries from before it was kept."""
    digest: str = ""
    """Of the files of `to_version`, so that a later action notices that they are not what they were; or empty."""
    previous: str = ""
    """The hash of the line before; empty in entries from before there were hashes, as the next one."""
    hash: str = ""
    """SHA-256 over the line up to here."""


@dataclass(frozen=True)
class Aspired:
    """What models.config says of one model."""

    labels: Mapping[str, int] = field(default_factory=dict)
    versions: Optional[frozenset[int]] = None
    """Those to be loaded; None where a policy such as "the latest" decides."""

    @property
    def named(self) -> frozenset[int]:
        """Every version that is mentioned."""
        return (self.versions or frozenset()) | frozenset(self.labels.values())


@dataclass
class Journal:
    """An action under way: the configs that it goes through, as text, and how far it may have come.

    Phases: `loading`, all labels are where they were; `labelling`, they may be there or where they are to go;
    `labelled`, they are where they are to go on every replica, and what is left is finished, not undone.
    """

    entry: AuditEntry
    file: Optional[str]
    """models.config as it was; None if there was none."""
    before: str
    """What the replicas served then."""
    loading: str
    """Labels as before; all versions of before and after."""
    labelling: str
    """Labels as after; the same versions."""
    after: str
    phase: str = "loading"


def config_path(base_path: AnyPath) -> AnyPath:
    """Where models.config lies."""
    return base_path / contract.MODELS_CONFIG


def traffic_path(base_path: AnyPath, model: str) -> AnyPath:
    """Where clients read how many users the canary gets."""
    return base_path / model / contract.TRAFFIC


def read_config(base_path: AnyPath) -> Optional[Any]:
    """Returns models.config as a `ModelServerConfig` of our own; None if there is none.

    Raises:
        WrongPromotion: it can't be read.
    """
    path = config_path(base_path)
    try:
        config = parse_config(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except StoreError as error:
        raise WrongPromotion(str(error)) from None
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise WrongPromotion(f"{path}: not a models.config: {error}; mend it, or remove it to start afresh") from None
    names = [entry.name for entry in config.model_config_list.config]
    if config.WhichOneof("config") == "custom_model_config" or len(set(names)) < len(names):
        raise WrongPromotion(f"{path}: it must be a model_config_list in which each model has one entry")
    return config


def parse_config(text: str) -> Any:
    """Reads the text format; raises `text_format.ParseError`."""
    return text_format.Parse(text, models_config_pb2.ModelServerConfig())


def aspired(config: Optional[Any], model: str) -> Optional[Aspired]:
    """What the config says of a model; None if it doesn't name it."""
    for entry in config.model_config_list.config if config is not None else ():
        if entry.name == model:
            policy = entry.model_version_policy
            explicit = policy.WhichOneof("policy_choice") == "specific"
            return Aspired(dict(entry.version_labels), frozenset(policy.specific.versions) if explicit else None)
    return None


def stable_version(base_path: AnyPath, model: str) -> Optional[int]:
    """The version with the label `stable`; None before the first promotion."""
    found = aspired(read_config(base_path), model)
    return found.labels.get(STABLE) if found else None


def render(config: Optional[Any], model: str, model_path: str, labels: Mapping[str, int], versions: Any) -> str:
    """Returns the text of a config in which the model serves just this.

    Args:
        config: the one to change; None for an empty one.
        model: the model's name.
        model_path: where servers find its versions, unless the config already says so.
        labels: label to version.
        versions: numbers of the versions to load; None leaves the policy as it is.
    """
    changed = models_config_pb2.ModelServerConfig()
    if config is not None:
        changed.CopyFrom(config)
    for entry in changed.model_config_list.config:
        if entry.name == model:
            break
    else:
        entry = changed.model_config_list.config.add(name=model, base_path=model_path, model_platform="tensorflow")
    if versions is not None:
        entry.model_version_policy.specific.versions[:] = sorted(versions)
    entry.version_labels.clear()
    entry.version_labels.update(labels)
    return _HEAD + text_format.MessageToString(changed)


def write_config(base_path: AnyPath, text: Optional[str]) -> None:
    """Replaces models.config; None removes it.

    Raises:
        PromotionFailed: it can't be written; so do the other functions that write.
    """
    _write(base_path, config_path(base_path), text)


def config_is(base_path: AnyPath, text: Optional[str]) -> bool:
    """Whether models.config has this text; None: whether there is none."""
    try:
        return config_path(base_path).read_text("utf-8") == text
    except FileNotFoundError:
        return text is None
    except (OSError, UnicodeDecodeError):
        return False


def read_journal(base_path: AnyPath) -> Optional[Journal]:
    """The action that is under way or was killed, if any.

    Raises:
        WrongPromotion: it can't be read.
    """
    path = base_path / _JOURNAL_FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        return Journal(_entry(content.pop("entry")), **content)
    except FileNotFoundError:
        return None
    except StoreError as error:
        raise WrongPromotion(str(error)) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise WrongPromotion(
            f"{path}: what an interrupted promotion left can't be read ({error}): see that models.config says what is"
            " to be served, and remove the file"
        ) from None


def write_journal(base_path: AnyPath, journal: Optional[Journal]) -> None:
    """Replaces the journal; None removes it."""
    _write(base_path, base_path / _JOURNAL_FILE, None if journal is None else json.dumps(dataclasses.asdict(journal)))


def read_audit(base_path: AnyPath, model: Optional[str] = None, *, genuine: bool = False) -> list[AuditEntry]:
    """Returns the audit trail, oldest first; of one model, or of all. A torn line, as a crash leaves it, is skipped.

    Args:
        base_path: the base path.
        model: the model's name.
        genuine: leave out lines that promotion can't have written, see `verify_audit`.

    Raises:
        WrongPromotion: it can't be read.
    """
    entries = []
    content, head = _read_trail(base_path)
    left_out = chain.verify(content, head).forged if genuine else ()
    for number, line in enumerate(content.split(b"\n"), 1):
        with contextlib.suppress(ValueError, TypeError, KeyError):
            entry = _entry(json.loads(line))
            if model in (None, entry.model) and number not in left_out:
                entries.append(entry)
    return entries


def verify_audit(base_path: AnyPath) -> chain.Verified:
    """Looks whether the lines of the audit trail, of all models, are as they were written.

    Raises:
        WrongPromotion: it can't be read.
    """
    return chain.verify(*_read_trail(base_path))


def append_audit(base_path: AnyPath, entry: AuditEntry) -> AuditEntry:
    """Appends a line to the audit trail, flushed to disk; returns the entry as the line has it. Needs the lock."""
    content, head = _read_trail(base_path)
    if content and not content.endswith(b"\n"):
        content += b"\n"
    end = chain.end_of(content, head)
    fields = {key: value for key, value in dataclasses.asdict(entry).items() if key not in ("previous", "hash")}
    previous = end.hash or chain.beginning(content)
    line, hashed = chain.seal(fields, previous)
    _write_head(base_path, chain.Head(end.hash, hashed))  # whichever line a kill leaves last is known as the end
    path = base_path / AUDIT_FILE
    if isinstance(path, ObjectPath):  # which can't be appended to
        _write(base_path, path, content + line + b"\n")
    else:
        with _writing(path), open(path, "ab") as file:
            if file.tell() < len(content):
                file.write(b"\n")
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
            flush_folder(path.parent)
    _write_head(base_path, chain.Head(hashed))
    return dataclasses.replace(entry, previous=previous, hash=hashed)


def redact_audit(base_path: AnyPath, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> bool:
    """Rewrites what the lines of the audit trail say, of which all hashes change from the first one on that does.

    Args:
        base_path: the base path.
        change: takes what a line says, and returns what it is to say.

    Returns:
        Whether it could be: False of a trail with faults, which would seem to have none.

    Raises:
        PromotionError: another promotion is under way, or it can't be read or written.
    """
    with lock(base_path, FORGET):
        content, head = _read_trail(base_path)
        if chain.verify(content, head).faults:
            return False
        written, last = chain.resealed(content, change)
        if written != content:
            before = head.hash if head else ""
            _write_head(base_path, chain.Head(before, last))  # a kill leaves the old one or the new one
            _write(base_path, base_path / AUDIT_FILE, written)
            _write_head(base_path, chain.Head(last))
        return True


def _read_trail(base_path: AnyPath) -> tuple[bytes, Optional[chain.Head]]:
    """The audit trail, and the end that is noted for it."""
    path = base_path / AUDIT_FILE
    head = _read_head(base_path)
    while True:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        except OSError as error:
            raise WrongPromotion(f"{path}: can't be read: {error.strerror or error}") from None
        before, head = head, _read_head(base_path)
        if head == before:  # else a line was written meanwhile
            return content, head


def _read_head(base_path: AnyPath) -> Optional[chain.Head]:
    try:
        content = json.loads((base_path / _HEAD_FILE).read_text("utf-8"))
        return chain.Head(str(content["hash"]), str(content["next"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_head(base_path: AnyPath, head: chain.Head) -> None:
    _write(base_path, base_path / _HEAD_FILE, json.dumps(dataclasses.asdict(head)))


def stable_history(entries: Collection[AuditEntry], current: Optional[int]) -> list[int]:
    """The versions that were stable, each rolled back to by the one after it; the last one is `current`.

    A rollback takes the versions off the end that it went back over, so that the next one goes further back.
    """
    stack: list[int] = []
    for entry in entries:
        to = entry.to_version
        if entry.action == FORGET and to is not None:  # which is the same but for users who are forgotten
            stack = [to if version == entry.from_version else version for version in stack]
        if entry.result != DONE or entry.label != STABLE or to is None or to == entry.from_version:
            continue
        if entry.action == "rollback" and to in stack:
            while stack[-1] != to:
                stack.pop()
        else:
            stack.append(to)
    if current is not None and stack[-1:] != [current]:  # somebody edited models.config
        stack.append(current)
    return stack


def read_share(base_path: AnyPath, model: str) -> float:
    """The share of users that clients are told to send to the canary.

    Raises:
        WrongPromotion: what they are told can't be read.
    """
    told = _told(base_path, model)
    try:
        return float(told["share"])
    except (ValueError, KeyError, TypeError):
        return 0.0


def shared_version(base_path: AnyPath, model: str) -> Optional[int]:
    """The version that the share of users was last set for; None before there was any.

    Raises:
        WrongPromotion: what clients are told can't be read.
    """
    told = _told(base_path, model)
    try:
        return int(told["salt"].rpartition(":")[2])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _told(base_path: AnyPath, model: str) -> Any:
    """What clients are told, as it stands there; empty if it makes no sense."""
    path = traffic_path(base_path, model)
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    except OSError as error:
        raise WrongPromotion(f"{path}: can't be read: {error.strerror or error}") from None


def write_share(base_path: AnyPath, model: str, share: float, version: int) -> None:
    """Tells clients which share of users goes to the canary. Each version under trial draws its own users."""
    content = json.dumps({"label": CANARY, "share": share, "salt": f"{model}:{version}"})
    _write(base_path, traffic_path(base_path, model), content)


def versions_on_disk(base_path: AnyPath, model: str) -> list[int]:
    """Numbers of the directories that hold a SavedModel, oldest first."""
    return [*find_versions(base_path / model)]


def digest(base_path: AnyPath, model: str, version: int) -> str:
    """SHA-256 over the files of a version that a server needs to load it: their names, sizes and contents.

    Others, such as warm-up requests, may come and go.

    Raises:
        WrongPromotion: they can't be read.
    """
    folder = base_path / model / str(version)
    found = hashlib.sha256()
    try:
        for name, size in sorted(_files(folder), key=lambda file: file[0].split("/")):
            if name.partition("/")[0] not in _NEEDED:
                continue
            found.update(f"{name}\0{size}\0".encode())
            with (folder / name).open("rb") as file:
                while block := file.read(_BLOCK):
                    found.update(block)
    except OSError as error:
        raise WrongPromotion(f"{folder}: can't be read: {error}") from None
    return found.hexdigest()


def _files(folder: AnyPath) -> Iterator[tuple[str, int]]:
    """Names and sizes of all files in a folder."""
    if isinstance(folder, ObjectPath):
        yield from ((name, info.size) for name, info in folder.files().items())
        return
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.stat().st_size


def known_digest(entries: Iterable[AuditEntry], version: int) -> str:
    """What the digest of a version's files was when a label last moved to it; empty if nobody knows."""
    return next(
        (e.digest for e in reversed([*entries]) if e.to_version == version and e.result == DONE and e.digest), ""
    )


def remove_version(base_path: AnyPath, model: str, version: int) -> None:
    """Deletes a version, out of sight first, and what a killed deletion left."""
    directory = base_path / model
    if isinstance(directory, ObjectPath):
        folder = directory / str(version)
        with _writing(folder):
            _LEASES[base_path].check()
            remove(folder, contract.SAVED_MODEL)  # without it the rest is no version
        return
    with _writing(directory):
        _sweep(directory)  # first: it may have left this version
        with contextlib.suppress(FileNotFoundError):
            (directory / str(version)).rename(directory / f"{_RETIRED}{version}")
        _sweep(directory)


def _sweep(directory: Path) -> None:
    for leftover in directory.glob(f"{_RETIRED}*"):
        shutil.rmtree(leftover)


def prune(base_path: AnyPath, model: str, keep: int) -> list[int]:
    """Deletes the oldest versions until `keep` are left, but none that models.config names, nor the newest.

    Does nothing while a promotion is under way or was killed: the next push does it.

    Returns:
        Numbers of the versions that were deleted.
    """
    try:
        with lock(base_path, f"prune {model}"):
            found = aspired(read_config(base_path), model)
            named = found.named if found else frozenset()
            oldest = [v for v in versions_on_disk(base_path, model)[: -max(keep, 1)] if v not in named]
            return _remove(base_path, model, oldest, f"serving.retain: {keep}")
    except PromotionError:
        return []


def needed(base_path: AnyPath, model: str) -> dict[int, str]:
    """Returns the versions that must stay, each with the reason: labels, what is loaded, what a rollback goes back to,
    and the newest, which servers without labels serve.

    Raises:
        WrongPromotion: models.config or the audit trail can't be read.
    """
    there = versions_on_disk(base_path, model)
    found = aspired(read_config(base_path), model) or Aspired()
    stable = found.labels.get(STABLE)
    earlier = [
        v for v in stable_history(read_audit(base_path, model, genuine=True), stable) if v in there and v != stable
    ]
    reasons = dict.fromkeys(there[-1:], NEWEST)
    reasons |= dict.fromkeys(earlier[-1:], "what a rollback goes back to")
    reasons |= dict.fromkeys(found.versions or (), "loaded")
    reasons |= {version: f"label {label}" for label, version in found.labels.items()}
    return {version: reasons[version] for version in sorted(reasons) if version in there}


def remove_versions(base_path: AnyPath, model: str, versions: Collection[int], why: str) -> list[int]:
    """Deletes versions, but none that is `needed`, and what a killed deletion left.

    Returns:
        Numbers of the versions that were deleted.

    Raises:
        PromotionLocked: a promotion is under way.
        WrongPromotion: one was killed, or models.config can't be read.
    """
    with lock(base_path, f"delete versions of {model}"):
        journal = read_journal(base_path)
        if journal is not None:
            raise WrongPromotion(
                f"{base_path}: {journal.entry.action} {journal.entry.model} was interrupted, so nobody knows which"
                " versions are needed: run any promotion command first"
            )
        stay = needed(base_path, model)
        going = [v for v in versions_on_disk(base_path, model) if v in versions and v not in stay]
        return _remove(base_path, model, going, why)


def note_forgetting(base_path: AnyPath, model: str, before: Optional[int], after: Optional[int]) -> AuditEntry:
    """Writes into the audit trail, which names nobody, that users are forgotten, and which version is another's in all
    but them.

    Raises:
        PromotionLocked: a promotion is under way.
    """
    with lock(base_path, f"forget users of {model}"):
        entry = new_entry(FORGET, model, None, before, after, why="users are forgotten")
        return append_audit(base_path, dataclasses.replace(entry, result=DONE))


def _remove(base_path: AnyPath, model: str, versions: Collection[int], why: str) -> list[int]:
    """Deletes versions, with a line each in the audit trail, unless a promotion was killed. Needs the lock."""
    if read_journal(base_path) is not None:
        return []
    if isinstance(base_path, Path):
        with _writing(base_path / model):
            _sweep(base_path / model)
    for version in versions:
        remove_version(base_path, model, version)
        entry = new_entry("retire", model, None, version, None, why=why)
        append_audit(base_path, dataclasses.replace(entry, result=DONE))
    return [*versions]


def new_entry(
    action: str,
    model: str,
    label: Optional[str],
    from_version: Optional[int],
    to_version: Optional[int],
    who: Optional[str] = None,
    why: str = "",
    metrics: Optional[Mapping[str, float]] = None,
    replicas: tuple[str, ...] = (),
) -> AuditEntry:
    """An audit entry of now, as yet without a result."""
    by = f"{_user()}@{socket.gethostname()}"
    return AuditEntry(
        id=os.urandom(8).hex(),
        time=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        who=_printable(who or by),
        action=action,
        model=model,
        label=label,
        from_version=from_version,
        to_version=to_version,
        why=_printable(why),
        metrics=dict(metrics or {}),
        replicas=replicas,
        by=by,
    )


@contextlib.contextmanager
def lock(base_path: AnyPath, action: str, wait: float = 0.0) -> Iterator[None]:
    """Keeps a second promoter away from `base_path`; the system frees the lock when the process ends, however it ends.

    Args:
        base_path: the base path.
        action: what is done, for the other one's message.
        wait: seconds to wait for the lock.

    Raises:
        PromotionLocked: another promoter holds it.
        WrongPromotion: the base path can't be written.
    """
    since = datetime.datetime.now(datetime.timezone.utc).isoformat(" ", "seconds")
    about = {"pid": os.getpid(), "host": socket.gethostname(), "user": _user(), "since": since, "action": action}
    with contextlib.ExitStack() as stack:
        try:
            lease = stack.enter_context(holding(base_path / _LOCK_FILE, about, wait))
        except Held as error:
            raise PromotionLocked(_busy(base_path, error.holder)) from None
        except OSError as error:
            raise WrongPromotion(f"{base_path}: can't be written: {error.strerror or error}") from None
        if lease is not None:
            _LEASES[base_path] = lease
            stack.callback(_LEASES.pop, base_path)
        yield


def _busy(base_path: AnyPath, holder: Mapping[str, Any]) -> str:
    who = "it has just begun"
    if holder:
        who = f"{holder['action']!r} by {holder['user']}@{holder['host']}, process {holder['pid']}, {holder['since']}"
    return f"{base_path}: another promotion is under way ({who}); wait for it, or let --lock-timeout SECONDS do so"


def _write(base_path: AnyPath, path: AnyPath, content: Union[str, bytes, None]) -> None:
    """Replaces a file; None removes it. In a store it needs the lock."""
    with _writing(path):
        if isinstance(path, ObjectPath):
            _LEASES[base_path].write(path, content.encode() if isinstance(content, str) else content)
        elif content is None:
            path.unlink(missing_ok=True)
            flush_folder(path.parent)
        else:
            write_atomically(path, content)


@contextlib.contextmanager
def _writing(path: AnyPath) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PromotionFailed(f"{path}: can't be written: {error.strerror or error}") from None


def _entry(content: dict[str, Any]) -> AuditEntry:
    """Reads an entry; ValueError, TypeError or KeyError if it is none."""
    texts = {name: value for name, value in content.items() if isinstance(value, str)}
    entry = AuditEntry(
        **{
            **content,
            **{name: _printable(text) for name, text in texts.items()},
            "replicas": tuple(map(str, content["replicas"])),
        }
    )
    # Rollbacks go by these.
    if not {"id", "time", "who", "action", "model", "why", "result"} <= texts.keys():
        raise TypeError("texts that are none")
    if not all(version is None or type(version) is int for version in (entry.from_version, entry.to_version)):
        raise TypeError("versions that are no numbers")
    return entry


def _printable(text: str) -> str:
    """The text as one line without what UTF-8 can't write and what would steer a terminal."""
    written = text.encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in written)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
