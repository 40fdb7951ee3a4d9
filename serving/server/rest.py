"""The REST side: predict, status and metadata as TensorFlow Serving's HTTP API, a WSGI application on waitress."""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any, Callable, Optional
from urllib.parse import unquote

import grpc
import waitress
from tensorflow_serving.apis import model_pb2

from serving.server import json_tensor, tensors
from serving.server.core import ServerCore
from serving.server.servable import DEFAULT_SIGNATURE
from serving.server.status import StatusError, http_status, invalid, not_found
from serving.server.versions import VersionState

_LOGGER = logging.getLogger("serving.server")
_TARGET = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(rf"/v1/models/(?P<name>[^/:]+){_TARGET}:(?P<method>classify|regress|predict)", re.IGNORECASE)
_READ = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_TARGET}(?:/(?P<part>metadata))?", re.IGNORECASE)
_MAX_VERSION = (1 << 63) - 1

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class RestServer:
    """The REST server; binds at construction, answers after `start`.

    Args:
        core: what answers.
        listener: a bound socket; see `ports.bind`.
        threads: requests that run at the same time; more wait.
        timeout: seconds that a request may run.
        max_body_bytes: longest request.
    """

    def __init__(self, core: ServerCore, listener: socket.socket, threads: int, timeout: float, max_body_bytes: int):
        self.port: int = listener.getsockname()[1]
        self._application = _Application(core, timeout)
        self._settings = {
            "sockets": [listener],
            "threads": threads,
            "max_request_body_size": max_body_bytes,
            "ident": None,
            "clear_untrusted_proxy_headers": True,
            "asyncore_use_poll": True,  # select can't do more than 1,024 connections
            "connection_limit": 4096,
        }
        self._server: Any = None

    def start(self) -> None:
        """Starts to answer."""
        logging.getLogger("waitress").setLevel(logging.CRITICAL)  # it warns whenever a request has to wait
        self._server = waitress.create_server(self._application, **self._settings)
        threading.Thread(target=self._server.run, name="rest", daemon=True).start()

    def stop(self, grace: float) -> None:
        """Accepts no more connections, and waits up to `grace` seconds for the requests that run."""
        if self._server is None:
            return
        server, deadline = self._server, time.monotonic() + grace

        def close_what_is_idle() -> None:  # runs in the server's own loop
            if server.accepting:
                server.accepting = False
                server.del_channel()
                server.socket.close()
            for channel in list(server.active_channels.values()):
                if not channel.requests and channel.request is None and not channel.total_outbufs_len:
                    channel.will_close = True

        server.trigger.pull_trigger(close_what_is_idle)
        while time.monotonic() < deadline and (server.accepting or server.active_channels):
            time.sleep(0.01)
            server.trigger.pull_trigger(close_what_is_idle)


class _Application:
    """The WSGI application."""

    def __init__(self, core: ServerCore, timeout: float):
        self._core = core
        self._timeout = timeout

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        path = environ.get("REQUEST_URI", environ["PATH_INFO"]).partition("?")[0]
        try:
            status, body = "200 OK", self._answer(method, path, environ)
        except StatusError as error:
            status, body = http_status(error.code), _error(error.message)
        except Exception as error:
            _LOGGER.exception("a request failed")
            status, body = http_status(grpc.StatusCode.INTERNAL), _error(f"{type(error).__name__}: {error}")
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _answer(self, method: str, path: str, environ: dict[str, Any]) -> bytes:
        if not path.lower().startswith("/v1/"):
            raise not_found(f"Not found: {path}")
        pattern = {"POST": _PREDICT, "GET": _READ}.get(method)
        match = pattern.fullmatch(path) if pattern else None
        if match is None:
            raise invalid(f"Malformed request: {method} {path}")
        spec = _spec(match)
        if method == "POST":
            if match["method"].lower() != "predict":
                raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"{match['method']} is not served by this server")
            return self._predict(spec, environ["wsgi.input"].read())
        if not spec.name:
            raise invalid("Missing model name in request.")
        return self._metadata(spec) if match["part"] else _status_json(self._core.states(spec))

    def _predict(self, spec: model_pb2.ModelSpec, body: bytes) -> bytes:
        deadline = time.monotonic() + self._timeout
        document = json_tensor.parse(body)
        spec.signature_name = _utf8(document.get("signature_name", ""))
        with self._core.acquire(spec) as (_, servable):
            name = spec.signature_name or DEFAULT_SIGNATURE
            if name not in servable.signatures:
                raise invalid(f'Serving signature name: "{name}" not found in signature def')
            form, inputs = json_tensor.inputs_of(document, servable.signatures[name].inputs)
            outputs = servable.run(name, inputs, timeout=deadline - time.monotonic())
        return json_tensor.dumps(outputs, form)

    def _metadata(self, spec: model_pb2.ModelSpec) -> bytes:
        with self._core.acquire(spec) as (version, servable):
            signatures = servable.signatures
        return _json(
            {
                "model_spec": {"name": spec.name, "signature_name": "", "version": str(version)},
                "metadata": {
                    "signature_def": {
                        "signature_def": {name: _signature_json(signatures[name]) for name in sorted(signatures)}
                    }
                },
            }
        )


def _spec(match: re.Match[str]) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=_utf8(unquote(match["name"] or "")))
    version: Optional[str] = match["version"]
    if version is not None:
        digits = version.lstrip("0") or "0"
        if len(digits) > len(str(_MAX_VERSION)) or int(digits) > _MAX_VERSION:
            raise invalid(f"Failed to convert version: {version} to numeric.")
        spec.version.value = int(digits)
    elif match["label"] is not None:
        spec.version_label = _utf8(unquote(match["label"]))
    return spec


def _utf8(text: str) -> str:
    """Text that a protobuf string can hold."""
    return text.encode("utf-8", "replace").decode()


def _status_json(states: list[VersionState]) -> bytes:
    return _json(
        {
            "model_version_status": [
                {
                    "version": str(state.version),
                    "state": state.state,
                    "status": {"error_code": state.code.name, "error_message": state.message},
                }
                for state in states
            ]
        }
    )


def _signature_json(signature: Any) -> dict[str, Any]:
    return {
        "inputs": {name: _tensor_json(signature.inputs[name]) for name in sorted(signature.inputs)},
        "outputs": {name: _tensor_json(signature.outputs[name]) for name in sorted(signature.outputs)},
        "method_name": signature.method_name,
        "defaults": {},
    }


def _tensor_json(info: Any) -> dict[str, Any]:
    return {
        "dtype": tensors.enum_name(info.dtype),
        "tensor_shape": {
            "dim": [{"size": str(dim.size), "name": dim.name} for dim in info.tensor_shape.dim],
            "unknown_rank": info.tensor_shape.unknown_rank,
        },
        "name": info.name,
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


def _error(message: str) -> bytes:
    return json.dumps({"error": message}, ensure_ascii=False).encode("utf-8", "replace")
