"""A span for each request, by OpenTelemetry's own library (the extra `otel`), which decides where they go."""

from __future__ import annotations

import os
from importlib import metadata
from typing import Any, Optional

import grpc

from serving.server.observer import Request
from serving.server.settings import SettingsError

_EXPORTERS = "opentelemetry_traces_exporter"
"""The entry points by which packages tell of their exporters."""
_FAULTS = {
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNKNOWN,
}
"""Codes that are the server's fault, by OpenTelemetry's conventions for servers of gRPC."""


class Spans:
    """Spans of kind SERVER, children of the caller's.

    Args:
        provider: a TracerProvider; by default the program's own.
    """

    def __init__(self, provider: Any = None):
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace = trace
        self._tracer = trace.get_tracer("serving.server", tracer_provider=provider)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, request: Request) -> None:
        """Begins the request's span, in its caller's trace."""
        request.span = self._tracer.start_span(
            request.name,
            self._propagator.extract(request.headers),
            self._trace.SpanKind.SERVER,
            {"rpc.system": "grpc" if request.entrypoint == "GRPC" else "http", "rpc.method": request.name},
        )
        context = request.span.get_span_context()
        if context.is_valid:
            request.joins(self._trace.format_trace_id(context.trace_id))

    def end(self, request: Request, code: grpc.StatusCode) -> None:
        """Ends it."""
        for name, value in request.about().items():
            request.span.set_attribute(f"recommender.{name}", value)
        request.span.set_attribute("rpc.grpc.status_code", code.value[0])
        if code in _FAULTS:
            request.span.set_status(self._trace.StatusCode.ERROR, code.name)
        request.span.end()


def provider(service: str) -> Any:
    """A TracerProvider that goes by OpenTelemetry's variables of the environment.

    `OTEL_TRACES_EXPORTER` names the exporter (`otlp` unless it is said, `console`, any that is installed),
    `OTEL_TRACES_SAMPLER` which traces are recorded, `OTEL_SERVICE_NAME` the service, else it is `service`.

    Raises:
        SettingsError: OpenTelemetry or the exporter is not installed.
    """
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(
            f"--enable_opentelemetry: {error}: pip install opentelemetry-sdk (the extra `otel`)"
        ) from None
    exporter = _exporter(os.environ.get("OTEL_TRACES_EXPORTER", "otlp"))
    named = os.environ.get("OTEL_SERVICE_NAME", service)
    found = TracerProvider(resource=Resource.create({"service.name": named}))
    if exporter is not None:
        found.add_span_processor(BatchSpanProcessor(exporter))
    return found


def _exporter(name: str) -> Optional[Any]:
    if name == "none":
        return None
    if name == "otlp":
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        name = f"otlp_proto_{'grpc' if protocol == 'grpc' else 'http'}"
    found = {point.name: point for point in metadata.entry_points(group=_EXPORTERS)}
    if name not in found:
        package = f"opentelemetry-exporter-{name.replace('_', '-')}"
        raise SettingsError(
            f"--enable_opentelemetry: OTEL_TRACES_EXPORTER: there is no exporter {name}, only"
            f" {', '.join(sorted(found))}: pip install {package}"
        )
    return found[name].load()()
