"""What a transport (gRPC, REST) does for the client, and the message texts that both share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Protocol, Union

from serving.client.errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    RecommenderError,
    ServerError,
    ServerOverloaded,
    ServerUnavailable,
)
from serving.client.results import ModelMetadata, VersionStatus
from serving.client.tensors import Tensor

RETRY_AFTER = "retry-after"
"""HTTP's header, and gRPC's trailing metadata, in which a server says for how long it wants to be left alone."""
_FULL = "batch scheduling queue"
"""In TensorFlow Serving's message when a batch has no room for a request, which it calls UNAVAILABLE."""
_MAX_RETRY_AFTER = 60.0
"""Seconds that a server can ask to be left alone for."""


UNIX = "unix:"
"""What the host of a target begins with that is a UNIX socket."""


def address(host: str, port: int) -> str:
    """A target as gRPC and people write it."""
    return host if host.startswith(UNIX) else f"{host}:{port}"


@dataclass(frozen=True)
class ModelRef:
    """Which model is meant: the newest version by default, or one by number or label."""

    name: str
    version: Optional[int] = None
    label: Optional[str] = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.name!r} version {self.version}"
        return f"{self.name!r} label {self.label!r}" if self.label is not None else repr(self.name)


@dataclass(frozen=True)
class Predict:
    """Asks for the `outputs` (all if empty) of a signature; answered by tensors by name."""

    model: ModelRef
    method: str
    """The signature."""
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str] = ()


@dataclass(frozen=True)
class Status:
    """Asks for the states of the model's versions."""

    model: ModelRef
    method: str = "status"


@dataclass(frozen=True)
class Metadata:
    """Asks for the model's signatures."""

    model: ModelRef
    method: str = "metadata"


Request = Union[Predict, Status, Metadata]


@dataclass(frozen=True)
class Answer:
    """What the server said, and the version that did, if known."""

    value: Union[dict[str, Tensor], list[VersionStatus], ModelMetadata]
    version: Optional[int] = None
    request_id: str = ""
    """By which the server's log has the request."""
    missing: tuple[str, ...] = ()
    """The shards without whose items it is."""


@dataclass(frozen=True)
class Message:
    """A request with its form on the wire, which a transport's `encode` makes once for all attempts."""

    request: Request
    wire: Any
    timeout: float
    """Seconds."""
    metadata: Mapping[str, str] = field(default_factory=dict)


class Pending(Protocol):
    """A request under way; a `concurrent.futures.Future`, and gRPC's, are such."""

    def cancel(self) -> Any:
        """Gives it up, so that neither side goes on working on it."""


class Transport(Protocol):
    """Carries messages to one server; raises only `RecommenderError`s; every call ends within its timeout."""

    def send(self, message: Message) -> Answer:
        """Sends, and waits for the answer."""

    def start(self, message: Message, done: Callable[[Union[Answer, RecommenderError]], None]) -> Pending:
        """Sends; `done` is called with the answer or the error, from another thread."""

    def close(self) -> None:
        """Closes the connections."""


class AsyncTransport(Protocol):
    """As `Transport`, for asyncio; cancelling `send` cancels the request."""

    async def send(self, message: Message) -> Answer:
        """Sends, and waits for the answer."""

    async def close(self) -> None:
        """Closes the connections."""


def unavailable(target: str, detail: str) -> ServerUnavailable:
    """Nobody answers."""
    return ServerUnavailable(f"no model server at {target}: {detail}")


def deadline_exceeded(target: str, seconds: float, said: str = "") -> DeadlineExceeded:
    """Nobody answers in time, or the server says that it can't."""
    if said:
        given_up = DeadlineExceeded(f"{target} has given up: {said}")
        given_up.said = said
        return given_up
    return DeadlineExceeded(f"no answer from {target} within {seconds:g} s: give it more time or see what it is doing")


def not_a_model_server(target: str, detail: str, hint: str) -> ServerError:
    """Somebody else answers."""
    return ServerError(f"what answers at {target} isn't TensorFlow Serving's {hint}: {detail}")


def closed() -> RecommenderError:
    """The client was closed."""
    return RecommenderError("the client is closed")


def from_status(
    kind: str, detail: str, target: str, model: ModelRef, retry_after: Optional[str] = None
) -> RecommenderError:
    """The error for an answer of the server with gRPC status name `kind`; `retry_after` are seconds, as it says it."""
    if kind == "NOT_FOUND":
        return ModelNotFound(f"model {model} isn't served at {target}: {detail}")
    too_large = kind == "RESOURCE_EXHAUSTED" and "larger than max" in detail
    if too_large or kind in ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"):
        return InvalidRequest(f"{target} refused the request: {detail}")
    if kind == "RESOURCE_EXHAUSTED" or (kind == "UNAVAILABLE" and _FULL in detail):
        seconds = float(retry_after) if re.fullmatch(r"\d{1,6}(\.\d+)?", retry_after or "") else 0.0  # type: ignore[arg-type]
        return ServerOverloaded(f"{target} has too much to do: {detail}", min(seconds, _MAX_RETRY_AFTER))
    if kind == "CANCELLED":  # not by us: we don't wait for what we cancel
        return ServerOverloaded(f"{target} gave the request up, for it stops, or has far too much to do: {detail}")
    if kind == "UNAVAILABLE":
        return unavailable(target, detail)
    if kind in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return ServerError(f"{target} doesn't accept who asks (see the client's metadata and tls): {detail}")
    return ServerError(f"{target} failed with {kind}: {detail}")
