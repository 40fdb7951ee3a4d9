"""The engine alone, with a clock of the test's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving import traceparent
from serving.client import (
    Attempt,
    Breaker,
    CircuitOpen,
    DeadlineExceeded,
    Hedge,
    Interceptor,
    RecommenderError,
    Retry,
    ServerUnavailable,
)
from serving.client.engine import Engine, Run, Start, Wait, together
from serving.client.transport import Answer, ModelRef, Status


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    return Clock()


def begin(engine: Engine, timeout: float = 10.0) -> Any:
    """A call's steps, and its first one."""
    request = Status(ModelRef("m"))
    steps = engine.call(request, b"", lambda answer: answer.value, engine.clock() + timeout, timeout)
    return steps, next(steps)


def finish(steps: Any, outcome: Any) -> Any:
    """The next step, or the result."""
    try:
        return steps.send(outcome)
    except StopIteration as end:
        return end.value


OK = Answer([])


def test_all_attempts_of_a_call_are_of_one_trace(clock):
    engine = Engine(["a"], Retry(initial=0), clock=clock)
    steps, first = begin(engine)
    second = finish(steps, ServerUnavailable("gone"))
    sent = [traceparent.parse(step.flight.message.metadata["traceparent"]) for step in (first, second)]
    assert sent[0].trace_id == sent[1].trace_id
    assert sent[0].parent_id != sent[1].parent_id
    assert finish(steps, OK) == []
    _, other = begin(engine)
    assert traceparent.parse(other.flight.message.metadata["traceparent"]).trace_id != sent[0].trace_id


def test_an_error_has_the_id_by_which_the_server_knows_the_request(clock):
    def failed(metadata):
        steps, step = begin(Engine(["a"], Retry(attempts=1), metadata=metadata, clock=clock))
        with pytest.raises(ServerUnavailable) as error:
            finish(steps, ServerUnavailable("gone"))
        return error.value.request_id, step.flight.message.metadata

    own, sent = failed({})
    assert own == traceparent.parse(sent["traceparent"]).trace_id
    parent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    assert failed({"traceparent": parent}) == ("ab" * 16, {"traceparent": parent})
    assert failed({"X-Request-Id": "order-7"})[0] == "order-7"
    assert ServerUnavailable("nothing was sent").request_id == ""


def test_only_one_call_tries_a_half_open_breaker(clock):
    engine = Engine(["a"], Retry(attempts=1), breaker=Breaker(calls=1, cooldown=5), clock=clock)
    late, _ = begin(engine)
    steps, _ = begin(engine)
    with pytest.raises(ServerUnavailable):
        steps.send(ServerUnavailable())
    clock.now = 6
    trial, step = begin(engine)
    assert isinstance(step, Run)
    assert step.flight.trial
    with pytest.raises(CircuitOpen):
        begin(engine)
    # What began before the breaker opened neither opens nor closes it.
    assert finish(late, OK) == []
    with pytest.raises(CircuitOpen):
        begin(engine)
    trial.close()  # its caller gave up: the next call may try
    trial, step = begin(engine)
    assert step.flight.trial
    assert finish(trial, OK) == []
    begin(engine)
    begin(engine)


def test_the_breaker_counts_a_share_within_a_window(clock):
    engine = Engine(["a"], Retry(attempts=1), breaker=Breaker(threshold=0.5, calls=4, window=10), clock=clock)

    def call(*outcomes: Any) -> None:
        for outcome in outcomes:
            steps, _ = begin(engine)
            if outcome is OK:
                finish(steps, OK)
            else:
                with pytest.raises(ServerUnavailable):
                    steps.send(outcome)

    bad = ServerUnavailable()
    call(OK, OK, OK, bad, bad)
    clock.now = 10  # a new window
    call(bad, bad, OK)
    call(OK)  # 2 of 4
    with pytest.raises(CircuitOpen):
        begin(engine)
    assert engine.metrics.snapshot().events == {"circuit_opened": 1}


def test_the_hedge_waits_for_the_quantile_of_the_latest_answers(clock):
    engine = Engine(["a", "b"], Retry(), hedge=Hedge(quantile=0.9, samples=10), clock=clock)
    for seconds in range(1, 11):
        steps, step = begin(engine, timeout=100)
        outcome: Any = OK
        if seconds == 1:  # nothing is known yet of how long it takes
            assert isinstance(step, Start)
            outcome = step.flight, OK
            step = finish(steps, None)
            assert step == Wait(50.0)
        else:
            assert isinstance(step, Run)
        clock.now += seconds
        finish(steps, outcome)
    steps, step = begin(engine, timeout=100)
    assert isinstance(step, Start)
    first = step.flight
    cancelled = []
    first.cancel = lambda: cancelled.append(first)
    assert finish(steps, None) == Wait(10.0)  # 9 of the 10 took less
    second = finish(steps, None).flight
    assert {first.attempt.target, second.attempt.target} == {"a", "b"}
    assert (second.attempt.hedge, second.attempt.number) == (True, 2)
    assert isinstance(finish(steps, None), Wait)
    assert finish(steps, (second, OK)) == []
    assert cancelled == [first]
    assert engine.metrics.snapshot().attempts["status", first.attempt.target, "cancelled"] == 1


@pytest.mark.slow
@pytest.mark.smoke
@settings(deadline=None)
@example(["ok", "late", "ok", "fail", "fail"], 2, 2, False)  # one fails late, the one asked meanwhile fails too
@given(
    st.lists(st.sampled_from(["ok", "fail", "late", "closed"]), min_size=1, max_size=12),
    st.integers(1, 3),
    st.integers(1, 4),
    st.booleans(),
)
def test_every_attempt_ends_once_and_within_the_call(reactions, replicas, attempts, hedged):
    clock = Clock()
    seen: list[tuple[str, Attempt]] = []

    class Watch(Interceptor):
        def before(self, attempt: Attempt) -> None:
            seen.append(("before", attempt))

        def after(self, attempt: Attempt) -> None:
            seen.append(("after", attempt))

    engine = Engine(
        [str(number) for number in range(replicas)],
        Retry(attempts=attempts, reserve=100),
        hedge=Hedge(after=0.5) if hedged else None,
        breaker=Breaker(calls=3),
        interceptors=[Watch()],
        clock=clock,
    )
    plan = itertools.cycle(reactions)
    steps, step = begin(engine, timeout=3)
    flying: list[Any] = []
    try:
        for _ in range(100):
            reaction = next(plan)
            outcome = {"ok": OK, "fail": ServerUnavailable("no"), "closed": RecommenderError("closed")}.get(reaction)
            if isinstance(step, Start):
                flying.append(step.flight)
                step = steps.send(None)
            elif isinstance(step, Run):
                clock.now += 0.1 if outcome else step.flight.attempt.timeout
                step = steps.send(outcome or DeadlineExceeded())
            elif outcome is None or not flying:
                clock.now += step.seconds
                step = steps.send(None)
            else:
                clock.now += min(0.1, step.seconds)
                step = steps.send((flying.pop(0), outcome))
    except (StopIteration, RecommenderError):
        pass
    assert clock.now <= 3.01
    befores = [attempt for kind, attempt in seen if kind == "before"]
    afters = [attempt for kind, attempt in seen if kind == "after"]
    most = max(attempts, replicas) if attempts > 1 else 1
    assert len(befores) <= most * (2 if hedged else 1)
    assert [attempt.number for attempt in befores] == list(range(1, len(befores) + 1))
    assert {id(attempt) for attempt in befores} == {id(attempt) for attempt in afters}
    assert len(afters) == len(befores)
    assert all(attempt.outcome and attempt.seconds is not None for attempt in afters)


def call(engine: Engine, timeout: float) -> Any:
    return engine.call(Status(ModelRef("m")), b"", lambda answer: answer.value, engine.clock() + timeout, timeout)


def test_calls_together_are_all_sent_before_any_is_waited_for(clock):
    engines = [Engine([name], Retry(attempts=1), clock=clock, first=place) for place, name in enumerate("ab")]
    steps = together([call(engine, 10) for engine in engines], clock)
    started = [next(steps), steps.send(None)]
    assert [(type(step), step.flight.attempt.target, step.flight.transport) for step in started] == [
        (Start, "a", 0),
        (Start, "b", 1),
    ]
    wait = steps.send(None)
    assert isinstance(wait, Wait)
    assert wait.seconds > 10  # transports keep to the time
    # The second lands first; an hour without a word changes nothing.
    assert isinstance(steps.send((started[1].flight, Answer(["two"]))), Wait)
    assert isinstance(steps.send(None), Wait)
    gone = ServerUnavailable("gone")
    assert finish(steps, (started[0].flight, gone)) == [gone, ["two"]]


def test_calls_together_wait_each_for_its_own_next_step(clock):
    """One waits before it tries again, the other one hedges."""
    retrying = Engine(["a"], Retry(initial=1.0, jitter=0), clock=clock)
    hedging = Engine(["b", "c"], Retry(), hedge=Hedge(after=3.0), clock=clock, first=1)
    hedging.turns = iter([0])
    steps = together([call(retrying, 10), call(hedging, 10)], clock)
    first, late = next(steps), steps.send(None)
    assert steps.send(None) == Wait(3.0)
    clock.now = 0.5
    assert steps.send((first.flight, ServerUnavailable("gone"))) == Wait(1.0)
    clock.now = 1.5
    again = steps.send(None)
    assert again.flight.attempt.target == "a"
    assert steps.send(None) == Wait(1.5)
    clock.now = 3.0
    hedge = steps.send(None)
    assert (hedge.flight.attempt.target, hedge.flight.attempt.hedge, hedge.flight.transport) == ("c", True, 2)
    assert isinstance(steps.send(None), Wait)
    assert isinstance(steps.send((again.flight, Answer(["a"]))), Wait)
    cancelled = []
    late.flight.cancel = lambda: cancelled.append(late.flight)
    assert finish(steps, (hedge.flight, Answer(["c"]))) == [["a"], ["c"]]
    assert cancelled == [late.flight]


def test_calls_together_that_nobody_waits_for_any_more_are_given_up(clock):
    engine = Engine(["a"], Retry(attempts=1), clock=clock)
    steps = together([call(engine, 10), call(engine, 10)], clock)
    cancelled = []
    for step in (next(steps), steps.send(None)):
        step.flight.cancel = lambda: cancelled.append(True)
    steps.send(None)
    steps.close()
    assert cancelled == [True, True]
    assert engine.metrics.snapshot().calls == {("status", "", "cancelled"): 2}
