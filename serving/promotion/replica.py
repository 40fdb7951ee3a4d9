"""One model server that promotion talks to: its config is replaced, its versions and labels are asked for."""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Sequence
from typing import Any, Optional

import grpc
from google.protobuf import wrappers_pb2

from serving.client import (
    DeadlineExceeded,
    ModelNotFound,
    RecommenderClient,
    RecommenderError,
    ServerUnavailable,
    Tls,
    VersionStatus,
)
from serving.client.calls import parse_target
from serving.promotion.errors import PromotionFailed, ReplicaDown, WrongPromotion

_EVERY = "dns:///"
_ANSWER_SECONDS = 10.0
_POLL_SECONDS = 0.1
_NO_LEAVE = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
_FAILED_SECONDS = 3.0
"""A version's end with an error may be that of an earlier load; it counts when it lasts so long after a reload."""


def every_replica(targets: Sequence[str]) -> tuple[str, ...]:
    """Puts all addresses of a name in place of `dns:///name:port`: that of a headless Service has one for each replica.

    Raises:
        WrongPromotion: the name has none.
    """
    found: list[str] = []
    for target in targets:
        if not target.startswith(_EVERY):
            found.append(target)
            continue
        host, port = parse_target(target[len(_EVERY) :], "grpc")
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise WrongPromotion(f"{target}: the name has no address: {error}; are its replicas ready?") from None
        # Of one family: a replica may have an address of each.
        addresses = sorted({str(answer[4][0]) for answer in answers if answer[0] == answers[0][0]})
        found += [f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address in addresses]
    return tuple(found)


class Replica:
    """A model server: TensorFlow Serving or the embedded one.

    Args:
        target: `host:port` of gRPC.
        tls: connect by TLS.

    All methods raise `ReplicaDown` if nobody answers, and `PromotionFailed` if the server refuses or fails.
    """

    def __init__(self, target: str, tls: Optional[Tls] = None):
        self.target = target
        self._tls = tls

    def client(self, model: str, version: Optional[int] = None, label: Optional[str] = None) -> RecommenderClient:
        """A client of one version or label, which doesn't ask again when an attempt fails."""
        return RecommenderClient(
            self.target, model=model, version=version, label=label, timeout=_ANSWER_SECONDS, tls=self._tls, retry=None
        )

    def states(self, model: str) -> dict[int, VersionStatus]:
        """States of the model's versions by number; empty if the server doesn't know the model."""
        try:
            with self.client(model) as client:
                return {status.version: status for status in client.status()}
        except ModelNotFound:
            return {}
        except (ServerUnavailable, DeadlineExceeded) as error:
            raise ReplicaDown(f"{self.target}: {error}") from None
        except RecommenderError as error:
            raise PromotionFailed(f"{self.target}: {error}") from None

    def labelled(self, model: str, label: str) -> int:
        """The version that answers requests by `label`.

        It is asked for the metadata: TensorFlow Serving's GetModelStatus takes no notice of labels.
        """
        try:
            with self.client(model, label=label) as client:
                return client.metadata().version
        except (ServerUnavailable, DeadlineExceeded) as error:
            raise ReplicaDown(f"{self.target}: {error}") from None
        except RecommenderError as error:
            raise PromotionFailed(f"{self.target}: label {label!r} isn't answered: {error}") from None

    def reload(self, config: Any) -> None:
        """Replaces the server's config by a `tensorflow.serving.ModelServerConfig`.

        The versions that it names may not be loaded yet when this returns.
        """
        error = self._send(config.SerializeToString())
        if error is None or error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return  # in time: it was taken on and waits for its versions; or nobody is there, which will show
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            raise ReplicaDown(f"{self.target}: no answer to a new config: {error.details()}")
        raise PromotionFailed(f"{self.target} refuses the new config: {error.code().name}: {error.details()}")

    def check_leave(self) -> None:
        """Makes sure that the server takes configs from here: it is sent an empty one, which changes nothing."""
        error = self._send(b"")
        if error is not None and error.code() in _NO_LEAVE:
            raise PromotionFailed(
                f"{self.target} takes no config from here: {error.code().name}: {error.details()}; name the port that"
                " does by serving.replicas or --target, such as the embedded server's --admin_port, or a client's"
                " certificate by serving.tls"
            )

    def _send(self, config: bytes) -> Optional[grpc.RpcError]:
        # A ReloadConfigRequest is the config in field 1, a message; a BytesValue with its bytes is the same on the
        # wire. The class itself would import TensorFlow.
        request = wrappers_pb2.BytesValue(value=config)
        with self._channel() as channel:
            call = channel.unary_unary(
                "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
                wrappers_pb2.BytesValue.SerializeToString,
                bytes,
            )
            try:
                call(request, timeout=_ANSWER_SECONDS)
            except grpc.RpcError as error:
                return error
        return None

    def _channel(self) -> grpc.Channel:
        options: list[tuple[str, Any]] = [("grpc.enable_http_proxy", 0)]
        if self._tls is None:
            return grpc.insecure_channel(self.target, options=options)
        if self._tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self._tls.server_name))
        pem = [self._tls.read(name) for name in ("ca", "key", "certificate")]
        return grpc.secure_channel(self.target, grpc.ssl_channel_credentials(*pem), options=options)

    def wait_available(self, model: str, versions: Collection[int], timeout: float) -> None:
        """Waits until all of `versions` answer; fails at once if one can't be loaded."""
        deadline = time.monotonic() + timeout
        failing_since: Optional[float] = None
        while True:
            states = self.states(model)
            missing = sorted(v for v in versions if v not in states or not states[v].available)
            if not missing:
                return
            now = time.monotonic()
            failed = [states[v] for v in missing if v in states and states[v].error_code]
            failing_since = (failing_since or now) if failed else None
            if failing_since is not None and now - failing_since > _FAILED_SECONDS:
                raise PromotionFailed(
                    f"{self.target}: version {failed[0].version} can't be loaded: {failed[0].error_message}"
                )
            if now > deadline:
                state = states[missing[0]].state if missing[0] in states else "unknown: is it in its base path?"
                raise PromotionFailed(
                    f"{self.target}: version {missing[0]} isn't available after {timeout:g} s (its state: {state})"
                )
            time.sleep(_POLL_SECONDS)

    def wait_unloaded(self, model: str, versions: Collection[int], timeout: float) -> None:
        """Waits until none of `versions` answers."""
        deadline = time.monotonic() + timeout
        while True:
            states = self.states(model)
            left = sorted(v for v in versions if v in states and states[v].state != "END")
            if not left:
                return
            if time.monotonic() > deadline:
                raise PromotionFailed(f"{self.target}: version {left[0]} isn't unloaded after {timeout:g} s")
            time.sleep(_POLL_SECONDS)
