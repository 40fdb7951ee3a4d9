"""Files that others read meanwhile or wait for: replaced at once or not at all, and held by one process at a time.

The standard library only, for all rooms.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Union

_POLL_SECONDS = 0.1


@contextlib.contextmanager
def replacing(path: Union[str, os.PathLike[str]], mode: str = "w") -> Iterator[IO[Any]]:
    """Lends a file that takes the place of `path` at the end, flushed to disk, unless an exception comes first.

    Whoever reads the path meanwhile sees the old content, or none if there was none. Several processes may replace the
    same file: the last one stays. The permissions are those of any new file.

    Args:
        path: the file; its folder must be there.
        mode: "w" for text in UTF-8, or "wb".
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name.lstrip('.')}.{os.getpid()}.new")
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def write_atomically(path: Union[str, os.PathLike[str]], content: Union[str, bytes]) -> None:
    """Writes a file at once or not at all, see `replacing`."""
    with replacing(path, "wb" if isinstance(content, bytes) else "w") as file:
        file.write(content)


def flush_folder(path: Union[str, os.PathLike[str]]) -> None:
    """Flushes to disk which files a folder has."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Held(Exception):
    """Somebody else holds a lock."""

    def __init__(self, holder: Mapping[str, Any]):
        super().__init__(f"held by {dict(holder)}")
        self.holder = holder
        """What the holder says of itself; empty if it has said nothing yet."""


@contextlib.contextmanager
def holding(path: Union[str, os.PathLike[str]], about: Mapping[str, Any], wait: float = 0.0) -> Iterator[None]:
    """Holds a lock; the system frees it when the process ends, however it ends, and the file stays.

    Args:
        path: the lock's file; made if missing.
        about: what others are told who want it meanwhile, as JSON.
        wait: seconds to wait for it.

    Raises:
        Held: somebody else has it.
        OSError: the file can't be written.
    """
    deadline = time.monotonic() + wait
    with open(path, "a+", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Held(_holder(file)) from None
                time.sleep(min(_POLL_SECONDS, wait))
        file.truncate(0)
        json.dump(dict(about), file)
        file.flush()
        yield


def _holder(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    with contextlib.suppress(ValueError):
        found = json.load(file)
        if isinstance(found, dict):
            return found
    return {}
