"""Keeps the newest version under a model's base path loaded: load and warm first, then swap, then unload the old."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Callable, Generic, Optional, Protocol, TypeVar

import grpc

from serving.server.status import StatusError, code_of, not_found

_LOGGER = logging.getLogger("serving.server")
_RETRY_SECONDS = 60.0
"""A version that failed is tried again when its files change, and in any case after this long (memory may be free)."""
_MAX_REMEMBERED = 50
"""Versions whose end is remembered for GetModelStatus."""


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
    model: _Model
    requests: int = 0


@dataclass
class _Failure:
    """A version that could not be loaded, and how its files looked then."""

    files: tuple[tuple[str, int, int], ...]
    at: float = field(default_factory=time.monotonic)


class VersionManager(Generic[_Model]):
    """Serves the newest version of a model that can be loaded.

    A version that can't be loaded (half copied, damaged, failing warm-up) is logged once and never takes the serving
    one down. If the serving version's folder is removed, the newest of the rest takes over; if none is left, the
    version in memory goes on serving (TensorFlow Serving would unload it).

    Args:
        name: the model's name.
        base_path: the folder whose numeric subfolders are versions.
        load: loads and warms up a version's folder; any exception means that it can't be served.
        poll_seconds: how often the folder is looked at; 0 looks once.
        on_change: called after a version became available.
    """

    def __init__(
        self,
        name: str,
        base_path: str,
        load: Callable[[str], _Model],
        poll_seconds: float = 1.0,
        on_change: Callable[[], None] = lambda: None,
    ):
        self.name = name
        self.base_path = base_path
        self._load = load
        self._poll_seconds = poll_seconds
        self._on_change = on_change
        self._lock = threading.Lock()
        self._current: Optional[_Version[_Model]] = None
        self._retiring: list[_Version[_Model]] = []
        self._states: dict[int, VersionState] = {}
        self._failures: dict[int, _Failure] = {}
        self._settled = threading.Event()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._poll_forever, name=f"versions-{name}", daemon=True)

    def start(self) -> None:
        """Starts to look for versions."""
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Waits until a version is available or a first one has failed; tells whether one of both has happened."""
        return self._settled.wait(seconds)

    def stop(self, seconds: float) -> None:
        """Stops to look for versions and unloads what no request uses any more."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        with self._lock:
            current, self._current = self._current, None
            if current is not None:
                self._states[current.number].state = "UNLOADING"
                self._retiring.append(current)
        self._close_drained()

    @property
    def current_version(self) -> Optional[int]:
        """The version that serves; None as long as there is none."""
        current = self._current
        return None if current is None else current.number

    @contextlib.contextmanager
    def acquire(self, version: Optional[int] = None) -> Iterator[tuple[int, _Model]]:
        """Lends the serving version, or one by number, for one request; it stays loaded for as long.

        Raises:
            StatusError: NOT_FOUND, no such version is loaded.
        """
        with self._lock:
            lent = self._current
            if lent is None or version not in (None, lent.number):
                raise servable_not_found(self.name, version)
            lent.requests += 1
        try:
            yield lent.number, lent.model
        finally:
            with self._lock:
                lent.requests -= 1
                drained = lent.requests == 0 and lent is not self._current
            if drained:
                self._wake.set()  # unloading takes a while: not on the time of this request

    def states(self) -> list[VersionState]:
        """States of all versions that this server has seen, newest first."""
        with self._lock:
            return [self._states[number] for number in sorted(self._states, reverse=True)]

    def poll(self) -> None:
        """Looks at the base path once and loads what is to be loaded."""
        found = self._scan()
        for number in sorted(found, reverse=True):
            current = self.current_version
            if current is not None and (number == current or (number < current and current in found)):
                break
            if self._stopping or self._try(number, found[number]):
                break
        for number in set(self._failures) - set(found):
            del self._failures[number]
        if found:
            self._settled.set()

    def _poll_forever(self) -> None:
        due = 0.0
        while not self._stopping:
            if time.monotonic() >= due:
                try:
                    self.poll()
                except Exception:
                    _LOGGER.exception("model %s: looking for versions failed", self.name)
                due = time.monotonic() + (self._poll_seconds or math.inf)
            self._close_drained()
            left = due - time.monotonic()
            self._wake.wait(None if math.isinf(left) else max(left, 0.0))
            self._wake.clear()

    def _scan(self) -> dict[int, str]:
        try:
            names = sorted(os.listdir(self.base_path))
        except OSError:
            return {}
        paths = {int(name): os.path.join(self.base_path, name) for name in names if name.isascii() and name.isdigit()}
        return {number: path for number, path in paths.items() if number < 1 << 63 and os.path.isdir(path)}

    def _try(self, number: int, path: str) -> bool:
        """Loads a version unless it failed before and nothing has changed since; tells whether it serves now."""
        files = _files(path)
        failure = self._failures.get(number)
        if failure and failure.files == files and time.monotonic() - failure.at < _RETRY_SECONDS:
            return False
        self._set_state(VersionState(number, "LOADING"))
        started = time.monotonic()
        try:
            model = self._load(path)
        except Exception as error:
            self._fail(number, path, files, error)
            return False
        self._failures.pop(number, None)
        with self._lock:
            old, self._current = self._current, _Version(number, model)
            self._states[number] = VersionState(number, "AVAILABLE")
            if old is not None:
                self._states[old.number] = VersionState(old.number, "UNLOADING")
                self._retiring.append(old)
        seconds = time.monotonic() - started
        _LOGGER.info("model %s: version %d serves, loaded from %s in %.1f s", self.name, number, path, seconds)
        self._settled.set()
        self._on_change()
        return True

    def _fail(self, number: int, path: str, files: tuple[tuple[str, int, int], ...], error: Exception) -> None:
        known = number in self._failures
        self._failures[number] = _Failure(files)
        code, message = _reason(error)
        self._set_state(VersionState(number, "END", code, message))
        if not known:
            current = self.current_version
            rest = "no version serves" if current is None else f"version {current} goes on serving"
            _LOGGER.error("model %s: version %d in %s can't be loaded: %s; %s", self.name, number, path, message, rest)

    def _close_drained(self) -> None:
        with self._lock:
            drained = [version for version in self._retiring if version.requests == 0]
            self._retiring = [version for version in self._retiring if version.requests > 0]
        for version in drained:
            version.model.close()
            self._set_state(VersionState(version.number, "END"))
            _LOGGER.info("model %s: version %d unloaded", self.name, version.number)

    def _set_state(self, state: VersionState) -> None:
        with self._lock:
            self._states[state.version] = state
            ended = [number for number, s in self._states.items() if s.state == "END"]
            for number in sorted(ended)[: max(0, len(ended) - _MAX_REMEMBERED)]:
                del self._states[number]


def servable_not_found(name: str, version: Optional[int]) -> StatusError:
    """NOT_FOUND as TensorFlow Serving words it."""
    wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return not_found(f"Servable not found for request: {wanted}")


def _files(path: str) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of a version's files: changes when somebody goes on copying."""
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            file = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                stat = os.stat(file)
                found.append((file, stat.st_size, stat.st_mtime_ns))
    return tuple(sorted(found))


def _reason(error: Exception) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, StatusError):
        return error.code, error.message
    message = " ".join(str(getattr(error, "message", error)).split()) or type(error).__name__
    if isinstance(error, OSError):
        return grpc.StatusCode.NOT_FOUND, message
    return code_of(getattr(error, "error_code", -1)), message
