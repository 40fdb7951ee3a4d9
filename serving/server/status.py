"""The one exception by which the server refuses a request, with gRPC's canonical codes and their HTTP twins."""

from __future__ import annotations

import grpc

_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}

_HTTP = {  # tensorflow_serving/model_servers/http_server.cc, ToHTTPStatusCode
    grpc.StatusCode.OK: "200 OK",
    grpc.StatusCode.CANCELLED: "499 Client Closed Request",
    grpc.StatusCode.INVALID_ARGUMENT: "400 Bad Request",
    grpc.StatusCode.DEADLINE_EXCEEDED: "504 Gateway Timeout",
    grpc.StatusCode.NOT_FOUND: "404 Not Found",
    grpc.StatusCode.ALREADY_EXISTS: "409 Conflict",
    grpc.StatusCode.PERMISSION_DENIED: "403 Forbidden",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "429 Too Many Requests",
    grpc.StatusCode.FAILED_PRECONDITION: "400 Bad Request",
    grpc.StatusCode.ABORTED: "409 Conflict",
    grpc.StatusCode.OUT_OF_RANGE: "400 Bad Request",
    grpc.StatusCode.UNIMPLEMENTED: "501 Not Implemented",
    grpc.StatusCode.UNAVAILABLE: "503 Service Unavailable",
    grpc.StatusCode.UNAUTHENTICATED: "401 Unauthorized",
}


class StatusError(Exception):
    """A request fails with `code` and `message`, which both reach the client.

    So do the seconds after which it may try again, if they are above 0.
    """

    def __init__(self, code: grpc.StatusCode, message: str, retry_after: float = 0.0):
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


def invalid(message: str) -> StatusError:
    """INVALID_ARGUMENT."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    """NOT_FOUND."""
    return StatusError(grpc.StatusCode.NOT_FOUND, message)


def overloaded(message: str, retry_after: float) -> StatusError:
    """RESOURCE_EXHAUSTED: there is too much to do."""
    return StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, f"The server has too much to do: {message}", retry_after)


def code_of(number: int) -> grpc.StatusCode:
    """The status code of TensorFlow's error code, which has the same number."""
    return _BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN)


def http_status(code: grpc.StatusCode) -> str:
    """The HTTP status line's end for a gRPC code, as TensorFlow Serving maps them."""
    return _HTTP.get(code, "500 Internal Server Error")
