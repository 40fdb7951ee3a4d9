"""Spans of attempts."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from serving import traceparent
from serving.client import RecommenderClient, Retry
from serving.client.otel import Spans
from tests.serving.misbehaving import Fail, FakeServer, Reply, sequence


def spans_of(provider: TracerProvider) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_each_attempt_has_its_span(transport):
    provider = TracerProvider()
    exporter = spans_of(provider)
    interceptor = Spans(provider)
    with FakeServer(transport, sequence(Fail(), Reply(version=3))) as server:
        options = {"transport": transport, "label": "stable", "retry": Retry(initial=0), "interceptors": [interceptor]}
        with RecommenderClient(server.target, model="m", **options) as client:
            client.recommend("a")
    first, second = exporter.get_finished_spans()
    assert {first.kind, second.kind} == {SpanKind.CLIENT}
    assert [span.attributes["recommender.outcome"] for span in (first, second)] == ["ServerUnavailable", "ok"]
    assert [span.attributes["recommender.attempt"] for span in (first, second)] == [1, 2]
    assert first.status.status_code is StatusCode.ERROR
    assert second.status.status_code is StatusCode.UNSET
    assert second.attributes["recommender.label"] == "stable"
    assert second.attributes.get("recommender.version") == (3 if transport == "grpc" else None)
    sent = [traceparent.parse(seen.headers["traceparent"]) for seen in server.seen]
    assert [parent.parent_id for parent in sent] == [f"{span.context.span_id:016x}" for span in (first, second)]
    assert [parent.flags & 1 for parent in sent] == [1, 1]
    assert not interceptor._spans


def test_without_a_span_the_clients_own_ids_go_along():
    provider = TracerProvider(sampler=ALWAYS_OFF)
    exporter = spans_of(provider)
    server, interceptors = FakeServer("grpc"), [Spans(provider)]
    with server, RecommenderClient(server.target, model="m", interceptors=interceptors) as client:
        client.recommend("a")
    assert not exporter.get_finished_spans()
    assert traceparent.parse(server.seen[0].headers["traceparent"]).flags & 1 == 0
