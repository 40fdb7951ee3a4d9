"""What a client may be told about its connections and about what it does when a server fails."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Optional

from serving.client.errors import InvalidRequest

_LOGGER = logging.getLogger("serving.client")
_LONGEST = 1e8
"""Seconds; what threads and sockets can wait for is little more."""


@dataclass(frozen=True)
class Tls:
    """TLS, and the client's own certificate if the server asks for one; all are paths of PEM files.

    What is written there later is taken up without a restart, see `certificates.Certificates`. A key that all users of
    the machine may read is warned of in the log.

    Raises:
        InvalidRequest: a certificate without its key, or a key without its certificate.
    """

    ca: Optional[str] = None
    """The authorities to trust; by default those of gRPC, or over REST those of the system."""
    certificate: Optional[str] = None
    """The client's certificate, and the chain to its authority."""
    key: Optional[str] = None
    """The private key of `certificate`."""
    server_name: Optional[str] = None
    """The name that the server's certificate has to be for, if it isn't the target's host."""

    def __post_init__(self) -> None:
        for name in ("ca", "certificate", "key", "server_name"):
            value = getattr(self, name)
            _require(value is None or isinstance(value, (str, os.PathLike)), f"tls: {name}={value!r} is no text")
        _require((self.certificate is None) == (self.key is None), "tls: certificate and key go together")
        if self.key is not None:
            _warn_of_readers(self.key)

    def read(self, name: str) -> Optional[bytes]:
        """Content of the file that the field `name` points to; None if it is not set."""
        path = getattr(self, name)
        try:
            return None if path is None else Path(path).read_bytes()
        except OSError as error:
            raise InvalidRequest(f"tls: {name}={path!r} can't be read: {error.strerror}") from None


@functools.cache
def _warn_of_readers(key: str) -> None:
    """Says, once in a process, that all may read a private key."""
    with contextlib.suppress(OSError):  # what can't be read is an error where it is read
        if os.stat(key).st_mode & stat.S_IROTH:
            _LOGGER.warning("tls: key=%r is a private key, and all may read it: chmod o-r", key)


@dataclass(frozen=True)
class Retry:
    """When a failed attempt is made again. All calls only read, so each of them may be made twice.

    What may pass is tried again: nobody answers, the connection breaks (before or amid the answer), an attempt is out
    of time while the call is not. A server's own failure and an answer that makes no sense are tried again at another
    replica only; a wrong request and an unknown model never. An attempt at a replica that this call has not asked yet
    follows at once, whatever `attempts` and `budget` say while that one can be expected to answer, so that no call
    fails of a replica alone. Another attempt at the same one follows after a wait of `initial * multiplier ** n`
    seconds, at most `maximum`, of which the share `jitter` is random, or as long as an overloaded server asks for.

    Raises:
        InvalidRequest: a value out of its range.
    """

    attempts: int = 3
    """Attempts of a call in all; 1 for no retries, else each replica may be asked once."""
    initial: float = 0.1
    maximum: float = 1.0
    multiplier: float = 2.0
    jitter: float = 1.0
    """1 spreads a wait over all of [0, wait], so that clients don't come back together; 0 waits just so long."""
    attempt_timeout: Optional[float] = None
    """Seconds for one attempt, so that a server that hangs leaves time for another; by default all that is left. With
    several replicas the next one is asked anyway when its part of the time has come."""
    budget: float = 0.2
    """Retries and hedges that a call adds to what may be spent, so that a server that is down gets little more requests
    than usual."""
    reserve: int = 10
    """Retries and hedges that can be saved up; what there is to begin with."""

    def __post_init__(self) -> None:
        _check_numbers("retry", self)
        _require(isinstance(self.attempts, int), f"retry: attempts={self.attempts} must be a whole number")
        _require(self.attempts >= 1, f"retry: attempts={self.attempts} must be at least 1")
        _require(0 <= self.initial <= self.maximum, "retry: it must be 0 <= initial <= maximum")
        _require(1 <= self.multiplier <= 10, f"retry: multiplier={self.multiplier} must be in [1, 10]")
        _require(0 <= self.jitter <= 1, f"retry: jitter={self.jitter} must be in [0, 1]")
        _require(self.attempt_timeout is None or self.attempt_timeout > 0, "retry: attempt_timeout must be above 0")
        _require(self.budget >= 0 and self.reserve >= 0, "retry: budget and reserve must be at least 0")

    def wait(self, retry: int, random: float) -> float:
        """Seconds to wait before retry number `retry`, the first being 0; `random` is in [0, 1)."""
        longest = min(self.maximum, self.initial * self.multiplier ** min(retry, 300))
        return longest * (1 - self.jitter * random)


@dataclass(frozen=True)
class Hedge:
    """Asks a second time (another replica, if there is one) when an answer is late; the first answer wins.

    Cuts off the latency's tail at the price of some more requests, which `Retry.budget` bounds.

    Raises:
        InvalidRequest: a value out of its range.
    """

    quantile: float = 0.95
    """An answer is late when it takes longer than this quantile of the same method's latest ones."""
    after: Optional[float] = None
    """Or when it takes longer than these seconds."""
    samples: int = 100
    """Answers that the quantile needs; nothing is hedged before."""

    def __post_init__(self) -> None:
        _check_numbers("hedge", self)
        _require(0 < self.quantile < 1, f"hedge: quantile={self.quantile} must be in (0, 1)")
        _require(self.after is None or self.after >= 0, f"hedge: after={self.after} must be at least 0")
        _require(self.samples >= 1, f"hedge: samples={self.samples} must be at least 1")


@dataclass(frozen=True)
class Breaker:
    """Leaves a replica that fails alone for a while.

    Opens when of at least `calls` attempts within `window` seconds the share `threshold` failed (not: were refused as
    wrong). After `cooldown` seconds one attempt is let through: it closes the breaker, or opens it again.

    Raises:
        InvalidRequest: a value out of its range.
    """

    threshold: float = 0.5
    calls: int = 10
    window: float = 10.0
    cooldown: float = 5.0

    def __post_init__(self) -> None:
        _check_numbers("breaker", self)
        _require(0 < self.threshold <= 1, f"breaker: threshold={self.threshold} must be in (0, 1]")
        _require(self.calls >= 1, f"breaker: calls={self.calls} must be at least 1")
        _require(self.window > 0 and self.cooldown > 0, "breaker: window and cooldown must be above 0")


@dataclass(frozen=True)
class Connection:
    """How to connect: what the transports are opened with."""

    tls: Optional[Tls] = None
    compression: Optional[str] = None
    keepalive: Optional[float] = None
    proxy: bool = False

    def __post_init__(self) -> None:
        of_type("tls", self.tls, Tls)
        for name in ("ca", "certificate", "key"):
            if self.tls:
                self.tls.read(name)
        _require(self.compression in (None, "gzip"), f"compression {self.compression!r}: it is 'gzip' or None")
        if self.keepalive is not None:
            seconds("keepalive", self.keepalive)


def seconds(name: str, value: object) -> float:
    """A time that can be waited for.

    Raises:
        InvalidRequest: it is none.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value <= _LONGEST:  # type: ignore[operator]
        raise InvalidRequest(f"{name}={value!r}: it must be a number of seconds above 0, at most {_LONGEST:.0f}")
    return float(value)  # type: ignore[arg-type]


def of_type(name: str, value: object, *types: type) -> None:
    """Makes sure that an argument is None or of one of the types.

    Raises:
        InvalidRequest: it is neither.
    """
    kinds = " or ".join(kind.__name__ for kind in types)
    _require(value is None or isinstance(value, types), f"{name}={value!r}: it is a {kinds}, or None")


def checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Names in lower case, as gRPC wants them.

    Raises:
        InvalidRequest: what can't be sent as a header.
    """
    of_type("metadata", metadata, Mapping)
    for name, value in metadata.items():
        _require(
            isinstance(name, str) and re.fullmatch(r"[0-9A-Za-z_.-]+", name) and not name.lower().endswith("-bin"),
            f"metadata: {name!r} is no header's name",
        )
        # The value may be a secret, so that it isn't shown.
        _require(
            isinstance(value, str) and re.fullmatch(r"[ -~]*", value),
            f"metadata: the value of {name!r} must be a text of printable ASCII letters",
        )
    return {name.lower(): value for name, value in metadata.items()}


def _check_numbers(kind: str, policy: Any) -> None:
    for field in fields(policy):
        value = getattr(policy, field.name)
        fine = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        optional = value is None and field.default is None
        _require(fine or optional, f"{kind}: {field.name}={value!r} must be a number")


def _require(ok: object, message: str) -> None:
    if not ok:
        raise InvalidRequest(message)
