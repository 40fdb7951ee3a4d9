"""What was answered, written down for `recommender feedback`: files of JSON lines that nobody waits for.

A call hands its answer over and goes on; a thread writes it, into a folder in which finished files end in `.jsonl` and
the one that is being written in `.jsonl.part`. What a process leaves that is killed is finished by the next one.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import hmac
import json
import logging
import os
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Optional, Union

from serving.client.errors import InvalidRequest
from serving.client.policies import seconds

try:
    import fcntl
except ImportError:  # on Windows, where what a killed process leaves keeps its name
    fcntl = None  # type: ignore[assignment]

FORMAT = 1
PART = ".part"
"""What the name of a file ends in that isn't finished."""

_LOGGER = logging.getLogger("serving.client")
_PAUSE = 0.2
"""Seconds between two looks at what waits: so much a killed process loses."""
_BATCH = 1_000
_TOLD_EVERY = 60.0
_NAME, _FINISHED, _NEW = "answers-", ".jsonl", ".new"

Records = Callable[[], Iterable[Mapping[str, Any]]]
"""Makes the records of an answer, in the thread that writes them."""


class AnswerLog:
    """A folder of files of answers; thread-safe. May be shared by clients, and by processes, each of which writes files
    of its own.

    It never holds up a call and never fails one: where more answers wait than may, or the disk is full, answers are
    left out, counted by `counts`, and told of in the log once a minute at most. A process that is killed loses the last
    fifth of a second; a machine that stops, what its disk has not been given yet.

        with AnswerLog("/var/log/answers", share=0.1, key=os.environ["ANSWERS_KEY"]) as log:
            client = RecommenderClient("localhost:8500", model="shop", answer_log=log)

    Args:
        path: the folder; it is made.
        share: the share of requests that is logged, from 0 to 1. A hash of the request's id decides, so that all who
            log it decide alike.
        key: users are logged by a pseudonym that nobody can make, or undo, without this secret; by default by their
            ids.
        history: how many items of a request's history are logged, the newest; by default none but their number. Who
            wants to know what another version would have answered needs them.
        context: the features of a request that are logged, by their names; None for all.
        waiting: how many lists may wait to be written.
        file_bytes: a file is finished when it has so many.
        file_seconds: and when it is so old.
        keep_bytes: where the finished files of the folder have more, the oldest are deleted, all but the newest,
            whether feedback has read them or not; None keeps all.

    Raises:
        InvalidRequest: an argument is wrong.
    """

    def __init__(
        self,
        path: Union[str, os.PathLike[str]],
        *,
        share: float = 1.0,
        key: Union[str, bytes, None] = None,
        history: int = 0,
        context: Optional[Sequence[str]] = None,
        waiting: int = 10_000,
        file_bytes: int = 64 << 20,
        file_seconds: float = 3600.0,
        keep_bytes: Optional[int] = 10 << 30,
    ):
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise InvalidRequest(f"answer_log: share={share!r} must be a number in [0, 1]")
        if key is not None and (not isinstance(key, (str, bytes)) or not key):
            raise InvalidRequest("answer_log: key must be a secret text, or None")
        if isinstance(context, str):
            raise InvalidRequest(f"answer_log: context={context!r}: it is a list of names")
        wholes = [("history", history, 0), ("waiting", waiting, 1), ("file_bytes", file_bytes, 1)]
        for name, value, least in [*wholes, *([] if keep_bytes is None else [("keep_bytes", keep_bytes, 1)])]:
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InvalidRequest(f"answer_log: {name}={value!r} must be a whole number of at least {least}")
        self.path = Path(path)
        self.history = history
        self._share = share
        self._key = key
        self._context = None if context is None else frozenset(context)
        self._most = waiting
        self._file_bytes = file_bytes
        self._file_seconds = seconds("answer_log: file_seconds", file_seconds)
        self._keep_bytes = keep_bytes
        self._closed = False
        self._begin()
        atexit.register(self.close)

    def _begin(self) -> None:
        """Begins in this process; a fork leaves threads, locks and the file to the parent."""
        self._process = os.getpid()
        self._waiting: deque[tuple[Records, int]] = deque()
        self._lists = 0
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._told = -_TOLD_EVERY
        self._untold: Counter[str] = Counter()
        files = _Files(self.path, self._file_bytes, self._file_seconds, self._keep_bytes)
        self._thread = threading.Thread(target=self._write_all, args=(files,), name="answer log", daemon=True)
        self._thread.start()

    def takes(self, request_id: str) -> bool:
        """Whether the answers to a request are logged."""
        if self._share in (0, 1):
            return self._share == 1
        digest = hashlib.sha256(request_id.encode()).digest()
        return int.from_bytes(digest[:8], "big") < self._share * 2**64

    def add(self, records: Records, count: int = 1) -> None:
        """Takes what makes the records of an answer, to be written soon; returns at once.

        Args:
            records: makes them. What it refers to must not change any more.
            count: how many lists the answer has, of which each counts as one that waits.
        """
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            full = self._lists + count > self._most
            if not full and not self._closed:
                self._lists += count
                self._waiting.append((records, count))
                return
        self._leave_out("closed" if self._closed else "too many wait", count)

    def user(self, user_id: str) -> Optional[str]:
        """What a user is called in the log; None for nobody in particular."""
        if not user_id:
            return None
        return user_id if self._key is None else pseudonym(user_id, self._key)

    def features(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """What the log has of a request's context."""
        names = context if self._context is None else [name for name in context if name in self._context]
        return {name: context[name] for name in names if context[name] is not None}

    def counts(self) -> dict[str, int]:
        """How many answers were `written`, and how many were left out, by the reason: `too many wait`, `disk`,
        `unwritable` (a context that isn't text, numbers and lists of them) and `closed`; and how many finished files
        were `deleted` for `keep_bytes`."""
        with self._lock:
            return dict(self._counts)

    def close(self, timeout: float = 5.0) -> None:
        """Writes what waits, finishes the file, and waits for that, so many seconds at most."""
        self._closed = True
        atexit.unregister(self.close)
        if self._process == os.getpid():
            self._closing.set()
            self._thread.join(timeout)

    def __enter__(self) -> AnswerLog:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _write_all(self, files: _Files) -> None:
        with contextlib.suppress(OSError):  # told when it is written to
            files.adopt()
        self._make_room(files)
        over = False
        while not over:
            over = self._closing.wait(_PAUSE)
            self._write_waiting(files)
            try:
                files.finish_old() if not over else files.finish()
            except OSError as error:
                self._leave_out("disk", 0, error)
            if files.finished:
                self._make_room(files)

    def _write_waiting(self, files: _Files) -> None:
        while self._waiting:
            lines: list[bytes] = []
            while self._waiting and len(lines) < _BATCH:
                records, count = self._waiting.popleft()
                with self._lock:
                    self._lists -= count
                try:
                    lines += [_line(record) for record in records()]
                except Exception as error:
                    self._leave_out("unwritable", count, error)
            try:
                files.write(b"".join(lines))
            except OSError as error:
                self._leave_out("disk", len(lines), error)
            else:
                with self._lock:
                    self._counts["written"] += len(lines)

    def _make_room(self, files: _Files) -> None:
        deleted = files.make_room()
        if deleted:
            with self._lock:
                self._counts["deleted"] += deleted
            _LOGGER.warning("%s has its keep_bytes: deleted its %d oldest files", self.path, deleted)

    def _leave_out(self, reason: str, count: int, error: Optional[BaseException] = None) -> None:
        with self._lock:
            self._counts[reason] += count
            self._untold[reason] += count
            if time.monotonic() < self._told + _TOLD_EVERY:
                return
            self._told = time.monotonic()
            told, self._untold = ", ".join(f"{name}: {n}" for name, n in self._untold.items()), Counter()
        _LOGGER.warning("answers are not logged in %s (%s)%s", self.path, told, "" if error is None else f": {error}")


def pseudonym(user_id: str, key: Union[str, bytes]) -> str:
    """What a user is called in a log with a key: 32 hexadecimal digits of HMAC-SHA256."""
    secret = key.encode() if isinstance(key, str) else key
    return hmac.new(secret, user_id.encode(), hashlib.sha256).hexdigest()[:32]


def record(
    *,
    by: str,
    request_id: str,
    row: int,
    time_us: int,
    model: str,
    version: Optional[int],
    label: Optional[str],
    source: Optional[str],
    latency_s: float,
    user: Optional[str],
    history: Sequence[str],
    logged: int,
    context: Mapping[str, Any],
    ruled: bool,
    items: Sequence[str],
    scores: Sequence[float],
    **more: Any,
) -> dict[str, Any]:
    """A line of the log, as docs/serving.md describes it.

    Args:
        by: `client` or `server`.
        request_id: that of the request.
        row: its place in the request, for requests of several.
        time_us: when it was asked, in microseconds since the epoch.
        model: its name.
        version: which version answered, if known.
        label: by which label it was asked.
        source: what the list was made from.
        latency_s: seconds until it was answered.
        user: what the user is called in the log.
        history: the request's own, newest first.
        logged: how many items of it are logged.
        context: what is logged of it.
        ruled: whether the request had rules, exclusions, or weights of tasks.
        items: ids, as they were shown.
        scores: theirs.
        **more: how the order was explored.
    """
    return {
        "format": FORMAT,
        "id": secrets.token_hex(8),
        "by": by,
        "request": request_id,
        "row": row,
        "time": time_us,
        "model": model,
        "version": version,
        "label": label,
        "source": source,
        "latency_ms": round(latency_s * 1e3, 3),
        "user": user,
        "history_length": len(history),
        "history": list(history[:logged]),
        "context": context,
        "ruled": ruled,
        "items": list(items),
        "scores": list(scores),
        **more,
    }


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, default=_as_json, separators=(",", ":")).encode() + b"\n"


def _as_json(value: Any) -> Any:
    """What JSON has no form for: times, and numbers of other libraries."""
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{value!r} has no form in JSON")


class _Files:
    """The file that is being written.

    Args:
        folder: where.
        most_bytes: after which it is finished.
        most_seconds: likewise.
        keep_bytes: of finished files.
    """

    def __init__(self, folder: Path, most_bytes: int, most_seconds: float, keep_bytes: Optional[int]):
        self._folder, self._most_bytes, self._most_seconds = folder, most_bytes, most_seconds
        self._keep_bytes = keep_bytes
        self.finished = False
        """Whether a file was finished since room was made."""
        self._descriptor: Optional[int] = None
        self._path = folder
        self._size = 0
        self._began = 0.0

    def write(self, lines: bytes) -> None:
        """Writes whole lines; after an OSError none of them is in the file, as far as the disk lets itself be asked."""
        if not lines:
            return
        if self._descriptor is None:
            self._open()
        assert self._descriptor is not None
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            # To cut the file takes no room on a full disk.
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(lines)
        if self._size >= self._most_bytes:
            self.finish()

    def finish_old(self) -> None:
        """Finishes the file if it is old enough."""
        if self._descriptor is not None and time.monotonic() >= self._began + self._most_seconds:
            self.finish()

    def finish(self) -> None:
        """Gives the file its name, once all of it is on the disk."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            os.fsync(descriptor)
            _finish(self._path)
            self.finished = True
        finally:
            os.close(descriptor)

    def make_room(self) -> int:
        """Deletes the oldest finished files where they have too many bytes; returns how many."""
        self.finished = False
        if self._keep_bytes is None:
            return 0
        left, deleted = self._keep_bytes, 0
        by_age = sorted(self._folder.glob(f"{_NAME}*{_FINISHED}"), reverse=True)  # the newest first: names have times
        for number, path in enumerate(by_age):
            with contextlib.suppress(OSError):  # another process may be at it too
                left -= path.stat().st_size
                if left < 0 and number:
                    path.unlink()
                    deleted += 1
        return deleted

    def adopt(self) -> None:
        """Finishes the files of those who died: the lock of a file that is being written tells."""
        if fcntl is None:
            return
        for path in self._folder.glob(f"*{PART}"):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _finish(path)
            except OSError:  # somebody writes it
                continue
            finally:
                os.close(descriptor)

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{_NAME}{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}{_FINISHED}"
        self._path = self._folder / (name + PART)
        new = self._folder / f".{name}{_NEW}"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # before it has a name that others look for
            new.rename(self._path)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor, self._size, self._began = descriptor, 0, time.monotonic()


def _finish(path: Path) -> None:
    path.rename(path.with_name(path.name[: -len(PART)]))
