"""A lock whose holder is named to whoever wants it too."""

from __future__ import annotations

import collections
import contextlib
import datetime
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Optional

from serving.files import holding
from serving.stores import AnyPath, Held, Lease


@contextlib.contextmanager
def locked(path: AnyPath, busy: Callable[[str], None]) -> Iterator[Optional[Lease]]:
    """Holds a lock while the block runs, see `serving.files.holding`.

    Args:
        path: The lock's file; made if missing, and left.
        busy: Called if another process, or another thread of this one, holds the lock, with who that is, such as
            "process 12 on build-3, since 2026-01-02 03:04:05+00:00". What it raises is raised; if it returns, the
            lock is waited for.

    Raises:
        OSError: The file can't be written, or the file system has no locks.
    """
    since = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    about = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    with contextlib.ExitStack() as held:
        try:
            lease = held.enter_context(holding(path, about))
        except Held as other:
            busy(_named(other.holder))
            lease = held.enter_context(holding(path, about, wait=-1))
        yield lease


def _named(holder: Mapping[str, Any]) -> str:
    if not holder:  # it has locked the file and not yet signed it
        return "a process that has just begun"
    return "process {pid} on {host}, since {since}".format_map(collections.defaultdict(lambda: "unknown", holder))
