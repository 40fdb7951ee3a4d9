"""HTTP/JSON to TensorFlow Serving's REST API, with the standard library alone."""

from __future__ import annotations

import base64
import http.client
import json
import math
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Optional
from urllib.parse import quote

from serving.client import tensors, transport
from serving.client.errors import RecommenderError, ServerError
from serving.client.results import ModelMetadata, Signature, TensorSpec, VersionStatus
from serving.client.tensors import Tensor
from serving.client.transport import ModelRef

_KINDS = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}
_DTYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16"}


class RestTransport:
    """The REST transport; thread-safe, keeps idle connections for the next request."""

    def __init__(self, host: str, port: int):
        self._host, self._port = host, port
        self._target = f"http://{host}:{port}"
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._closed = False

    def predict(
        self, model: ModelRef, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str], timeout: float
    ) -> tuple[dict[str, Tensor], Optional[int]]:
        """See `Transport`. The answer doesn't tell the version."""
        body = {"signature_name": signature, "inputs": {name: _nested(tensor) for name, tensor in inputs.items()}}
        answer = self._request("POST", _path(model) + ":predict", model, timeout, body)
        found = answer.get("outputs")
        if "outputs" not in answer or found is None:
            raise ServerError(f"{self._target} answered no 'outputs'")
        if isinstance(found, dict):
            values = {name: tensors.from_json(value) for name, value in found.items()}
        else:  # the only output comes without its name
            values = {outputs[0] if outputs else "": tensors.from_json(found)}
        return values, model.version

    def status(self, model: ModelRef, timeout: float) -> list[VersionStatus]:
        """See `Transport`."""
        answer = self._request("GET", _path(model), model, timeout)
        try:
            return [
                VersionStatus(
                    version=int(s["version"]),
                    state=s["state"],
                    error_code=0 if s["status"]["error_code"] == "OK" else 2,
                    error_message=s["status"]["error_message"],
                )
                for s in answer["model_version_status"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise self._unreadable(error) from None

    def metadata(self, model: ModelRef, timeout: float) -> ModelMetadata:
        """See `Transport`."""
        answer = self._request("GET", _path(model) + "/metadata", model, timeout)
        try:
            return ModelMetadata(
                name=answer["model_spec"]["name"],
                version=int(answer["model_spec"]["version"]),
                signatures={
                    name: Signature(
                        inputs={k: _tensor_spec(v) for k, v in s["inputs"].items()},
                        outputs={k: _tensor_spec(v) for k, v in s["outputs"].items()},
                    )
                    for name, s in answer["metadata"]["signature_def"]["signature_def"].items()
                },
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._unreadable(error) from None

    def close(self) -> None:
        """See `Transport`."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _request(
        self, method: str, path: str, model: ModelRef, timeout: float, body: Optional[dict[str, Any]] = None
    ) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        deadline = time.monotonic() + timeout
        try:
            status, payload = self._exchange(method, path, data, deadline)
        except (TimeoutError, socket.timeout):
            raise transport.deadline_exceeded(self._target, timeout) from None
        except (http.client.RemoteDisconnected, http.client.IncompleteRead):
            raise transport.unavailable(self._target, "it closed the connection before its answer was whole") from None
        except http.client.HTTPException as error:
            detail = f"{type(error).__name__} {error}".strip()
            raise transport.not_a_model_server(self._target, detail, "REST port") from None
        except OSError as error:
            raise transport.unavailable(self._target, error.strerror or str(error)) from None
        if status == 413:
            raise transport.from_status("INVALID_ARGUMENT", "the request is too large", self._target, model)
        try:
            answer = json.loads(payload)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or (status != 200 and not isinstance(answer.get("error"), str)):
            detail = f"HTTP {status} with {payload[:80]!r}"
            raise transport.not_a_model_server(self._target, detail, "REST port")
        if status == 200:
            return answer
        if status == 504:
            raise transport.deadline_exceeded(self._target, timeout)
        raise transport.from_status(_KINDS.get(status, f"HTTP {status}"), answer["error"], self._target, model)

    def _exchange(self, method: str, path: str, data: Optional[bytes], deadline: float) -> tuple[int, bytes]:
        connection, reused = self._take()
        while True:
            try:
                return self._exchange_on(connection, method, path, data, deadline)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                # The server closed an idle connection just as it was to be used again: a new one is not a retry.
                if not reused:
                    raise
                connection, reused = _Connection(self._host, self._port), False

    def _exchange_on(
        self, connection: _Connection, method: str, path: str, data: Optional[bytes], deadline: float
    ) -> tuple[int, bytes]:
        try:
            connection.deadline = deadline
            connection.request(method, path, data, {"Content-Type": "application/json"} if data is not None else {})
            response = connection.getresponse()
            payload = response.read()
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._give_back(connection)
        return response.status, payload

    def _take(self) -> tuple[_Connection, bool]:
        with self._lock:
            if self._closed:
                raise RecommenderError("the client is closed")
            if self._idle:
                return self._idle.pop(), True
        return _Connection(self._host, self._port), False

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _unreadable(self, error: Exception) -> ServerError:
        detail = f"{type(error).__name__} {error}"
        return transport.not_a_model_server(self._target, detail, "REST port")


class _DeadlineSocket(socket.socket):
    """A socket whose every read and write ends at `deadline`, so that a server that drips can't outlast it."""

    deadline = float("inf")

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._arm()
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self._arm()
        super().sendall(*args, **kwargs)

    def _arm(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(left)


class _Connection(http.client.HTTPConnection):
    """An HTTP connection with one deadline for the whole exchange."""

    deadline = float("inf")

    def connect(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        plain = socket.create_connection((self.host, self.port), left)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = _DeadlineSocket(fileno=plain.detach())
        self.sock.deadline = self.deadline

    def request(self, *args: Any, **kwargs: Any) -> None:
        if isinstance(self.sock, _DeadlineSocket):
            self.sock.deadline = self.deadline
        super().request(*args, **kwargs)


def _path(model: ModelRef) -> str:
    path = f"/v1/models/{quote(model.name, safe='')}"
    if model.version is not None:
        return f"{path}/versions/{model.version}"
    return f"{path}/labels/{quote(model.label, safe='')}" if model.label is not None else path


def _nested(tensor: Tensor) -> Any:
    """The tensor as nested lists; bytes as base64 objects."""
    values: list[Any] = [{"b64": base64.b64encode(v).decode()} if isinstance(v, bytes) else v for v in tensor.values]
    for axis in range(len(tensor.shape) - 1, 0, -1):
        size = tensor.shape[axis]
        values = [values[i * size : (i + 1) * size] for i in range(math.prod(tensor.shape[:axis]))]
    return values if tensor.shape else values[0]


def _tensor_spec(info: Mapping[str, Any]) -> TensorSpec:
    name = info["dtype"]
    dtype = _DTYPES.get(name, name[3:].lower() if name.startswith("DT_") else name)
    shape = info["tensor_shape"]
    if shape["unknown_rank"]:
        return TensorSpec(dtype, None)
    sizes = [int(dim["size"]) for dim in shape["dim"]]
    return TensorSpec(dtype, tuple(None if size < 0 else size for size in sizes))
