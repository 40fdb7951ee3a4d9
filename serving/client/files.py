"""A small file that may change while the client runs: the share of the canary, the fall-back list."""

from __future__ import annotations

import logging
import stat
import threading
import time
from pathlib import Path
from typing import Callable, Generic, Optional, TypeVar, Union

from serving.client.errors import InvalidRequest

T = TypeVar("T")

_LOGGER = logging.getLogger("serving.client")
_POLL_SECONDS = 1.0


class WatchedFile(Generic[T]):
    """Content of a file, read again when the file changed, looked at once a second at most; thread-safe.

    A file that can't be read or makes no sense leaves the last good content in force.

    Args:
        path: the file.
        parse: makes the content of the text, or of None where there is no file; ValueError if it can't.

    Raises:
        InvalidRequest: it makes no sense to begin with.
    """

    _content: T

    def __init__(self, path: Union[str, Path], parse: Callable[[Optional[str]], T]):
        self.path = Path(path)
        self._parse = parse
        self._seen: object = self
        self._next = 0.0
        self._lock = threading.Lock()
        self._read()

    def current(self) -> T:
        """The content, at most a second old."""
        if time.monotonic() >= self._next and self._lock.acquire(blocking=False):
            try:
                self._read()
            except InvalidRequest as error:
                _LOGGER.warning("%s; what it said before stays in force", error)
            finally:
                self._lock.release()
        return self._content

    def _read(self) -> None:
        self._next = time.monotonic() + _POLL_SECONDS
        try:
            found = _signature(self.path)
            if found == self._seen:
                return
            content = None if found is None else self.path.read_bytes()
            self._seen = found  # not before: what could not be read is to be read the next time
            self._content = self._parse(None if content is None else content.decode())
        except OSError as error:
            raise InvalidRequest(f"{self.path} can't be read: {error.strerror}") from None
        except ValueError as error:
            raise InvalidRequest(f"{self.path}: {error}") from None


def _signature(path: Path) -> Optional[tuple[int, int, int]]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is no regular file")
    return found.st_mtime_ns, found.st_size, found.st_ino
