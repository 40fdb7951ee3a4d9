"""Spans of a client's attempts by OpenTelemetry; needs the package opentelemetry-api, which the client does not."""

from __future__ import annotations

from typing import Any, Optional

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.client.engine import Attempt, Interceptor


class Spans(Interceptor):
    """A span of kind CLIENT for each attempt, child of the span that the call is made in, and parent of the server's.

        RecommenderClient("localhost:8500", model="movielens-100k", interceptors=[Spans()])

    Args:
        provider: a TracerProvider; by default the program's own.
    """

    def __init__(self, provider: Optional[trace.TracerProvider] = None):
        self._tracer = trace.get_tracer("serving.client", tracer_provider=provider)
        self._propagator = TraceContextTextMapPropagator()
        self._spans: dict[int, Any] = {}

    def before(self, attempt: Attempt) -> None:
        """Begins the attempt's span, and sends the trace's ids along."""
        attributes: dict[str, Any] = {
            "server.address": attempt.target,
            "recommender.method": attempt.method,
            "recommender.model": attempt.model.name,
            "recommender.attempt": attempt.number,
            "recommender.hedge": attempt.hedge,
        }
        if attempt.model.label is not None:
            attributes["recommender.label"] = attempt.model.label
        span = self._tracer.start_span(attempt.method, kind=trace.SpanKind.CLIENT, attributes=attributes)
        self._spans[id(attempt)] = span
        if span.get_span_context().is_valid:
            self._propagator.inject(attempt.metadata, trace.set_span_in_context(span))

    def after(self, attempt: Attempt) -> None:
        """Ends it."""
        span = self._spans.pop(id(attempt))
        span.set_attribute("recommender.outcome", attempt.outcome or "")
        if attempt.version is not None:
            span.set_attribute("recommender.version", attempt.version)
        if attempt.error is not None:
            span.set_status(trace.StatusCode.ERROR, str(attempt.error))
        span.end()
