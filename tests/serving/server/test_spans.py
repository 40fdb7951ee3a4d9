"""Spans of requests, as OpenTelemetry's own exporters get them."""

from __future__ import annotations

import json
import sys

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from tensorflow_serving.apis import model_pb2

from serving.client import ModelNotFound, RecommenderClient
from serving.client.otel import Spans as ClientSpans
from serving.server import observer, spans
from serving.server.observer import Observer
from serving.server.process import EMBEDDED, ServerProcess
from serving.server.settings import SettingsError
from tests.serving.fixtures import MODEL
from tests.serving.in_process import serve
from tests.serving.server.running import publish

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def exported():
    """A provider, and what it has exported."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter.get_finished_spans


def test_a_span_is_its_callers_child(exported):
    provider, finished = exported
    watch = Observer(0, spans.Spans(provider))
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": "a=b"}
    request = watch.begin("Predict", "GRPC", lambda: headers)
    observer.about(model_pb2.ModelSpec(name="m", version_label="stable", signature_name="recommend"), 7)
    watch.end(request, grpc.StatusCode.INTERNAL)
    (span,) = finished()
    assert (span.name, span.kind, span.status.status_code) == ("Predict", SpanKind.SERVER, StatusCode.ERROR)
    assert f"{span.context.trace_id:032x}" == request.trace_id == TRACE
    assert f"{span.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert dict(span.context.trace_state) == {"a": "b"}
    assert dict(span.attributes) == {
        "rpc.system": "grpc",
        "rpc.method": "Predict",
        "rpc.grpc.status_code": 13,
        "recommender.model": "m",
        "recommender.label": "stable",
        "recommender.signature": "recommend",
        "recommender.version": 7,
    }


def test_a_request_without_a_trace_begins_one(exported):
    provider, finished = exported
    watch = Observer(0, spans.Spans(provider))
    request = watch.begin("Predict", "GRPC", dict)
    watch.end(request, grpc.StatusCode.NOT_FOUND)  # the caller's fault
    (span,) = finished()
    assert (span.parent, span.status.status_code) == (None, StatusCode.UNSET)
    assert f"{span.context.trace_id:032x}" == request.request_id


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "no_such")
    with pytest.raises(SettingsError, match=r"there is no exporter no_such, only console.*: pip install"):
        spans.provider("x")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(SettingsError, match=r"--enable_opentelemetry: .*the extra `otel`"):
        spans.provider("x")


def test_the_environment_names_service_and_exporter(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert spans.provider("x").resource.attributes["service.name"] == "x"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "y")
    assert spans.provider("x").resource.attributes["service.name"] == "y"


@pytest.mark.slow
@pytest.mark.smoke
def test_client_and_server_in_one_trace(servable, tmp_path, exported, transport):
    provider, finished = exported
    options = {"watch": Observer(0, spans.Spans(provider))}
    with serve(servable, tmp_path, grpc=options, rest=options) as found:
        target = found.grpc_target if transport == "grpc" else found.rest_target
        settings = {"transport": transport, "interceptors": [ClientSpans(provider)]}
        with provider.get_tracer("test").start_as_current_span("page") as page:
            with RecommenderClient(target, model=MODEL, **settings) as client:
                client.recommend("ann")
            with RecommenderClient(target, model="nobody", **settings) as client, pytest.raises(ModelNotFound) as error:
                client.recommend("ann")
    assert error.value.request_id == f"{page.get_span_context().trace_id:032x}"
    by_kind = {kind: [span for span in finished() if span.kind is kind] for kind in SpanKind}
    assert {span.context.trace_id for span in finished()} == {page.get_span_context().trace_id}
    for asked, answered, outcome in zip(by_kind[SpanKind.CLIENT], by_kind[SpanKind.SERVER], ["ok", "ModelNotFound"]):
        assert asked.parent.span_id == page.get_span_context().span_id
        assert answered.parent.span_id == asked.context.span_id
        assert asked.attributes["recommender.outcome"] == outcome


@pytest.mark.slow
def test_a_server_with_opentelemetrys_own_exporter(servable, tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    (tmp_path / MODEL).mkdir()
    publish(servable, tmp_path / MODEL, 7)
    log = tmp_path / "log"
    metadata = {"traceparent": f"00-{TRACE}-{1:016x}-01"}
    server = ServerProcess(tmp_path, MODEL, binary=EMBEDDED, log_path=log, flags=["--enable_opentelemetry"])
    with server, RecommenderClient(server.grpc_target, model=MODEL, metadata=metadata) as client:
        client.recommend("ann")
    text = log.read_text()
    span, _ = json.JSONDecoder().raw_decode(text[text.index('{\n    "name": "Predict"') :])
    assert (span["kind"], span["context"]["trace_id"]) == ("SpanKind.SERVER", f"0x{TRACE}")
    assert span["resource"]["attributes"]["service.name"] == "recommender-server"
