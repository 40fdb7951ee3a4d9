"""The files of a client's TLS, taken up anew when they have changed: certificates are renewed while programs run."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from pathlib import Path
from typing import Callable, Generic, Optional, TypeVar

from serving.client.errors import InvalidRequest
from serving.client.policies import Tls

T = TypeVar("T")

_LOGGER = logging.getLogger("serving.client")
_POLL_SECONDS = 1.0


def context(tls: Tls) -> ssl.SSLContext:
    """What Python's own TLS makes of the files.

    Raises:
        InvalidRequest: they can't be read, or don't go together.
    """
    for name in ("ca", "certificate", "key"):
        tls.read(name)  # names the one that can't be
    try:
        made = ssl.create_default_context(cafile=tls.ca)
        if tls.certificate is not None:
            made.load_cert_chain(tls.certificate, tls.key, password="")  # never asks for one
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"tls: ca, certificate and key must be PEM files that go together: {error}") from None
    return made


class Certificates(Generic[T]):
    """What is made of the files, and made again when they changed, looked at once a second at most; thread-safe.

    Files that can't be used, as while they are being replaced one by one, leave what was made of the last good ones in
    force.

    Args:
        tls: the files.
        make: makes it of them; InvalidRequest if it can't.

    Raises:
        InvalidRequest: they can't be used to begin with.
    """

    def __init__(self, tls: Tls, make: Callable[[Tls], T]):
        self._tls = tls
        self._make = make
        self._lock = threading.Lock()
        self._seen = self._signature()
        self._next = time.monotonic() + _POLL_SECONDS
        self._told = ""
        self._made = make(tls)

    def current(self) -> T:
        """What is made of the files as they were a second ago, or later."""
        if time.monotonic() >= self._next and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._made

    def _look(self) -> None:
        self._next = time.monotonic() + _POLL_SECONDS
        found = self._signature()
        if found == self._seen:
            return
        try:
            made = self._make(self._tls)
        except InvalidRequest as error:
            if str(error) != self._told:
                self._told = str(error)
                _LOGGER.warning("%s; what the files said before stays in force", error)
            return
        if self._signature() == found:  # else they changed meanwhile: what was read may not go together
            self._seen, self._made, self._told = found, made, ""
            _LOGGER.info("tls: ca, certificate and key have changed: new connections are made with them")

    def _signature(self) -> list[Optional[tuple[int, int, int]]]:
        return [_stat(path) for path in (self._tls.ca, self._tls.certificate, self._tls.key)]


def _stat(path: Optional[str]) -> Optional[tuple[int, int, int]]:
    try:
        found = None if path is None else Path(path).stat()
    except OSError:
        return None
    return found and (found.st_mtime_ns, found.st_size, found.st_ino)
