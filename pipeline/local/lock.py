"""One run at a time in one place."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from components.errors import InputError


@contextlib.contextmanager
def lock(root: Path, elsewhere: str = "--set output=DIR") -> Iterator[None]:
    """Keeps a second run out of `root`; the system frees the lock when the process ends, however it ends.

    Args:
        root: The folder.
        elsewhere: How to run in another one, for the message.

    Raises:
        InputError: Another run holds it.
    """
    with open(root / ".lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = json.loads(file.read() or "{}")
            raise InputError(
                f"{root}: another run is at work here (process {holder.get('pid', 'unknown')}, since "
                f"{holder.get('since', 'just now')}); wait for it, or run elsewhere with {elsewhere}"
            ) from None
        file.seek(0)
        file.truncate()
        json.dump({"pid": os.getpid(), "since": datetime.datetime.now().isoformat(" ", "seconds")}, file)
        file.flush()
        yield
