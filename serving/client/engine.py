"""Which attempts a call makes, when, and at which replica: retries, hedges, breakers and deadlines, without any I/O.

A call is a generator of steps. A driver, the blocking client or the asyncio one, does what each step says and sends
back what came of it, so that both behave the same.
"""

from __future__ import annotations

import itertools
import logging
import math
import random
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable, NamedTuple, Optional, TypeVar, Union

from serving import traceparent
from serving.client import transport
from serving.client.errors import (
    FAILURES,
    CircuitOpen,
    DeadlineExceeded,
    RecommenderError,
    ServerError,
    ServerOverloaded,
    ServerUnavailable,
)
from serving.client.metrics import Metrics
from serving.client.policies import Breaker, Hedge, Retry, checked_metadata
from serving.client.transport import Answer, Message, ModelRef, Request

T = TypeVar("T")
_Kind = tuple[str, int]

_LOGGER = logging.getLogger("serving.client")
_LATENCIES = 500
"""The latest answers of a method, which the hedge's quantile is taken of."""
_DECAY = 0.99
"""What the slowest answer of a method counts after one more: half after 69."""
_MARGIN = 4
"""An attempt may be cut off, and a replica in doubt is given up, after so many times as long as answers take."""
_LOST_IN_A_ROW = 3
"""Hedges in a row that a replica may lose; a sound one loses some by chance."""
_LONGEST_WAIT = 3600.0
"""Seconds that a thread waits at a time."""
_PAUSE, _LONGEST_PAUSE = 0.25, 2.0
"""Seconds for which a replica that failed is asked last: the first, and after more failures."""


@dataclass
class Attempt:
    """One request to one server, as interceptors see it."""

    method: str
    """The signature, or `status` or `metadata`."""
    target: str
    model: ModelRef
    """Which version was asked for."""
    number: int
    """From 1 within the call."""
    hedge: bool
    timeout: float
    """Seconds that it may take."""
    metadata: dict[str, str]
    """gRPC metadata or HTTP headers that go with it; `before` may change them. `traceparent` is the same trace for all
    attempts of a call, unless the client's own metadata have one."""
    outcome: Optional[str] = None
    """None while it runs; then as in `metrics.Snapshot`."""
    seconds: Optional[float] = None
    """How long it took."""
    version: Optional[int] = None
    """Which version answered; None over REST, whose answers do not tell."""
    error: Optional[RecommenderError] = None


class Interceptor:
    """Hooks around every attempt, for logs, traces or tokens; in the thread, or the event loop, of the call.

    What they raise is logged and does no harm to the call.
    """

    def before(self, attempt: Attempt) -> None:
        """The attempt is about to be sent."""

    def after(self, attempt: Attempt) -> None:
        """The attempt has ended."""


@dataclass(eq=False)
class Flight:
    """An attempt under way, for the driver."""

    attempt: Attempt
    replica: int
    """Index of the engine's target that it goes to."""
    transport: int
    """Index of the client's transport that it goes by."""
    message: Message
    trial: bool
    """Whether a half-open breaker waits for it."""
    patience: Optional[float]
    """Seconds after which another replica is asked as well; None for never."""
    started: float
    late: bool = False
    """Whether one that was sent later has answered first."""
    cancel: Callable[[], Any] = lambda: None
    """Set by the driver if it starts the flight."""


class Run(NamedTuple):
    """Send, and wait for what comes of it: the driver sends back an answer or an error."""

    flight: Flight


class Start(NamedTuple):
    """Send, and go on."""

    flight: Flight


class Wait(NamedTuple):
    """Wait until a flight that was started ends; the driver sends back the flight and its outcome, or None after so
    many seconds."""

    seconds: float


Outcome = Union[Answer, RecommenderError]
Steps = Generator[Union[Run, Start, Wait], Any, T]


class Engine:
    """What the calls of a client have in common: replicas, how they do, the budget, latencies; thread-safe.

    A replica that failed, or lost several hedges in a row, is asked last for a while. Then one call tries it, and asks
    another one too when the answer is late.

    Args:
        targets: the replicas.
        retry: when a failed attempt is made again.
        hedge: when an answer is late.
        breaker: when a replica is left alone.
        metadata: what goes with every attempt.
        interceptors: hooks around every attempt.
        clock: seconds.
        first: index of the first replica's transport in the client, which may have several engines.
        metrics: what counts.
    """

    def __init__(
        self,
        targets: Sequence[str],
        retry: Retry,
        hedge: Optional[Hedge] = None,
        breaker: Optional[Breaker] = None,
        metadata: Optional[Mapping[str, str]] = None,
        interceptors: Sequence[Interceptor] = (),
        clock: Callable[[], float] = time.monotonic,
        first: int = 0,
        metrics: Optional[Metrics] = None,
    ):
        self.metrics = metrics or Metrics()
        self.clock = clock
        self.first = first
        self.targets = targets
        self.retry = retry
        self.metadata = checked_metadata(metadata or {})
        self._hedge = hedge
        self._interceptors = interceptors
        self._circuits = [_Circuit(breaker, self.metrics, clock) for _ in targets] if breaker else None
        self._standings = [_Standing(clock) for _ in targets]
        self._budget = _Budget(retry)
        self.turns = itertools.count(random.randrange(len(targets)))  # many clients don't begin at the same replica
        self._lock = threading.Lock()
        self._latencies: dict[str, deque[float]] = defaultdict(
            lambda: deque(maxlen=max(_LATENCIES, hedge.samples if hedge else 0))
        )
        self._slowest: dict[_Kind, float] = {}

    def call(
        self,
        request: Request,
        wire: Any,
        parse: Callable[[Answer], T],
        deadline: float,
        timeout: float,
        trace: Optional[traceparent.TraceParent] = None,
    ) -> Steps[T]:
        """Makes a request until it is answered or given up.

        Args:
            request: what is asked.
            wire: its form on the wire.
            parse: makes the result of an answer; a RecommenderError if it can't.
            deadline: the time by `clock` at which the call is over.
            timeout: seconds that the whole call had, for messages.
            trace: what the call belongs to; by default one of its own.

        Raises:
            RecommenderError: of the last attempt, or `CircuitOpen` if there was none.
        """
        started = self.clock()
        self._budget.earn()
        outcome = "cancelled"
        try:
            call = _Call(self, request, wire, parse, deadline, timeout, trace or traceparent.new())
            result = yield from call.steps()
            outcome = "ok"
            return result
        except RecommenderError as error:
            outcome = type(error).__name__
            if isinstance(error, DeadlineExceeded):  # answers may take longer now than they did
                self._slowest.pop(_kind(request.method, wire), None)
            raise
        finally:
            self.metrics.called(request.method, request.model.label or "", outcome, self.clock() - started)

    def choose(self, turn: int, asked: Mapping[int, int]) -> Optional[tuple[int, bool, bool]]:
        """The next replica for a call, whether its breaker waits for what comes of it, and whether it is in doubt.

        Args:
            turn: the call's, which says where it begins.
            asked: how often the call has asked which replica.

        Returns:
            None if all breakers are open.
        """
        order = [(turn + place) % len(self.targets) for place in range(len(self.targets))]
        for replica in sorted(order, key=lambda replica: (asked.get(replica, 0), not self._standings[replica].good())):
            trial = self._circuits[replica].admits() if self._circuits else False
            if trial is not None:
                return replica, trial, self._standings[replica].ask()
        return None

    def others(self, asked: Mapping[int, int]) -> list[int]:
        """The replicas that a call has not asked, and could."""
        return [
            replica
            for replica in range(len(self.targets))
            if not asked.get(replica) and not (self._circuits and self._circuits[replica].is_open())
        ]

    def trusts(self, replicas: Sequence[int]) -> bool:
        """Whether one of them can be expected to answer."""
        return any(self._standings[replica].good() for replica in replicas)

    def may_fail_over(self, replicas: Sequence[int], error: Optional[RecommenderError] = None) -> bool:
        """Whether a call may ask one of the replicas that it has not asked, after an error or for want of an answer.

        That is free if it can be expected to help, or can't do harm because the other one is gone: each replica has to
        bear all calls when it is the only one. Else it would make an overload of all of them worse, and is taken from
        the budget.
        """
        gone = isinstance(error, ServerUnavailable) and not isinstance(error, ServerOverloaded)
        if gone or self.trusts(replicas):
            self.metrics.happened("failover")
            return True
        return self.may_spend("retry")

    def slowest(self, kind: _Kind) -> Optional[float]:
        """Seconds of the slowest of the latest answers to requests of a kind; None if there is none."""
        return self._slowest.get(kind)

    def late_after(self, method: str) -> Optional[float]:
        """Seconds after which an answer is late; None if none is yet."""
        if self._hedge is None:
            return None
        if self._hedge.after is not None:
            return self._hedge.after
        with self._lock:
            latest = sorted(self._latencies[method])
        if len(latest) < self._hedge.samples:
            return None
        return latest[int(self._hedge.quantile * len(latest))]

    def may_spend(self, event: str) -> bool:
        """Takes a retry or a hedge from the budget, if there is one left."""
        spent = self._budget.spend()
        self.metrics.happened(event if spent else "budget_spent")
        return spent

    def announce(self, attempt: Attempt) -> Mapping[str, str]:
        """Tells the interceptors, and returns the metadata that they leave."""
        metadata = dict(attempt.metadata)
        for interceptor in self._interceptors:
            try:
                interceptor.before(attempt)
                metadata = checked_metadata(attempt.metadata)
            except Exception:
                _LOGGER.exception("the interceptor %r failed", interceptor)
        return metadata

    def landed(self, flight: Flight) -> None:
        """Learns from an attempt that has ended."""
        attempt = flight.attempt
        self.metrics.attempted(attempt.method, attempt.target, attempt.outcome or "")
        if attempt.error is None and self._hedge is not None:
            with self._lock:  # one that was cancelled took at least so long
                self._latencies[attempt.method].append(attempt.seconds or 0.0)
        if len(self.targets) > 1:
            if attempt.outcome == "ok":
                kind = _kind(attempt.method, flight.message.wire)
                self._slowest[kind] = max(_DECAY * self._slowest.get(kind, 0.0), attempt.seconds or 0.0)
            self._standings[flight.replica].learn(flight)
        if self._circuits:
            failed = isinstance(attempt.error, FAILURES)
            self._circuits[flight.replica].learn(flight.trial, None if attempt.outcome == "cancelled" else not failed)
        for interceptor in self._interceptors:
            try:
                interceptor.after(attempt)
            except Exception:
                _LOGGER.exception("the interceptor %r failed", interceptor)


@dataclass
class _Call:
    """One call's way through the engine."""

    engine: Engine
    request: Request
    wire: Any
    parse: Callable[[Answer], Any]
    deadline: float
    timeout: float
    trace: traceparent.TraceParent
    asked: Counter[int] = field(default_factory=Counter)
    """How often the call has asked which replica."""
    hedges: int = 0
    """How many of these were hedges, which `Retry.attempts` doesn't count."""

    def __post_init__(self) -> None:
        self.turn = next(self.engine.turns)

    def steps(self) -> Steps[Any]:
        """Attempts until one is answered, or there is no reason for another."""
        engine, retry = self.engine, self.engine.retry
        error: Optional[RecommenderError] = None
        for retries in itertools.count():
            flight = self._take_off()
            if flight is None:
                targets = ", ".join(engine.targets)
                raise error or CircuitOpen(f"{targets} failed too often and is left alone for now: try again later")
            result = yield from self._race(flight)
            if not isinstance(result, RecommenderError):
                return result
            error = result
            others = engine.others(self.asked)
            if not isinstance(error, FAILURES) or retry.attempts == 1:
                raise error
            if others:
                if not self._left() or not engine.may_fail_over(others, error):
                    raise error
                continue
            wait = max(retry.wait(retries, random.random()), getattr(error, "retry_after", 0.0))
            in_time = engine.clock() + wait < self.deadline
            passing = in_time and not isinstance(error, ServerError)
            made = sum(self.asked.values()) - self.hedges
            if not passing or made >= retry.attempts or not engine.may_spend("retry"):
                raise error
            if wait:
                yield Wait(wait)
        raise AssertionError("an endless loop has ended")

    def _race(self, flight: Flight) -> Steps[Any]:
        """The result or the error of an attempt, or of the first to answer of those that follow where it is late."""
        engine = self.engine
        airborne = {flight}
        try:
            late_after = engine.late_after(self.request.method)
            if late_after is None and flight.patience is None:
                outcome = yield Run(flight)
                airborne.clear()
                return self._land(flight, outcome)
            hedge_at = math.inf if late_after is None else flight.started + late_after
            over_at = _end(flight)
            error: Optional[RecommenderError] = None
            yield Start(flight)
            while True:
                at = min(hedge_at, over_at, self.deadline)
                landed = yield Wait(max(0.0, at - engine.clock()))
                if landed is not None:
                    first, outcome = landed
                    airborne.remove(first)
                    result = self._land(first, outcome)
                    if not isinstance(result, RecommenderError):
                        for loser in airborne:
                            loser.late = loser.started < first.started
                        return result
                    if not airborne:
                        return result
                    passing = isinstance(result, FAILURES) and engine.retry.attempts > 1
                    over_at = engine.clock() if passing else math.inf
                    error = result
                    continue
                if at == self.deadline:
                    break
                another: Optional[Flight] = None
                others = engine.others(self.asked)
                if at == over_at:
                    over_at = math.inf
                    if others and engine.may_fail_over(others, error):
                        another = self._take_off(hedge=True)
                else:
                    hedge_at = math.inf
                    if engine.may_spend("hedge"):
                        another = self._take_off(hedge=True)
                        self.hedges += another is not None
                if another is not None:
                    airborne.add(another)
                    over_at = _end(another)
                    yield Start(another)
            late = transport.deadline_exceeded(flight.attempt.target, self.timeout)
            while airborne:
                loser = airborne.pop()
                loser.cancel()
                self._land(loser, late)
            return late
        finally:
            for loser in airborne:
                loser.cancel()
                self._land(loser, None)

    def _left(self) -> float:
        return max(0.0, self.deadline - self.engine.clock())

    def _take_off(self, hedge: bool = False) -> Optional[Flight]:
        """The next attempt, for the driver to send; None if every breaker is open."""
        engine = self.engine
        chosen = engine.choose(self.turn, self.asked)
        if chosen is None:
            return None
        replica, trial, doubtful = chosen
        self.asked[replica] += 1
        timeout, patience = self._times(doubtful)
        request = self.request
        attempt = Attempt(
            request.method,
            engine.targets[replica],
            request.model,
            sum(self.asked.values()),
            hedge,
            timeout,
            {traceparent.HEADER: str(self.trace.sibling()), **engine.metadata},
        )
        message = Message(request, self.wire, timeout, engine.announce(attempt))
        return Flight(attempt, replica, engine.first + replica, message, trial, patience, engine.clock())

    def _times(self, doubtful: bool) -> tuple[float, Optional[float]]:
        """Seconds that an attempt may take, and after which another replica is asked, so that one that hangs leaves
        time for all others."""
        engine, left = self.engine, self._left()
        timeout = min(left, engine.retry.attempt_timeout or self.timeout)
        others = engine.others(self.asked) if len(engine.targets) > 1 and engine.retry.attempts > 1 else []
        if not others:
            return timeout, None
        patience = left / (len(others) + 1)
        slowest = engine.slowest(_kind(self.request.method, self.wire))
        if slowest is not None and doubtful:
            return timeout, min(patience, _MARGIN * slowest)
        if timeout <= patience:
            return timeout, None
        if slowest is not None and _MARGIN * slowest < patience and engine.trusts(others):
            return patience, None  # to leave it is cheaper than to ask beside it
        return timeout, patience

    def _land(self, flight: Flight, outcome: Optional[Outcome]) -> Any:
        """What an outcome (None if cancelled) comes to: a result or an error; tells everybody who wants to know."""
        attempt = flight.attempt
        attempt.seconds = self.engine.clock() - flight.started
        result: Any = outcome
        if isinstance(outcome, Answer):
            attempt.version = outcome.version
            try:
                result = self.parse(replace(outcome, request_id=_request_id(flight.message.metadata)))
            except RecommenderError as error:
                result = error
        elif isinstance(outcome, DeadlineExceeded) and not outcome.said:
            # The attempt's own time is the whole call's, or a part of it that says less.
            seconds = attempt.timeout if self._left() else self.timeout
            result = transport.deadline_exceeded(attempt.target, seconds)
        if isinstance(result, RecommenderError):
            result.request_id = _request_id(flight.message.metadata)
            attempt.error = result
            attempt.outcome = type(result).__name__
        else:
            attempt.outcome = "cancelled" if outcome is None else "ok"
            if attempt.hedge and outcome is not None:
                self.engine.metrics.happened("hedge_won")
        self.engine.landed(flight)
        return result


def together(calls: Sequence[Steps[T]], clock: Callable[[], float]) -> Steps[list[Union[T, RecommenderError]]]:
    """Makes several calls at the same time; returns what each comes to, its result or its error.

    Args:
        calls: the steps of each.
        clock: seconds, that of their engines.
    """
    results: dict[int, Union[T, RecommenderError]] = {}
    until: dict[int, float] = {}  # when the waiting of each call that waits is over
    whose: dict[Flight, int] = {}
    alone: set[Flight] = set()  # whose calls wait for nothing else, and not in vain: transports keep to the time
    turns: list[tuple[int, Any]] = [(number, None) for number in reversed(range(len(calls)))]
    try:
        while turns or until:
            if not turns:
                first = min(until, key=until.__getitem__)
                landed = yield Wait(max(0.0, min(until[first] - clock(), _LONGEST_WAIT)))
                if landed is not None:
                    number = whose[landed[0]]
                    turns.append((number, landed[1] if landed[0] in alone else landed))
                elif until[first] <= clock():
                    number = first
                    turns.append((number, None))
                else:
                    continue
                del until[number]
            number, came = turns.pop()
            try:
                step = calls[number].send(came)
            except StopIteration as end:
                results[number] = end.value
                continue
            except RecommenderError as error:
                results[number] = error
                continue
            if isinstance(step, Wait):
                until[number] = clock() + step.seconds
                continue
            whose[step.flight] = number
            yield Start(step.flight)
            if isinstance(step, Run):
                alone.add(step.flight)
                until[number] = math.inf
            else:
                turns.append((number, None))
        return [results[number] for number in range(len(calls))]
    finally:
        for call in calls:
            call.close()


def _request_id(metadata: Mapping[str, str]) -> str:
    """The id of a request as the server takes it from its headers."""
    trace = traceparent.parse(metadata.get(traceparent.HEADER))
    return metadata.get(traceparent.REQUEST_ID) or (trace.trace_id if trace else "")


def _kind(method: str, wire: Any) -> _Kind:
    """The method and the magnitude of its request, on which it depends how long an answer takes."""
    body = wire[-1] if isinstance(wire, tuple) else wire
    size = body.ByteSize() if hasattr(body, "ByteSize") else len(body or b"")
    return method, size.bit_length()


def _end(flight: Flight) -> float:
    """When the patience with a flight ends."""
    return math.inf if flight.patience is None else flight.started + flight.patience


class _Standing:
    """How a replica does, going by its latest attempts."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._lock = threading.Lock()
        self._pause = 0.0  # above 0 while it is in doubt
        self._again = 0.0
        self._lost = 0

    def good(self) -> bool:
        """Whether it can be asked like any other: it isn't in doubt, or it is time to try it again."""
        return not self._pause or self._clock() >= self._again

    def ask(self) -> bool:
        """It is asked now; tells whether it is in doubt."""
        if not self._pause:
            return False
        with self._lock:
            now = self._clock()
            if self._pause and now >= self._again:
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)
                self._again = now + self._pause
        return True

    def learn(self, flight: Flight) -> None:
        """An attempt has ended."""
        error = flight.attempt.error
        if error is None and flight.attempt.outcome == "cancelled" and not flight.late:
            return  # nobody waited for its end
        with self._lock:
            self._lost = self._lost + 1 if flight.late else 0
            if isinstance(error, FAILURES) or self._lost >= _LOST_IN_A_ROW:
                self._pause = self._pause or _PAUSE
                pause = max(self._pause, getattr(error, "retry_after", 0.0))
                self._again = max(self._again, self._clock() + pause)
            elif not flight.late:
                self._pause = 0.0


class _Budget:
    """How many retries and hedges may be made: calls earn them, up to a reserve."""

    def __init__(self, retry: Retry):
        self._retry = retry
        self._saved = float(retry.reserve)
        self._lock = threading.Lock()

    def earn(self) -> None:
        """A call has begun."""
        with self._lock:
            # At least one can be saved up, or nothing could ever be spent.
            self._saved = min(max(self._retry.reserve, 1.0), self._saved + self._retry.budget)

    def spend(self) -> bool:
        """Takes one, if there is one."""
        with self._lock:
            if self._saved < 1:
                return False
            self._saved -= 1
            return True


class _Circuit:
    """The breaker of one replica."""

    def __init__(self, policy: Breaker, metrics: Metrics, clock: Callable[[], float]):
        self._policy, self._metrics, self._clock = policy, metrics, clock
        self._lock = threading.Lock()
        self._opened: Optional[float] = None
        self._trying = False
        self._since, self._calls, self._failed = clock(), 0, 0

    def admits(self) -> Optional[bool]:
        """Whether an attempt may be made: None if not, else whether it is the trial of an open breaker."""
        with self._lock:
            if self._opened is None:
                return False
            if self._rests_since(self._opened):
                return None
            self._trying = True
            return True

    def is_open(self) -> bool:
        """Whether no attempt may be made."""
        opened = self._opened
        return opened is not None and self._rests_since(opened)

    def _rests_since(self, opened: float) -> bool:
        return self._trying or self._clock() < opened + self._policy.cooldown

    def learn(self, trial: bool, succeeded: Optional[bool]) -> None:
        """An attempt has ended; None if nobody waited for its end."""
        with self._lock:
            now = self._clock()
            if trial:
                self._trying = False
                if succeeded is not None:
                    self._switch(None if succeeded else now)
            elif self._opened is None and succeeded is not None:  # what began before it opened counts no more
                if now >= self._since + self._policy.window:
                    self._since, self._calls, self._failed = now, 0, 0
                self._calls += 1
                self._failed += not succeeded
                if self._calls >= self._policy.calls and self._failed >= self._policy.threshold * self._calls:
                    self._switch(now)

    def _switch(self, opened: Optional[float]) -> None:
        self._opened = opened
        self._since, self._calls, self._failed = self._clock(), 0, 0
        self._metrics.happened("circuit_closed" if opened is None else "circuit_opened")
