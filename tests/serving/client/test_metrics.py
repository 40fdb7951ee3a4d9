"""Counters and histograms of a client."""

from __future__ import annotations

from serving.client.metrics import BOUNDS, Histogram, Metrics


def test_a_bound_belongs_to_its_bucket():
    found = Histogram().with_one(0.001).with_one(0.0011).with_one(10.0).with_one(11.0)
    assert found.counts == (1, 1, *[0] * (len(BOUNDS) - 3), 1, 1)
    assert found.seconds == 0.001 + 0.0011 + 10.0 + 11.0


def test_a_snapshot_stays_as_it_is():
    metrics = Metrics()
    metrics.called("recommend", "", "ok", 0.5)
    metrics.attempted("recommend", "a:1", "ok")
    metrics.happened("fallback", 3)
    before = metrics.snapshot()
    metrics.called("recommend", "", "ok", 0.5)
    metrics.called("recommend", "canary", "ServerError", 0.5)
    metrics.happened("fallback")
    assert (before.calls, before.events) == ({("recommend", "", "ok"): 1}, {"fallback": 3})
    assert before.attempts == {("recommend", "a:1", "ok"): 1}
    after = metrics.snapshot()
    assert after.calls == {("recommend", "", "ok"): 2, ("recommend", "canary", "ServerError"): 1}
    assert after.latency["recommend", ""].seconds == 1.0
    assert sum(after.latency["recommend", "canary"].counts) == 1
    assert after.events == {"fallback": 4}
