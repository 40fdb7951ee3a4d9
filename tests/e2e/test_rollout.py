"""Push, canary, promote and rollback under load, with promoters that are killed; and the counting itself by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.rollout import Outcome, Phase, Request, is_right, run, summary

PHASES = [
    Phase(0.0, {"stable": {1}, None: {1}}, 10.0),
    Phase(10.0, {"stable": {1, 2}, None: {1, 2}}, 12.0),
    Phase(12.0, {"stable": {2}, None: {2}}),
]


@pytest.mark.parametrize(
    ("start", "end", "version", "right"),
    [
        (1.0, 2.0, 1, True),
        (1.0, 2.0, 2, False),  # not promoted yet
        (9.9, 10.1, 2, True),  # it ended while the promoter worked
        (11.9, 12.5, 1, True),
        (12.1, 12.5, 1, False),  # promoted before it began
        (12.1, 12.5, 0, False),
    ],
)
def test_which_version_is_right(start: float, end: float, version: int, right: bool) -> None:
    request = Request("grpc", "stable", start, start, end, version)
    assert is_right(request, PHASES) == right
    assert Outcome([request], PHASES).wrong() == ([] if right else [request])


def test_failures_are_not_wrong_versions_and_latencies_count_from_when_they_were_due() -> None:
    failed = Request("rest", None, 20.0, 20.0, 30.0, error="refused")
    late = [Request("rest", None, 21.0 + n / 1000, 21.5, 21.6, 2) for n in range(101)]
    outcome = Outcome([failed, *late], PHASES)
    assert outcome.failed() == [failed]
    assert outcome.wrong() == []
    # Latencies are 500 to 600 ms in steps of 1 ms; the 99th percentile of 101 values is the second largest but one.
    assert outcome.p99_by_second((21.0, 22.0)) == pytest.approx(np.array([599.0]))
    assert outcome.p99_by_second((20.0, 22.0)) == pytest.approx(np.array([10_000.0, 599.0]))
    assert "1 failed" in summary(Outcome([failed, *late], PHASES, calm=(20.0, 21.0), rounds=(21.0, 22.0)))


@pytest.mark.slow
def test_no_request_is_dropped_or_misled(tmp_path: Path) -> None:
    rounds = 6  # twenty are in `python -m benchmarks.rollout`
    outcome = run(tmp_path, rounds=rounds, items=10_000, rate=10.0, calm=2.0, seed=1)
    print(summary(outcome))
    assert outcome.failed() == []
    assert outcome.wrong() == []
    assert sum(outcome.kills.values()) >= rounds // 4
    for transport in ("grpc", "rest"):
        for label in ("stable", "canary"):
            asked = {r.version for r in outcome.requests if (r.transport, r.label) == (transport, label)}
            assert asked == set(range(2, rounds + 3))  # each version had its time
