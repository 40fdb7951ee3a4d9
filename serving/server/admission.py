"""How much the server takes on: what is more is refused at once, before it takes memory and others' time."""

from __future__ import annotations

import threading
from typing import Optional

from serving.server.status import StatusError, overloaded

_FADE = 0.9
"""What the size of the largest request counts after one more."""
_ROUGH = 0.2
"""What the time of one more run counts for the mean."""
_SAFE = 0.5
"""The part of its time that a request may be expected to take; who comes too late is better refused at once."""
_RETRY_SECONDS = 0.5


class Admission:
    """Bounds the requests in flight, those that wait included, and their bytes; thread-safe.

    Args:
        most: requests.
        most_bytes: their bytes, as they came, and those of answers that aren't read. What is still being received
            counts as the latest large ones did.
    """

    def __init__(self, most: int, most_bytes: int):
        self._most = most
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._count = 0
        self._receiving = 0
        self._bytes = 0
        self._size = 0.0

    @property
    def in_flight(self) -> tuple[int, int]:
        """Requests, and bytes: theirs, as far as they have come, and those of answers that wait to be read."""
        return self._count, self._bytes

    @property
    def limits(self) -> tuple[int, int]:
        """Most of them."""
        return self._most, self._most_bytes

    def begin(self, arrived: bool = False) -> None:
        """A request is about to be received; its end is to be told by `end`, or by `received` and `end`.

        Args:
            arrived: it has come already, by `arriving`; its end is to be told by `end(0)`.

        Raises:
            StatusError: RESOURCE_EXHAUSTED, there is no room for it.
        """
        with self._lock:
            if self._count >= self._most:
                raise overloaded(f"{self._count} requests are in flight", _RETRY_SECONDS)
            expected = 0 if arrived else self._bytes + self._size * (self._receiving + 1)
            if expected > self._most_bytes and (self._count or self._bytes):
                raise self._too_many_bytes()
            self._count += 1
            self._receiving += not arrived

    def arriving(self, size: int, before: int) -> None:
        """So many bytes more have come of a request that had some before; `left` is to be told when they are gone.

        Raises:
            StatusError: RESOURCE_EXHAUSTED, there is no room for them, and they don't count.
        """
        with self._lock:
            if self._bytes + size > self._most_bytes and self._bytes > before:
                raise self._too_many_bytes()
            self._bytes += size

    def left(self, size: int) -> None:
        """So many bytes that came by `arriving` are gone."""
        with self._lock:
            self._bytes -= size

    def unread(self, more: int) -> None:
        """So many bytes more of answers wait for their clients to read them; if below 0, so many fewer."""
        with self._lock:
            self._bytes += more

    def received(self, size: int) -> None:
        """The request has so many bytes.

        Raises:
            StatusError: RESOURCE_EXHAUSTED, there is no room for them; it counts for the time until `end` all the same.
        """
        with self._lock:
            self._receiving -= 1
            self._size = max(size, _FADE * self._size)
            self._bytes += size
            if self._bytes > self._most_bytes and self._count > 1:
                raise self._too_many_bytes()

    def _too_many_bytes(self) -> StatusError:
        return overloaded(f"{self._bytes} bytes are in flight", _RETRY_SECONDS)

    def end(self, size: Optional[int]) -> None:
        """A request of so many bytes is done; None for one that was not received."""
        with self._lock:
            self._count -= 1
            self._receiving -= size is None
            self._bytes -= size or 0


class Pace:
    """How long requests wait for a thread, going by how long the latest ones ran; thread-safe.

    Args:
        threads: runs at the same time.
    """

    def __init__(self, threads: int):
        self._threads = threads
        self._lock = threading.Lock()
        self._waiting = 0
        self._mean = 0.0

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return self._waiting

    @property
    def expected(self) -> float:
        """Seconds that a request would take which came now, its own run included."""
        return (self._waiting / self._threads + 1) * self._mean

    def wait(self, timeout: Optional[float]) -> None:
        """A request begins to wait, and has so many seconds.

        Raises:
            StatusError: RESOURCE_EXHAUSTED, it would not be done in time.
        """
        with self._lock:
            expected = self.expected
            if timeout is not None and self._waiting >= self._threads and expected > _SAFE * timeout:
                raise overloaded(f"{self._waiting} requests wait, which takes {expected:.3g} s", expected)
            self._waiting += 1

    def leave(self) -> None:
        """A request has got its thread, or waits no longer."""
        with self._lock:
            self._waiting -= 1

    def ran(self, seconds: float) -> None:
        """A request had its thread for so long."""
        with self._lock:
            self._mean += _ROUGH * (seconds - self._mean)
