"""The client when servers are slow, refuse, die, hang or talk nonsense: what it does, counted on the server's side."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.client import (
    Attempt,
    Breaker,
    CircuitOpen,
    DeadlineExceeded,
    FileFallback,
    Hedge,
    Interceptor,
    InvalidRequest,
    ModelNotFound,
    Query,
    RecommenderClient,
    RecommenderError,
    Retry,
    ServerError,
    ServerUnavailable,
)
from serving.client.engine import Engine, Run, Start, Wait
from serving.client.transport import Answer, ModelRef, Status
from serving.server.ports import free_port
from tests.serving.misbehaving import Awaited, Behaviour, Fail, FakeServer, Reply, Wire

pytestmark = pytest.mark.smoke

QUICK = Retry(initial=0.01, maximum=0.02)


@pytest.fixture(params=[RecommenderClient, Awaited], ids=["blocking", "asyncio"])
def make(request: pytest.FixtureRequest, transport: str) -> Callable[..., Any]:
    """Makes a client of either kind, over each transport in turn."""

    def make(target: Any, **options: Any) -> Any:
        return request.param(target, model="m", transport=transport, **{"retry": QUICK, "timeout": 5, **options})

    return make


def sequence(*reactions: Any) -> Behaviour:
    """One reaction a request; the last for all that follow."""
    return lambda number, seen: reactions[min(number, len(reactions) - 1)]


def events(client: Any) -> dict[str, int]:
    return dict(client.metrics.snapshot().events)


# Retries


def test_a_server_that_refuses_is_asked_again(make, transport):
    with FakeServer(transport, sequence(Fail(), Fail(), Reply())) as server, make(server.target) as client:
        assert client.recommend("ann", k=3).item_ids == ["1", "2", "3"]
        assert len(server.seen) == 3
        assert events(client) == {"retry": 2}
        snapshot = client.metrics.snapshot()
        assert snapshot.calls == {("recommend", "", "ok"): 1}
        assert snapshot.attempts == {
            ("recommend", server.target, "ServerUnavailable"): 2,
            ("recommend", server.target, "ok"): 1,
        }


@pytest.mark.parametrize(("retry", "attempts"), [(QUICK, 3), (Retry(attempts=1), 1), (None, 1)])
def test_attempts_are_counted(make, transport, retry, attempts):
    with FakeServer(transport, sequence(Fail())) as server, make(server.target, retry=retry) as client:
        with pytest.raises(ServerUnavailable, match="on purpose"):
            client.recommend("ann")
        assert len(server.seen) == attempts


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("INVALID_ARGUMENT", InvalidRequest),
        ("NOT_FOUND", ModelNotFound),
        ("INTERNAL", ServerError),
        ("UNAUTHENTICATED", ServerError),
    ],
)
def test_what_would_fail_again_is_not_asked_again(make, transport, code, error):
    with FakeServer(transport, sequence(Fail(code), Reply())) as server, make(server.target) as client:
        with pytest.raises(error, match="on purpose"):
            client.recommend("ann")
        assert len(server.seen) == 1


def test_nobody_listens(make):
    with make(f"127.0.0.1:{free_port()}") as client:
        with pytest.raises(ServerUnavailable):
            client.recommend("ann")
        assert events(client) == {"retry": 2}


def test_a_server_that_dies_amid_its_answer(make, transport):
    items = tuple(f"item {number}" for number in range(1000))
    with FakeServer(transport, sequence(Reply(items))) as server, Wire(server.target, "cut") as wire:

        class Mend(Interceptor):
            def after(self, attempt: Attempt) -> None:
                wire.mode = "pass"

        with make(wire.target, interceptors=[Mend()], retry=Retry(initial=0.3, jitter=0)) as client:
            assert client.recommend("ann", k=1000).item_ids == list(items)
            assert client.metrics.snapshot().attempts["recommend", wire.target, "ServerUnavailable"] == 1
        assert len(server.seen) == 2


def test_connections_are_kept_and_replaced(make, transport):
    with FakeServer(transport) as server, Wire(server.target) as wire, make(wire.target) as client:
        for _ in range(5):
            client.recommend("ann")
        assert wire.connections == 1
        wire.reset()
        client.recommend("ann")
        assert wire.connections == 2
        assert len(server.seen) == 6


def test_a_flapping_server_drops_no_call(make, transport):
    flapping = lambda number, seen: Fail() if number % 2 else Reply()  # noqa: E731
    with FakeServer(transport, flapping) as server, make(server.target, retry=Retry(initial=0, budget=1)) as client:
        for _ in range(20):
            assert len(client.recommend("ann", k=3)) == 3
        assert events(client) == {"retry": 19}


def test_the_deadline_bounds_all_attempts_and_waits(make, transport):
    patient = Retry(attempts=1000, initial=0.1, maximum=0.1, jitter=0, reserve=1000)
    with FakeServer(transport, sequence(Fail())) as server, make(server.target, retry=patient, timeout=0.5) as client:
        started = time.monotonic()
        with pytest.raises((ServerUnavailable, DeadlineExceeded)):
            client.recommend("ann")
        assert time.monotonic() - started < 2
        assert 2 <= len(server.seen) <= 5  # the fifth wait would end at 0.5 s


def test_a_slow_server_is_left_at_the_deadline_and_told(make, transport):
    with FakeServer(transport, sequence(Reply(delay=3))) as server, make(server.target, timeout=0.3) as client:
        with pytest.raises(DeadlineExceeded, match=r"within 0\.3 s"):
            client.recommend("ann")
        assert len(server.seen) == 1
        wait_for(lambda: server.cancelled == 1)


def test_a_server_that_hangs_costs_an_attempt_only(make, transport):
    with FakeServer(transport) as server, Wire(server.target, "hang") as wire:
        options = {"retry": Retry(attempt_timeout=0.2), "timeout": 20}
        with make([wire.target, server.target], **options) as client:
            for _ in range(4):
                assert len(client.recommend("ann", k=3)) == 3
            attempts = client.metrics.snapshot().attempts
            assert attempts == {
                ("recommend", wire.target, "DeadlineExceeded"): 2,
                ("recommend", server.target, "ok"): 4,
            }
        with make(wire.target, **options) as client, pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
            client.recommend("ann")


@pytest.mark.parametrize("mode", ["garbage", "reset"])
def test_a_replica_that_talks_nonsense_or_hangs_up_is_passed_over(make, transport, mode):
    with FakeServer(transport) as server, Wire(server.target, mode) as wire:
        with make([wire.target, server.target]) as client:
            for _ in range(4):
                assert len(client.recommend("ann", k=3)) == 3
        with make(wire.target) as client, pytest.raises((ServerError, ServerUnavailable)):
            client.recommend("ann")


def test_a_replica_that_fails_inside_is_passed_over(make, transport):
    with FakeServer(transport, sequence(Fail("INTERNAL"))) as broken, FakeServer(transport) as whole:
        with make([broken.target, whole.target]) as client:
            for _ in range(4):
                client.recommend("ann")
        assert (len(broken.seen), len(whole.seen)) == (2, 4)


def test_replicas_are_asked_in_turn(make, transport):
    with FakeServer(transport) as a, FakeServer(transport) as b, FakeServer(transport) as c:
        with make([a.target, b.target, c.target]) as client:
            for _ in range(9):
                client.recommend("ann")
        assert [len(server.seen) for server in (a, b, c)] == [3, 3, 3]


def test_all_addresses_of_a_name_are_asked_in_turn(monkeypatch):
    resolve = socket.getaddrinfo
    port = free_port()

    def two(host: str, *arguments: Any, **options: Any) -> Any:
        if host != "replicas.test":
            return resolve(host, *arguments, **options)
        return [*resolve("127.0.0.1", *arguments, **options), *resolve("127.0.0.2", *arguments, **options)]

    monkeypatch.setattr("socket.getaddrinfo", two)
    with (
        FakeServer("rest", port=port) as first,
        FakeServer("rest", port=port, host="127.0.0.2") as second,
        RecommenderClient(f"replicas.test:{port}", model="m", transport="rest", retry=None) as client,
    ):
        for _ in range(6):
            client.recommend("ann")
        assert (len(first.seen), len(second.seen)) == (3, 3)
    with FakeServer("rest", port=port, host="127.0.0.2") as second:
        with RecommenderClient(f"replicas.test:{port}", model="m", transport="rest", retry=None) as client:
            for _ in range(4):
                client.recommend("ann")
        assert len(second.seen) == 4


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_name_that_does_not_resolve_in_time(monkeypatch):
    given_up = threading.Event()
    before = set(threading.enumerate())

    def resolve(*_: Any, **__: Any) -> Any:
        assert given_up.wait(10)
        raise socket.gaierror(socket.EAI_NONAME, "too late")

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    client = RecommenderClient("slow.test:1", model="m", transport="rest", timeout=0.2)
    with client, pytest.raises(DeadlineExceeded):
        client.recommend("ann")
    given_up.set()
    # The client was closed before the answer came, which must not harm its thread.
    for thread in set(threading.enumerate()) - before:
        thread.join(10)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (UnicodeError("label too long"), "label too long"),
        (ValueError("embedded null character"), "embedded null character"),
        (None, "'NoneType' object is not iterable"),
    ],
)
def test_a_name_that_does_not_resolve(monkeypatch, outcome, told):
    def resolve(*_: Any, **__: Any) -> Any:
        if outcome is not None:
            raise outcome

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    client = RecommenderClient("no.test:1", model="m", transport="rest", retry=None)
    with client, pytest.raises(ServerUnavailable, match=f"the host's name can't be resolved: {told}"):
        client.recommend("ann")


def test_keepalive_finds_a_connection_whose_other_end_is_gone(make, transport, monkeypatch):
    if transport == "rest":
        pytest.skip("there the system's TCP does it, and no wire of a test can hang below that")
    monkeypatch.setattr("serving.client.grpc_transport._KEEPALIVE_TIMEOUT_MS", 300)
    with (
        FakeServer(transport) as server,
        Wire(server.target) as wire,
        make(wire.target, keepalive=0.3, retry=None, timeout=30) as client,
    ):
        client.recommend("ann")
        wire.mode = "hang"
        with pytest.raises(ServerUnavailable):
            client.recommend("ann")


def test_the_budget_bounds_a_storm_of_retries(transport):
    with FakeServer(transport, sequence(Fail())) as server:
        retry = Retry(attempts=10, initial=0, budget=0.25, reserve=8)
        with RecommenderClient(server.target, model="m", transport=transport, retry=retry) as client:
            with ThreadPoolExecutor(8) as pool:
                for error in pool.map(lambda _: failure(client), range(100)):
                    assert isinstance(error, ServerUnavailable)
            # 100 calls earn 25, of which the first are lost where the reserve is still full.
            retries = events(client)["retry"]
            assert 8 + 20 <= retries <= 8 + 25
            assert len(server.seen) == 100 + retries


@settings(deadline=None)
@given(st.integers(0, 2000), st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_waits_grow_to_a_limit(retry, random, jitter):
    policy = Retry(initial=0.1, maximum=2, multiplier=2, jitter=jitter)
    longest = 2.0 if retry > 4 else 0.1 * 2**retry
    assert longest * (1 - jitter) <= policy.wait(retry, random) <= longest
    assert Retry(initial=0.1, maximum=2, multiplier=2, jitter=1).wait(retry, 0.75) == pytest.approx(longest / 4)


# Hedges


def test_the_hedge_wins_and_the_loser_is_cancelled(make, transport):
    with FakeServer(transport, sequence(Reply(("slow",), delay=4), Reply(("fast",)))) as server:
        with make(server.target, hedge=Hedge(after=0.1)) as client:
            started = time.monotonic()
            assert client.recommend("ann").item_ids == ["fast"]
            assert time.monotonic() - started < 2
            assert events(client) == {"hedge": 1, "hedge_won": 1}
            wait_for(lambda: server.cancelled == 1)
            assert client.metrics.snapshot().attempts == {
                ("recommend", server.target, "ok"): 1,
                ("recommend", server.target, "cancelled"): 1,
            }
            assert client.recommend("ann").item_ids == ["fast"]
        assert len(server.seen) == 3


def test_a_hedge_goes_to_another_replica_and_is_not_made_in_vain(make, transport):
    with FakeServer(transport, sequence(Reply(delay=4))) as slow, FakeServer(transport) as fast:
        with make([slow.target, fast.target], hedge=Hedge(after=0.15)) as client:
            for _ in range(4):
                client.recommend("ann")
        assert (len(slow.seen), len(fast.seen)) == (2, 4)


def test_a_hedge_that_fails_leaves_the_first_attempt(make, transport):
    with (
        FakeServer(transport, sequence(Reply(("first",), delay=0.5), Fail("INTERNAL"))) as server,
        make(server.target, hedge=Hedge(after=0.05)) as client,
    ):
        assert client.recommend("ann").item_ids == ["first"]
        assert events(client) == {"hedge": 1}


def test_both_fail(make, transport):
    with FakeServer(transport, sequence(Fail("INTERNAL", delay=0.2))) as server:
        with make(server.target, hedge=Hedge(after=0.05)) as client, pytest.raises(ServerError, match="on purpose"):
            client.recommend("ann")
        assert len(server.seen) == 2


def test_the_deadline_bounds_hedges(make, transport):
    with FakeServer(transport, sequence(Reply(delay=3))) as server:
        with (
            make(server.target, hedge=Hedge(after=0.1), timeout=0.4) as client,
            pytest.raises(DeadlineExceeded, match=r"within 0\.4 s"),
        ):
            client.recommend("ann")
        wait_for(lambda: server.cancelled == 2)


def test_hedges_spend_the_budget(make, transport):
    with FakeServer(transport, sequence(Reply(delay=0.1))) as server:
        with make(server.target, hedge=Hedge(after=0.01), retry=Retry(budget=0, reserve=2)) as client:
            for _ in range(5):
                client.recommend("ann")
            assert events(client)["hedge"] == 2
            assert events(client)["budget_spent"] == 3
        assert len(server.seen) == 7


def test_threads_do_not_leak(transport):
    before = threading.active_count()
    with (
        FakeServer(transport, lambda number, seen: Reply(delay=0.05 * (number % 2))) as server,
        RecommenderClient(server.target, model="m", transport=transport, hedge=Hedge(after=0.01)) as client,
    ):
        for _ in range(30):
            client.recommend("ann")
    wait_for(lambda: threading.active_count() <= before)


# Breaker


def test_the_breaker_opens_lets_one_through_and_closes(make, transport):
    healthy = threading.Event()
    with FakeServer(transport, lambda number, seen: Reply() if healthy.is_set() else Fail()) as server:
        breaker = Breaker(calls=4, cooldown=0.3)
        with make(server.target, breaker=breaker, retry=None) as client:
            for _ in range(4):
                with pytest.raises(ServerUnavailable, match="on purpose"):
                    client.recommend("ann")
            for _ in range(3):
                with pytest.raises(CircuitOpen, match=f"{server.target} failed too often"):
                    client.recommend("ann")
            assert len(server.seen) == 4
            time.sleep(0.31)
            with pytest.raises(ServerUnavailable, match="on purpose"):  # the trial fails, and it opens again
                client.recommend("ann")
            with pytest.raises(CircuitOpen):
                client.recommend("ann")
            assert len(server.seen) == 5
            healthy.set()
            time.sleep(0.31)
            for _ in range(3):
                client.recommend("ann")
            assert len(server.seen) == 8
            assert events(client) == {"circuit_opened": 2, "circuit_closed": 1}
            assert client.metrics.snapshot().calls["recommend", "", "CircuitOpen"] == 4


def test_a_broken_replica_is_left_alone(make, transport):
    with FakeServer(transport, sequence(Fail())) as broken, FakeServer(transport) as whole:
        with make([broken.target, whole.target], breaker=Breaker(calls=3, cooldown=60)) as client:
            for _ in range(20):
                client.recommend("ann")
        assert (len(broken.seen), len(whole.seen)) == (3, 20)


def test_refused_requests_do_not_open_the_breaker(make, transport):
    with FakeServer(transport, sequence(Fail("INVALID_ARGUMENT"))) as server:
        with make(server.target, breaker=Breaker(calls=2)) as client:
            for _ in range(6):
                with pytest.raises(InvalidRequest):
                    client.recommend("ann")
        assert len(server.seen) == 6


# The engine alone, with a clock of the test's


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
        assert isinstance(step, Run)
        clock.now += seconds
        finish(steps, OK)
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


@settings(deadline=None)
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
    assert len(befores) <= attempts * (2 if hedged else 1)
    assert [attempt.number for attempt in befores] == list(range(1, len(befores) + 1))
    assert {id(attempt) for attempt in befores} == {id(attempt) for attempt in afters}
    assert len(afters) == len(befores)
    assert all(attempt.outcome and attempt.seconds is not None for attempt in afters)


# The last resort


def test_the_fall_back_list(make, transport):
    popular = ["1", "2", "2", "3", "4", "5"]
    with FakeServer(transport, sequence(Fail())) as server, make(server.target, fallback=popular) as client:
        answer = client.recommend("ann", history=["1"], exclude=["4"], k=2)
        assert (answer.item_ids, answer.source, answer.fallback) == (["2", "3"], "fallback", True)
        assert isinstance(answer.error, ServerUnavailable)
        assert answer.version is None
        lists = client.recommend_batch([Query("ann"), Query("bob", exclude=["5"])], k=10)
        assert [a.item_ids for a in lists] == [["1", "2", "3", "4", "5"], ["1", "2", "3", "4"]]
        assert events(client)["fallback"] == 3
        with pytest.raises(ServerUnavailable):
            client.score("ann", [], ["1"])


@pytest.mark.parametrize(("code", "error"), [("INVALID_ARGUMENT", InvalidRequest), ("NOT_FOUND", ModelNotFound)])
def test_no_fall_back_for_who_asks_wrongly(make, transport, code, error):
    with FakeServer(transport, sequence(Fail(code))) as server, make(server.target, fallback=["1"]) as client:
        with pytest.raises(error):
            client.recommend("ann")
        with pytest.raises(InvalidRequest):
            client.recommend("ann", k=0)


def test_an_answer_is_no_fall_back(make, transport):
    with FakeServer(transport) as server, make(server.target, fallback=["9"]) as client:
        answer = client.recommend("ann", k=3)
        assert (answer.item_ids, answer.fallback, answer.error) == (["1", "2", "3"], False, None)


def test_the_fall_back_file_is_read_again_when_it_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("serving.client.files._POLL_SECONDS", 0.0)
    path = tmp_path / "popular.txt"
    with pytest.raises(InvalidRequest, match="no such file"):
        FileFallback(path)
    path.write_text("")
    with pytest.raises(InvalidRequest, match="no item ids"):
        FileFallback(path)
    path.write_text("ä\ntwo words\n", encoding="utf-8")
    fallback = FileFallback(path)
    with RecommenderClient(f"127.0.0.1:{free_port()}", model="m", fallback=fallback, retry=None) as client:
        assert client.recommend().item_ids == ["ä", "two words"]
        path.write_text("1\n2\n3\n")
        assert client.recommend().item_ids == ["1", "2", "3"]
        path.write_bytes(b"\xff\xfe")
        assert client.recommend().item_ids == ["1", "2", "3"]
        path.unlink()
        assert client.recommend().item_ids == ["1", "2", "3"]


# Hooks, metrics, what goes with a request


def test_interceptors_see_every_attempt_and_may_add_metadata(make, transport):
    records = []

    class Trace(Interceptor):
        def before(self, attempt: Attempt) -> None:
            assert attempt.outcome is None
            attempt.metadata["X-Trace"] = f"attempt {attempt.number}"

        def after(self, attempt: Attempt) -> None:
            records.append(attempt)

    class Broken(Interceptor):
        def before(self, attempt: Attempt) -> None:
            raise KeyError("no harm")

        after = before

    with FakeServer(transport, sequence(Fail(), Reply(version=5))) as server:
        options = {"metadata": {"Authorization": "Bearer 1"}, "interceptors": [Trace(), Broken()], "label": "stable"}
        with make(server.target, **options) as client:
            assert client.recommend("ann").label == "stable"
    assert [seen.headers["x-trace"] for seen in server.seen] == ["attempt 1", "attempt 2"]
    assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer 1"] * 2
    failed, answered = records
    assert (failed.method, failed.target, failed.number) == ("recommend", server.target, 1)
    assert (failed.outcome, type(failed.error), failed.version) == ("ServerUnavailable", ServerUnavailable, None)
    assert failed.model.label == "stable"
    assert (answered.outcome, answered.number, answered.error) == ("ok", 2, None)
    assert answered.version == (5 if transport == "grpc" else None)
    assert 0 <= answered.seconds < 5


@pytest.mark.parametrize(
    "metadata", [{"a b": "1"}, {"": "1"}, {"a": "x\r\ny: z"}, {"a": 5}, {"a-bin": "1"}, {"a": "ä"}]
)
def test_metadata_that_no_header_can_have(metadata, transport):
    with pytest.raises(InvalidRequest, match="metadata: "):
        RecommenderClient("localhost:1", model="m", transport=transport, metadata=metadata)


def test_compression(make, transport):
    history = ["an item with a long name"] * 2000
    with FakeServer(transport, sequence(Reply(tuple(history)))) as server:
        for compression, bound in ((None, float("inf")), ("gzip", 5000)):
            with Wire(server.target) as wire, make(wire.target, compression=compression) as client:
                assert len(client.recommend("ann", history=history, k=3000)) == 2000
                assert wire.bytes_up < bound
                assert bound < 10_000 or wire.bytes_up > 40_000
        assert server.seen[1].inputs["history"] == server.seen[0].inputs["history"]


def test_bad_gzip_is_garbage(make):
    from tests.serving.client.test_garbage import answering, tcp_server

    for body in (b"no gzip", b"\x1f\x8b\x08\x00" + b"\x00" * 6 + b"K"):
        payload = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        with tcp_server(answering(payload)) as target:
            client = RecommenderClient(target, model="m", transport="rest", compression="gzip", timeout=2)
            with client, pytest.raises(ServerError, match="gzip"):
                client.recommend("ann")


def test_metrics_for_prometheus(transport):
    prometheus_client = pytest.importorskip("prometheus_client")
    from serving.client.prometheus import MetricsCollector

    with (
        FakeServer(transport, sequence(Fail(), Reply())) as server,
        RecommenderClient(server.target, model="m", transport=transport, retry=QUICK) as client,
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


def test_a_fork_is_told(make, monkeypatch):
    with FakeServer("grpc") as server, RecommenderClient(server.target, model="m", fallback=["1"]) as client:
        monkeypatch.setattr("serving.client.calls.os.getpid", lambda: -1)
        with pytest.raises(RecommenderError, match="after the fork"):
            client.recommend("ann")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Retry, {"attempts": 0}),
        (Retry, {"initial": 2.0, "maximum": 1.0}),
        (Retry, {"multiplier": 0.5}),
        (Retry, {"jitter": 1.5}),
        (Retry, {"attempt_timeout": 0.0}),
        (Retry, {"budget": -1.0}),
        (Hedge, {"quantile": 1.0}),
        (Hedge, {"after": -1.0}),
        (Breaker, {"threshold": 0.0}),
        (Breaker, {"cooldown": 0.0}),
    ],
)
def test_policies_out_of_range(kind, options):
    with pytest.raises(InvalidRequest, match=kind.__name__.lower()):
        kind(**options)


@pytest.mark.parametrize(
    "options",
    [{"compression": "br"}, {"keepalive": 0}, {"fallback": "1,2"}, {"fallback": [""]}, {"retry": Retry, "timeout": -1}],
)
def test_options_out_of_range(options, transport):
    with pytest.raises(InvalidRequest):
        RecommenderClient("localhost:1", model="m", transport=transport, **options)


def failure(client: RecommenderClient) -> RecommenderError:
    with pytest.raises(RecommenderError) as error:
        client.recommend("ann")
    return error.value


def wait_for(condition: Callable[[], bool]) -> None:
    """Until the other side has noticed."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
