"""A client's metrics for Prometheus; needs the package prometheus-client, which the client itself does not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from serving.client.answer_log import AnswerLog
from serving.client.metrics import BOUNDS, Metrics


class MetricsCollector(Collector):
    """Shows a client's metrics wherever a registry's are shown.

    prometheus_client.REGISTRY.register(MetricsCollector(client.metrics))
    """

    def __init__(self, metrics: Metrics):
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """The counters as they are now."""
        now = self._metrics.snapshot()
        calls = CounterMetricFamily(
            "recommender_client_calls", "Calls of the client.", labels=("method", "label", "outcome")
        )
        for key, count in now.calls.items():
            calls.add_metric(key, count)
        attempts = CounterMetricFamily(
            "recommender_client_attempts",
            "Requests that the client sent, retries and hedges among them.",
            labels=("method", "target", "outcome"),
        )
        for key, count in now.attempts.items():
            attempts.add_metric(key, count)
        events = CounterMetricFamily(
            "recommender_client_events", "Retries, hedges, circuits opened, fall-back lists.", labels=("event",)
        )
        for event, count in now.events.items():
            events.add_metric((event,), count)
        latency = HistogramMetricFamily(
            "recommender_client_latency_seconds", "Latency of whole calls.", labels=("method", "label")
        )
        for labels, histogram in now.latency.items():
            bounds = (*map(str, BOUNDS), "+Inf")
            latency.add_metric(
                labels, list(zip(bounds, itertools.accumulate(histogram.counts))), sum_value=histogram.seconds
            )
        yield from (calls, attempts, events, latency)


class AnswerLogCollector(Collector):
    """Shows how many answers were logged, and how many were left out, by why.

    prometheus_client.REGISTRY.register(AnswerLogCollector(log))
    """

    def __init__(self, log: AnswerLog):
        self._log = log

    def collect(self) -> Iterator[Metric]:
        """The counters as they are now."""
        answers = CounterMetricFamily(
            "recommender_client_logged_answers",
            "Answers logged, and left out, by why; deleted: files.",
            labels=("outcome",),
        )
        for outcome, count in self._log.counts().items():
            answers.add_metric((outcome,), count)
        yield answers
