"""The client when servers are slow, refuse, die, hang or talk nonsense: what it does, counted on the server's side."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest

from serving.client import (
    Attempt,
    Breaker,
    CircuitOpen,
    DeadlineExceeded,
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
from serving.server.ports import free_port
from tests.serving.misbehaving import Awaited, Fail, FakeServer, Reply, Wire, sequence

pytestmark = pytest.mark.smoke

QUICK = Retry(initial=0.01, maximum=0.02)


@pytest.fixture(params=[RecommenderClient, Awaited], ids=["blocking", "asyncio"])
def make(request: pytest.FixtureRequest, transport: str) -> Callable[..., Any]:
    """Makes a client of either kind, over each transport in turn."""

    def make(target: Any, **options: Any) -> Any:
        return request.param(target, model="m", transport=transport, **{"retry": QUICK, "timeout": 5, **options})

    return make


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


@pytest.mark.slow
@pytest.mark.smoke
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


@pytest.mark.slow
@pytest.mark.smoke
def test_the_deadline_bounds_all_attempts_and_waits(make, transport):
    patient = Retry(attempts=1000, initial=0.1, maximum=0.1, jitter=0, reserve=1000)
    with FakeServer(transport, sequence(Fail())) as server, make(server.target, retry=patient, timeout=0.5) as client:
        started = time.monotonic()
        with pytest.raises((ServerUnavailable, DeadlineExceeded)):
            client.recommend("ann")
        assert time.monotonic() - started < 2
        assert 2 <= len(server.seen) <= 5  # the fifth wait would end at 0.5 s


@pytest.mark.slow
@pytest.mark.smoke
def test_a_slow_server_is_left_at_the_deadline_and_told(make, transport):
    with FakeServer(transport, sequence(Reply(delay=3))) as server, make(server.target, timeout=0.3) as client:
        with pytest.raises(DeadlineExceeded, match=r"within 0\.3 s"):
            client.recommend("ann")
        assert len(server.seen) == 1
        wait_for(lambda: server.cancelled == 1)


@pytest.mark.slow
@pytest.mark.smoke
def test_a_server_that_hangs_costs_an_attempt_only(make, transport):
    with FakeServer(transport) as server, Wire(server.target, "hang") as wire:
        options = {"retry": Retry(attempt_timeout=0.2), "timeout": 20}
        with make([wire.target, server.target], **options) as client:
            for _ in range(4):
                assert len(client.recommend("ann", k=3)) == 3
            attempts = dict(client.metrics.snapshot().attempts)
            assert attempts.pop(("recommend", wire.target, "DeadlineExceeded")) <= 2
            assert attempts.pop(("recommend", server.target, "ok")) == 4
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
        assert (len(broken.seen), len(whole.seen)) == (1, 4)


def test_replicas_are_asked_in_turn(make, transport):
    with FakeServer(transport) as a, FakeServer(transport) as b, FakeServer(transport) as c:
        with make([a.target, b.target, c.target]) as client:
            for _ in range(9):
                client.recommend("ann")
        assert [len(server.seen) for server in (a, b, c)] == [3, 3, 3]


@pytest.mark.slow
@pytest.mark.smoke
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


@pytest.mark.slow
@pytest.mark.smoke
def test_a_hedge_goes_to_another_replica_and_is_not_made_in_vain(make, transport):
    with FakeServer(transport, sequence(Reply(delay=4))) as slow, FakeServer(transport) as fast:
        with make([slow.target, fast.target], hedge=Hedge(after=0.15)) as client:
            for _ in range(4):
                client.recommend("ann")
        assert (len(slow.seen), len(fast.seen)) == (2, 4)


@pytest.mark.slow
@pytest.mark.smoke
def test_a_hedge_that_fails_leaves_the_first_attempt(make, transport):
    with (
        FakeServer(transport, sequence(Reply(("first",), delay=0.5), Fail("INTERNAL"))) as server,
        make(server.target, hedge=Hedge(after=0.05)) as client,
    ):
        assert client.recommend("ann").item_ids == ["first"]
        assert events(client) == {"hedge": 1}


@pytest.mark.slow
@pytest.mark.smoke
def test_both_fail(make, transport):
    with FakeServer(transport, sequence(Fail("INTERNAL", delay=0.2))) as server:
        with make(server.target, hedge=Hedge(after=0.05)) as client, pytest.raises(ServerError, match="on purpose"):
            client.recommend("ann")
        assert len(server.seen) == 2


@pytest.mark.slow
@pytest.mark.smoke
def test_the_deadline_bounds_hedges(make, transport):
    with FakeServer(transport, sequence(Reply(delay=3))) as server:
        with (
            make(server.target, hedge=Hedge(after=0.1), timeout=0.4) as client,
            pytest.raises(DeadlineExceeded, match=r"within 0\.4 s"),
        ):
            client.recommend("ann")
        wait_for(lambda: server.cancelled == 2)


@pytest.mark.slow
@pytest.mark.smoke
def test_hedges_spend_the_budget(make, transport):
    with FakeServer(transport, sequence(Reply(delay=0.1))) as server:
        with make(server.target, hedge=Hedge(after=0.01), retry=Retry(budget=0, reserve=2)) as client:
            for _ in range(5):
                client.recommend("ann")
            assert events(client)["hedge"] == 2
            assert events(client)["budget_spent"] == 3
        assert len(server.seen) == 7


@pytest.mark.slow
@pytest.mark.smoke
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


@pytest.mark.slow
@pytest.mark.smoke
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
        assert 1 <= len(broken.seen) <= 3
        assert len(whole.seen) == 20


def test_refused_requests_do_not_open_the_breaker(make, transport):
    with FakeServer(transport, sequence(Fail("INVALID_ARGUMENT"))) as server:
        with make(server.target, breaker=Breaker(calls=2)) as client:
            for _ in range(6):
                with pytest.raises(InvalidRequest):
                    client.recommend("ann")
        assert len(server.seen) == 6


# The engine alone, with a clock of the test's


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


def test_a_fork_is_told(make, monkeypatch):
    with FakeServer("grpc") as server, RecommenderClient(server.target, model="m", fallback=["1"]) as client:
        monkeypatch.setattr("serving.client.calls.os.getpid", lambda: -1)
        with pytest.raises(RecommenderError, match="after the fork"):
            client.recommend("ann")


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
