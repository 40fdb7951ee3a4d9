"""The versions of one model: which of those on disk are wanted, loading them, swapping them in, unloading the rest."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
import os
import threading
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Callable, Generic, Optional, Protocol, TypeVar

import grpc

from serving.contract import SAVED_MODEL
from serving.files import find_versions
from serving.server import metrics
from serving.server.status import StatusError, code_of, invalid, not_found
from serving.stores import ObjectPath, as_path, is_object

_LOGGER = logging.getLogger("serving.server")
_MAX_REMEMBERED = 50
"""Versions whose end is remembered for GetModelStatus."""

_Files = tuple[tuple[str, int, int], ...]


class Loaded(Protocol):
    """What is loaded; see `servable.Servable`."""

    def close(self) -> None:
        """Frees it."""


_Model = TypeVar("_Model", bound=Loaded)


@dataclass
class VersionState:
    """State of one version as GetModelStatus reports it."""

    version: int
    state: str
    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""


@dataclass
class _Version(Generic[_Model]):
    """A loaded version and the number of requests that run on it."""

    number: int
    model: Optional[_Model]
    made: float
    """When its files were written, seconds since the epoch."""
    requests: int = 0
    retired: bool = False


@dataclass
class _Failure:
    """A version that could not be loaded, how its files looked then, and when it is tried again."""

    files: _Files
    attempts: int = 0
    due: float = math.inf


class VersionManager(Generic[_Model]):
    """Serves the versions of a model that its config's policy asks for, as far as they can be loaded.

    All wanted versions are loaded and warmed up before one that isn't wanted any more goes. A version that can't be
    loaded (half copied, damaged, failing warm-up) is logged once and takes nothing down: with the policy `latest` the
    newest of the rest are wanted in its stead, with the others what is loaded stays until a wanted version is there.
    It is tried again when its files change and, as often as `max_retries` says, after `retry_seconds`. Where no wanted
    version is left on disk, those in memory go on serving (TensorFlow Serving would unload them).

    The owner calls `poll` to look at the disk and `tick` when a retry is `due`; neither waits for a load.

    Args:
        name: the model's name.
        load: loads and warms up a version's folder; any exception means that it can't be served.
        lock: guards the state of all models, so that a reload changes them all at once.
        on_change: called with the lock held after any change; must return at once.
        loaders: where loads run.
        unloaders: where unloads run.
        max_retries: further attempts after the first failure.
        retry_seconds: between two attempts; not above 0: no waiting.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[str], _Model],
        *,
        lock: threading.Lock,
        on_change: Callable[[], None],
        loaders: Executor,
        unloaders: Executor,
        max_retries: int = 5,
        retry_seconds: float = 60.0,
    ):
        self.name = name
        self.base_path = ""
        self.due = math.inf
        """When the next retry is due, on `time.monotonic`'s clock."""
        self.retiring = 0
        """Versions that are to be closed, and wait for the requests on them."""
        self._load = load
        self._lock = lock
        self._on_change = on_change
        self._loaders = loaders
        self._unloaders = unloaders
        self._max_retries = max_retries
        self._retry_seconds = retry_seconds
        self._policy: Any = None
        self._labels: dict[str, int] = {}
        self._generation = 0  # of the config; a look at the disk for an older one doesn't count
        self._found: Optional[dict[int, str]] = None
        self._missing: set[int] = set()
        self._loading: set[int] = set()
        self._versions: dict[int, _Version[_Model]] = {}
        self._latest: Optional[_Version[_Model]] = None
        self._failures: dict[int, _Failure] = {}
        self._states: dict[int, VersionState] = {}

    # Called with the lock held.

    def configure(self, config: Any) -> None:
        """Takes on a `tensorflow.serving.ModelConfig`; None ends the model: nothing answers any more."""
        self._labels = {} if config is None else dict(config.version_labels)
        policy = None if config is None else config.model_version_policy
        if policy == self._policy and (config is None or config.base_path == self.base_path):
            return
        for number in self._failures:
            self._give_up(number)
        self._policy = policy
        self._generation += 1
        self._found = None
        self._failures.clear()
        if config is not None:
            self.base_path = config.base_path
        self._step()
        self._on_change()

    @property
    def configured(self) -> bool:
        """Whether the config has the model."""
        return self._policy is not None

    @property
    def unseen(self) -> bool:
        """Whether the disk has not been looked at for the present config."""
        return self.configured and self._found is None

    @property
    def seen(self) -> bool:
        """Whether a version was on disk at the last look."""
        return not self.configured or bool(self._found)

    @property
    def settled(self) -> bool:
        """Whether every wanted version on disk is available or has failed."""
        return not self.configured or (self._found is not None and not self._pending(time.monotonic()))

    def is_available(self, version: int) -> bool:
        """Whether the version answers."""
        return version in self._versions

    def label(self, name: str) -> Optional[int]:
        """The version that a label points to."""
        return self._labels.get(name)

    # Called without it.

    @property
    def current_version(self) -> Optional[int]:
        """The highest version that answers, which requests without a version get; None as long as there is none."""
        latest = self._latest
        return None if latest is None else latest.number

    def acquire(self, version: Optional[int] = None, label: Optional[str] = None) -> _Lease[_Model]:
        """Lends a version (the highest if none is named) for one request; it stays loaded for as long.

        Raises:
            StatusError: on entering; NOT_FOUND, no such version is loaded; INVALID_ARGUMENT, no such label.
        """
        return _Lease(self, version, label)

    def lend(self, number: Optional[int], label: Optional[str]) -> _Version[_Model]:
        """Lends a version until `take_back`; see `acquire`."""
        with self._lock:
            if label is not None:
                number = self._labels.get(label)
                if number is None:
                    raise unknown_label(label)
            lent = self._latest if number is None else self._versions.get(number)
            if lent is None:
                raise servable_not_found(self.name, number)
            lent.requests += 1
            return lent

    def take_back(self, lent: _Version[_Model]) -> None:
        """Ends what `lend` began; the last request on a retired version lets it go."""
        with self._lock:
            lent.requests -= 1
            if lent.retired and lent.requests == 0:
                self._unloaders.submit(self._unload, lent)

    def states(self) -> list[VersionState]:
        """States of all versions that this server has seen, newest first."""
        with self._lock:
            return [self._states[number] for number in sorted(self._states, reverse=True)]

    def loaded(self) -> dict[int, tuple[Optional[_Model], float]]:
        """The versions that answer, and when the files of each were written, in seconds since the epoch."""
        with self._lock:
            return {number: (version.model, version.made) for number, version in self._versions.items()}

    def labels(self) -> dict[str, int]:
        """The versions that labels point to, loaded or not; that of requests without one under the empty label."""
        with self._lock:
            found = {} if self._latest is None else {"": self._latest.number}
            return {**found, **self._labels}

    def poll(self) -> None:
        """Looks at the base path once, and starts the loads and unloads that follow."""
        with self._lock:
            if not self.configured:
                return
            generation, base_path, failures = self._generation, self.base_path, dict(self._failures)
        found = _scan(base_path)
        changed = [number for number in failures if number in found and _files(found[number]) != failures[number].files]
        with self._lock:
            if generation != self._generation:
                return
            for number in changed:
                if number not in self._loading and number in self._failures:
                    self._failures[number].attempts, self._failures[number].due = 0, 0.0
            for number in set(self._failures) - set(found):
                self._give_up(number)
                del self._failures[number]
            different, self._found = found != self._found, found
            missing = set(self._policy.specific.versions) - set(found)
            news, self._missing = missing - self._missing, missing
            self._step()
            if different:
                self._on_change()
        for number in sorted(news):
            _LOGGER.warning("model %s: version %d is asked for but isn't in %s", self.name, number, base_path)

    def tick(self) -> None:
        """Starts the retries that are due."""
        with self._lock:
            self._step()

    def _wanted(self, now: float) -> list[int]:
        """The versions that the policy asks for among those on disk, newest first."""
        if self._policy is None or self._found is None:
            return []
        newest = sorted(self._found, reverse=True)
        choice = self._policy.WhichOneof("policy_choice")
        if choice == "all":
            return newest
        if choice == "specific":
            return [number for number in newest if number in self._policy.specific.versions]
        return [number for number in newest if not self._blocked(number, now)][: self._policy.latest.num_versions or 1]

    def _aspired(self) -> set[int]:
        """The versions that the policy would ask for if none had failed, and those in whose stead they are wanted."""
        newest = sorted(self._found or (), reverse=True)
        if self._policy is None:
            return set()
        choice = self._policy.WhichOneof("policy_choice")
        if choice == "all":
            return set(newest)
        if choice == "specific":
            return set(self._policy.specific.versions)
        count, aspired = self._policy.latest.num_versions or 1, set()
        for number in newest:
            aspired.add(number)
            count -= number not in self._failures
            if not count:
                break
        return aspired

    def _give_up(self, number: int) -> None:
        """A version that failed isn't tried again."""
        state = self._states.get(number)
        if state is not None and state.state == "LOADING" and number not in self._loading:
            self._set_state(VersionState(number, "END", state.code, state.message))

    def _blocked(self, number: int, now: float) -> bool:
        """Whether the version failed and isn't tried again yet."""
        failure = self._failures.get(number)
        return failure is not None and now < failure.due

    def _pending(self, now: float) -> list[int]:
        return [n for n in self._wanted(now) if n not in self._versions and not self._blocked(n, now)]

    def _step(self) -> None:
        """Starts the loads and unloads that are due."""
        now = time.monotonic()
        wanted, pending = self._wanted(now), self._pending(now)
        for number in pending:
            if number not in self._loading:
                assert self._found is not None
                self._loading.add(number)
                if number not in self._failures:
                    self._set_state(VersionState(number, "START"))
                self._loaders.submit(self._load_version, number, self._found[number])
        if not self.configured or (not pending and any(number in self._versions for number in wanted)):
            for number in sorted(set(self._versions) - set(wanted)):
                self._retire(self._versions.pop(number))
        for number in self._failures.keys() - self._aspired() - self._loading:
            self._give_up(number)
        self._latest = self._versions[max(self._versions)] if self._versions else None
        self.due = min((f.due for f in self._failures.values() if f.due > now), default=math.inf)

    def _load_version(self, number: int, path: str) -> None:
        with self._lock:
            if number not in self._wanted(time.monotonic()):  # another config came while this one queued
                self._loading.discard(number)
                self._states.pop(number, None)
                self._step()
                self._on_change()
                return
            if number not in self._failures:
                self._set_state(VersionState(number, "LOADING"))
        files, made = _files(path), _made(path)
        started = time.monotonic()
        try:
            model = self._load(path)
        except Exception as error:
            metrics.load_failed(path)
            self._fail(number, path, files, error)
            return
        seconds = time.monotonic() - started
        metrics.loaded(path, seconds)
        with self._lock:
            self._loading.discard(number)
            self._failures.pop(number, None)
            self._versions[number] = _Version(number, model, made)
            self._set_state(VersionState(number, "AVAILABLE"))
            self._step()
            self._on_change()
        _LOGGER.info("model %s: version %d serves, loaded from %s in %.1f s", self.name, number, path, seconds)

    def _fail(self, number: int, path: str, files: _Files, error: Exception) -> None:
        code, message = _reason(error)
        with self._lock:
            self._loading.discard(number)
            known = self._failures.get(number)
            attempts = (known.attempts if known else 0) + 1
            due = time.monotonic() + self._retry_seconds if attempts <= self._max_retries else math.inf
            self._failures[number] = _Failure(files, attempts, due)
            # As in TensorFlow Serving, it goes on loading as long as it is tried again; why it fails is told meanwhile.
            self._set_state(VersionState(number, "END" if math.isinf(due) else "LOADING", code, message))
            serving = sorted(self._versions)
            self._step()
            self._on_change()
        if known is None:
            rest = "no version serves"
            if serving:
                rest = f"version {serving[0]} goes on serving" if len(serving) == 1 else f"{serving} go on serving"
            _LOGGER.error("model %s: version %d in %s can't be loaded: %s; %s", self.name, number, path, message, rest)

    def _retire(self, version: _Version[_Model]) -> None:
        version.retired = True
        self.retiring += 1
        self._set_state(VersionState(version.number, "UNLOADING"))
        if version.requests == 0:
            self._unloaders.submit(self._unload, version)

    def _unload(self, version: _Version[_Model]) -> None:
        model, version.model = version.model, None
        try:
            assert model is not None
            model.close()
        except Exception:
            _LOGGER.exception("model %s: closing version %d failed", self.name, version.number)
        del model
        _give_memory_back()
        with self._lock:
            self.retiring -= 1
            if version.number not in self._versions and version.number not in self._loading:
                self._set_state(VersionState(version.number, "END"))
            self._on_change()
        _LOGGER.info("model %s: version %d unloaded", self.name, version.number)

    def _set_state(self, state: VersionState) -> None:
        self._states[state.version] = state
        ended = [number for number, s in self._states.items() if s.state == "END"]
        for number in sorted(ended)[: max(0, len(ended) - _MAX_REMEMBERED)]:
            del self._states[number]


class _Lease(Generic[_Model]):
    """A version for the time of one request; a class because it is on the way of every request."""

    __slots__ = ("_label", "_lent", "_manager", "_number")

    def __init__(self, manager: VersionManager[_Model], number: Optional[int], label: Optional[str]):
        self._manager = manager
        self._number = number
        self._label = label

    def __enter__(self) -> tuple[int, _Model]:
        self._lent = lent = self._manager.lend(self._number, self._label)
        assert lent.model is not None
        return lent.number, lent.model

    def __exit__(self, *_: object) -> None:
        self._manager.take_back(self._lent)


def servable_not_found(name: str, version: Optional[int]) -> StatusError:
    """NOT_FOUND as TensorFlow Serving words it."""
    wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return not_found(f"Servable not found for request: {wanted}")


def unknown_label(label: str) -> StatusError:
    """INVALID_ARGUMENT as TensorFlow Serving words it."""
    return invalid(f"Unrecognized servable version label: {label}")


def _scan(base_path: str) -> dict[int, str]:
    try:
        if is_object(base_path):
            return {number: str(path) for number, path in find_versions(as_path(base_path)).items() if number < 1 << 63}
        names = sorted(os.listdir(base_path))
    except OSError:
        return {}
    paths = {int(name): os.path.join(base_path, name) for name in names if name.isascii() and name.isdigit()}
    return {number: path for number, path in paths.items() if number < 1 << 63 and os.path.isdir(path)}


def _files(path: str) -> _Files:
    """Names, sizes and times of a version's files: changes when somebody goes on copying."""
    if is_object(path):
        with contextlib.suppress(OSError):
            return tuple((name, info.size, int(info.changed * 1e9)) for name, info in ObjectPath(path).files().items())
        return ()
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            file = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                stat = os.stat(file)
                found.append((file, stat.st_size, stat.st_mtime_ns))
    return tuple(sorted(found))


def _made(path: str) -> float:
    with contextlib.suppress(OSError):
        if not is_object(path):
            return os.stat(os.path.join(path, SAVED_MODEL)).st_mtime
        info = (ObjectPath(path) / SAVED_MODEL).info()
        return info.changed if info else 0.0
    return 0.0


def _reason(error: Exception) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, StatusError):
        return error.code, error.message
    message = " ".join(str(getattr(error, "message", error)).split()) or type(error).__name__
    if isinstance(error, OSError):
        return grpc.StatusCode.NOT_FOUND, message
    return code_of(getattr(error, "error_code", -1)), message


def _give_memory_back() -> None:
    """Returns what a closed version left to the system; glibc would keep it for later."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
