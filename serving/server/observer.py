"""Which request a thread is at: its ids, in every line of the log, in errors and spans, and the access log."""

from __future__ import annotations

import functools
import logging
import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Callable, Optional

import grpc

from serving import traceparent

if TYPE_CHECKING:
    from serving.client.answer_log import AnswerLog
    from serving.server.spans import Spans

ACCESS = logging.getLogger("serving.server.access")
_CURRENT: ContextVar[Optional[Request]] = ContextVar("request", default=None)
_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_RANDOM_DIGITS = 14
"""Those of a trace's id that are random, the last, by which it is sampled (W3C, trace context, level 2)."""

Headers = Callable[[], Mapping[str, str]]
"""A request's headers by their names in lower case; called only if somebody asks for an id."""


class Request:
    """A request under way."""

    __slots__ = (
        "_headers",
        "_parent",
        "_request_id",
        "answered",
        "entrypoint",
        "name",
        "received",
        "span",
        "spec",
        "started",
        "version",
    )

    def __init__(self, name: str, entrypoint: str, headers: Headers):
        self.name = name
        """What is asked for, such as `Predict`."""
        self.entrypoint = entrypoint
        """`GRPC` or `REST`."""
        self.received = 0
        """Its bytes."""
        self.spec: Any = None
        """Its ModelSpec, as soon as that is known."""
        self.version: Optional[int] = None
        """The version that answers, likewise."""
        self.answered: Any = None
        """The inputs and the outputs of the model, as soon as there are any."""
        self.span: Any = None
        self.started = time.perf_counter()
        self._headers = headers
        self._parent: Optional[traceparent.TraceParent] = None
        self._request_id = ""

    @property
    def headers(self) -> Mapping[str, str]:
        """See `Headers`."""
        return self._headers()

    @property
    def trace_id(self) -> str:
        """That of the trace which the request belongs to, or of a new one."""
        if self._parent is None:
            self._parent = traceparent.parse(self.headers.get(traceparent.HEADER)) or traceparent.new()
        return self._parent.trace_id

    @property
    def request_id(self) -> str:
        """The caller's own id for it, or the trace's."""
        if not self._request_id:
            given = self.headers.get(traceparent.REQUEST_ID) or ""
            self._request_id = given if _REQUEST_ID.fullmatch(given) else self.trace_id
        return self._request_id

    def joins(self, trace_id: str) -> None:
        """The request's span belongs to this trace."""
        self._parent = traceparent.new()._replace(trace_id=trace_id)

    def about(self) -> dict[str, Any]:
        """What it asks for, as far as it has been read."""
        found: dict[str, Any] = {}
        if self.spec is not None:
            found["model"] = self.spec.name
            if self.spec.version_label:
                found["label"] = self.spec.version_label
            if self.spec.signature_name:
                found["signature"] = self.spec.signature_name
        if self.version is not None:
            found["version"] = self.version
        return found


class Observer:
    """What is told of every request.

    Args:
        access: the share of requests that the access log has, from 0 to 1. The trace's id decides, so that of a trace
            all servers have the same.
        spans: a span for each.
        answers: where recommendations are logged.
    """

    def __init__(self, access: float = 0.0, spans: Optional[Spans] = None, answers: Optional[AnswerLog] = None):
        self._from = round((1 - access) * 16**_RANDOM_DIGITS)
        self._access = access > 0
        self._spans = spans
        self._answers = answers

    def begin(self, name: str, entrypoint: str, headers: Headers) -> Request:
        """A request has come; what its thread, or task, writes into the log until `end` has its ids."""
        request = Request(name, entrypoint, headers)
        _CURRENT.set(request)
        if self._spans is not None:
            self._spans.begin(request)
        return request

    def end(self, request: Request, code: grpc.StatusCode, sent: int = 0) -> None:
        """It has ended with this code, and an answer of so many bytes."""
        if self._spans is not None:
            self._spans.end(request, code)
        if self._answers is not None and code is grpc.StatusCode.OK:
            self._log_answer(self._answers, request)
        if self._access and int(request.trace_id[-_RANDOM_DIGITS:], 16) >= self._from:
            fields = {
                "entrypoint": request.entrypoint,
                "method": request.name,
                "code": code.name,
                "seconds": round(time.perf_counter() - request.started, 6),
                "request_bytes": request.received,
                "response_bytes": sent,
                **request.about(),
            }
            ACCESS.info("access", extra={"fields": fields})
        _CURRENT.set(None)

    def _log_answer(self, log: AnswerLog, request: Request) -> None:
        from serving.server import answers  # here, where NumPy is loaded already

        about = request.about()
        if request.answered is None or about.get("signature") not in answers.LOGGED:
            return
        if log.takes(request.request_id):
            seconds = time.perf_counter() - request.started
            asked_at = time.time_ns() // 1000 - round(seconds * 1e6)
            records = functools.partial(answers.records, log, about, request.request_id, asked_at, seconds)
            log.add(functools.partial(records, *request.answered), answers.lists(request.answered[1]))


def current() -> Optional[Request]:
    """The request that this thread, or task, is at."""
    return _CURRENT.get()


def about(spec: Any, version: Optional[int] = None) -> None:
    """The current request, if there is one, is for this ModelSpec, and this version answers it."""
    request = _CURRENT.get()
    if request is not None:
        request.spec = spec
        request.version = version


def answered(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """The model's outputs for the current request, if there is one."""
    request = _CURRENT.get()
    if request is not None:
        request.answered = inputs, outputs


def unforeseen(error: BaseException) -> str:
    """The message for an exception that nobody expected, which is logged with the id that it names."""
    logging.getLogger("serving.server").error("a request failed", exc_info=error)
    request = _CURRENT.get()
    where = f" (request {request.request_id})" if request else ""
    return f"{type(error).__name__}: {error}{where}"
