"""What a client has done so far, counted."""

from __future__ import annotations

import bisect
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency histograms' buckets in seconds; a last bucket has no bound."""


@dataclass(frozen=True)
class Histogram:
    """Latencies of calls."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    """Calls in each bucket of `BOUNDS`, the last without a bound; not cumulative."""
    seconds: float = 0.0
    """The sum of all."""

    def with_one(self, seconds: float) -> Histogram:
        """The histogram with one more call."""
        place = bisect.bisect_left(BOUNDS, seconds)
        counts = (*self.counts[:place], self.counts[place] + 1, *self.counts[place + 1 :])
        return Histogram(counts, self.seconds + seconds)


@dataclass(frozen=True)
class Snapshot:
    """A client's counters at one moment.

    A method is a signature, such as `recommend`, or `status` or `metadata`. An outcome is `ok`, the name of the error's
    class, or `cancelled` (an attempt that lost against its hedge, or whose caller gave up). A label is that of the
    version which was asked for, empty without one.
    """

    calls: Mapping[tuple[str, str, str], int]
    """By method, label and outcome."""
    attempts: Mapping[tuple[str, str, str], int]
    """By method, target and outcome; a call makes one, or more by retries and hedges."""
    latency: Mapping[tuple[str, str], Histogram]
    """Of whole calls, with all their attempts and waits, by method and label."""
    events: Mapping[str, int]
    """How often: `retry`; `failover` (another replica was asked, which needs no budget); `hedge`; `hedge_won` (also by
    another replica that was asked beside a late one); `budget_spent` (a retry or hedge that the budget forbade);
    `circuit_opened`, `circuit_closed`; `canary_unknown` (a canary's query that went to the main version because the
    server has no such label); `fallback` (a list that was answered from the fall-back items); `partial` (an answer
    without the items of some shards)."""


@dataclass
class Metrics:
    """Counts; thread-safe."""

    _calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _attempts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _events: Counter[str] = field(default_factory=Counter)
    _latency: dict[tuple[str, str], Histogram] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def called(self, method: str, label: str, outcome: str, seconds: float) -> None:
        """A call has ended."""
        with self._lock:
            self._calls[method, label, outcome] += 1
            self._latency[method, label] = self._latency.get((method, label), Histogram()).with_one(seconds)

    def attempted(self, method: str, target: str, outcome: str) -> None:
        """An attempt has ended."""
        with self._lock:
            self._attempts[method, target, outcome] += 1

    def happened(self, event: str, times: int = 1) -> None:
        """One of the `Snapshot.events`."""
        with self._lock:
            self._events[event] += times

    def snapshot(self) -> Snapshot:
        """The counters as they are now."""
        with self._lock:
            return Snapshot(dict(self._calls), dict(self._attempts), dict(self._latency), Counter(self._events))
