"""The client's metrics as Prometheus reads them."""

from __future__ import annotations

import pytest

from serving.client import AnswerLog, RecommenderClient, Retry
from tests.serving.misbehaving import Fail, FakeServer, Reply, sequence


def test_metrics_for_prometheus(transport):
    prometheus_client = pytest.importorskip("prometheus_client")
    from serving.client.prometheus import MetricsCollector

    with (
        FakeServer(transport, sequence(Fail(), Reply())) as server,
        RecommenderClient(server.target, model="m", transport=transport, retry=Retry(initial=0.01)) as client,
    ):
        client.recommend("ann")
        client.recommend("ann")
        registry = prometheus_client.CollectorRegistry()
        registry.register(MetricsCollector(client.metrics))
        shown = prometheus_client.generate_latest(registry).decode()
        latency = client.metrics.snapshot().latency["recommend", ""]
    assert 'recommender_client_calls_total{label="",method="recommend",outcome="ok"} 2.0' in shown
    assert f'_attempts_total{{method="recommend",outcome="ok",target="{server.target}"}} 2.0' in shown
    assert 'recommender_client_events_total{event="retry"} 1.0' in shown
    assert 'recommender_client_latency_seconds_bucket{label="",le="+Inf",method="recommend"} 2.0' in shown
    assert 'recommender_client_latency_seconds_count{label="",method="recommend"} 2.0' in shown
    assert sum(latency.counts) == 2
    assert 0 < latency.seconds < 10


def test_what_was_logged(tmp_path):
    prometheus_client = pytest.importorskip("prometheus_client")
    from serving.client.prometheus import AnswerLogCollector

    with AnswerLog(tmp_path) as log:
        log.add(lambda: [{}, {}])
    registry = prometheus_client.CollectorRegistry()
    registry.register(AnswerLogCollector(log))
    shown = prometheus_client.generate_latest(registry).decode()
    assert 'recommender_client_logged_answers_total{outcome="written"} 2.0' in shown
