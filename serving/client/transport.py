"""What a transport (gRPC, REST) does for the client, and the message texts that both share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional, Protocol

from serving.client.errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    RecommenderError,
    ServerError,
    ServerUnavailable,
)
from serving.client.results import ModelMetadata, VersionStatus
from serving.client.tensors import Tensor


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


class Transport(Protocol):
    """Carries requests to the server; raises only `RecommenderError`s; every call ends within `timeout` seconds."""

    def predict(
        self, model: ModelRef, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str], timeout: float
    ) -> tuple[dict[str, Tensor], Optional[int]]:
        """Returns the `outputs` (all if empty) of the signature and the version that answered, if known."""

    def status(self, model: ModelRef, timeout: float) -> list[VersionStatus]:
        """Returns the states of the model's versions."""

    def metadata(self, model: ModelRef, timeout: float) -> ModelMetadata:
        """Returns the model's signatures."""

    def close(self) -> None:
        """Closes the connections."""


def unavailable(target: str, detail: str) -> ServerUnavailable:
    """Nobody answers."""
    return ServerUnavailable(f"no model server at {target}: {detail}")


def deadline_exceeded(target: str, timeout: float) -> DeadlineExceeded:
    """Nobody answers in time."""
    return DeadlineExceeded(f"no answer from {target} within {timeout:g} s: give it more time or see what it is doing")


def not_a_model_server(target: str, detail: str, hint: str) -> ServerError:
    """Somebody else answers."""
    return ServerError(f"what answers at {target} isn't TensorFlow Serving's {hint}: {detail}")


def from_status(kind: str, detail: str, target: str, model: ModelRef) -> RecommenderError:
    """The error for an answer of the server with gRPC status name `kind`."""
    if kind == "NOT_FOUND":
        return ModelNotFound(f"model {model} isn't served at {target}: {detail}")
    too_large = kind == "RESOURCE_EXHAUSTED" and "larger than max" in detail
    if too_large or kind in ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"):
        return InvalidRequest(f"{target} refused the request: {detail}")
    if kind == "UNAVAILABLE":
        return unavailable(target, detail)
    return ServerError(f"{target} failed with {kind}: {detail}")
