"""Locks that keep processes out of each other's way; the system frees one when its holder ends, however it ends.

On a network file system they hold between machines as far as its `flock` does, as it does on NFS.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def locked(path: Path, busy: Callable[[str], None]) -> Iterator[None]:
    """Holds a lock while the block runs.

    Args:
        path: The lock's file; made if missing, and left, because to remove it would let two in.
        busy: Called if another process, or another thread of this one, holds the lock, with who that is, such as
            "process 12 on build-3, since 2026-01-02 03:04:05+00:00". What it raises is raised; if it returns, the
            lock is waited for.

    Raises:
        OSError: The file can't be written, or the file system has no locks.
    """
    # What is written on acquiring stays readable: one that waits does not truncate it.
    lock = FileLock(path, on_acquired=_sign)
    with contextlib.suppress(Timeout):
        lock.acquire(blocking=False)
    if not lock.is_locked:
        busy(_holder(path))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _sign(descriptor: int) -> None:
    since = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode())


def _holder(path: Path) -> str:
    try:
        return "process {pid} on {host}, since {since}".format(**json.loads(path.read_text("utf-8")))
    except (ValueError, KeyError):  # it has locked the file and not yet signed it
        return "a process that has just begun"
