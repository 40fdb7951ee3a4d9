"""The asyncio client: against the embedded server, side by side, and cancelled."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time

import pytest

from serving.client import (
    AsyncRecommenderClient,
    DeadlineExceeded,
    Hedge,
    Query,
    RecommenderClient,
    RecommenderError,
    Tensor,
    grpc_transport,
)
from tests.serving.fixtures import MODEL
from tests.serving.misbehaving import FakeServer, Reply


@pytest.mark.slow
@pytest.mark.smoke
def test_the_same_answers_as_the_blocking_client(target, transport, client):
    async def ask() -> None:
        async with AsyncRecommenderClient(target, model=MODEL, transport=transport) as twin:
            context = {"age": 30}
            assert await twin.recommend("ann", ["x"], ["1"], 3, context) == client.recommend(
                "ann", ["x"], ["1"], 3, context
            )
            queries = [Query("ann"), Query(history=["x"])]
            assert await twin.recommend_batch(queries, 4) == client.recommend_batch(queries, 4)
            assert await twin.similar_items("2", k=2) == client.similar_items("2", k=2)
            assert await twin.score("ann", [], ["3", "?"]) == client.score("ann", [], ["3", "?"])
            asked = "ann", ["x"], ["3", "?"], context
            assert await twin.explain(*asked) == client.explain(*asked)
            assert await twin.describe(["1", "?"]) == client.describe(["1", "?"])
            assert await twin.embed_items(["3", "?"]) == client.embed_items(["3", "?"])
            assert await twin.embed_query("ann", ["x"], context) == client.embed_query("ann", ["x"], context)
            inputs = {"x": Tensor("float32", (1, 2), [1.5, 2.0])}
            assert await twin.predict("double", inputs, ["y"]) == client.predict("double", inputs, ["y"])
            assert await twin.status() == client.status()
            assert await twin.metadata() == client.metadata()

    asyncio.run(ask())


def test_the_same_interface():
    for name, method in inspect.getmembers(RecommenderClient, inspect.isfunction):
        if not name.startswith("_"):
            twin = getattr(AsyncRecommenderClient, name)
            assert inspect.signature(twin) == inspect.signature(method)
            assert inspect.iscoroutinefunction(twin)
    assert inspect.signature(AsyncRecommenderClient) == inspect.signature(RecommenderClient)


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.smoke
def test_calls_run_side_by_side(transport):
    async def ask(target: str) -> float:
        async with AsyncRecommenderClient(target, model="m", transport=transport) as client:
            await client.recommend()
            started = time.monotonic()
            lists = await asyncio.gather(*(client.recommend(k=3) for _ in range(20)))
            assert [answer.item_ids for answer in lists] == [["1", "2", "3"]] * 20
            return time.monotonic() - started

    with FakeServer(transport, lambda number, seen: Reply(delay=0.3)) as server:
        assert asyncio.run(ask(server.target)) < 3  # one after the other it were 6
        assert len(server.seen) == 21


@pytest.mark.smoke
@pytest.mark.parametrize("hedge", [None, Hedge(after=0.05)], ids=["plain", "hedged"])
def test_cancelling_a_call_cancels_its_requests(transport, hedge):
    requests = 2 if hedge else 1

    async def ask(server: FakeServer) -> None:
        async with AsyncRecommenderClient(server.target, model="m", transport=transport, hedge=hedge) as client:
            call = asyncio.ensure_future(client.recommend())
            while len(server.seen) < requests:
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            deadline = time.monotonic() + 10
            while server.cancelled < requests:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            snapshot = client.metrics.snapshot()
            assert snapshot.calls == {("recommend", "", "cancelled"): 1}
            assert snapshot.attempts == {("recommend", server.target, "cancelled"): requests}

    with FakeServer(transport, lambda number, seen: Reply(delay=20)) as server:
        asyncio.run(ask(server))


@pytest.mark.smoke
def test_a_timeout_of_the_callers_own(transport):
    async def ask(server: FakeServer) -> None:
        async with AsyncRecommenderClient(server.target, model="m", transport=transport) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.recommend(), 0.2)
            assert (await client.recommend(k=1)).item_ids == ["1"]

    with FakeServer(transport, lambda number, seen: Reply(delay=0 if number else 20)) as server:
        asyncio.run(ask(server))


@pytest.mark.smoke
def test_a_closed_client(transport):
    async def ask() -> None:
        client = AsyncRecommenderClient("localhost:1", model="m", transport=transport)
        await client.close()
        with pytest.raises(RecommenderError, match="closed"):
            await client.recommend()

    asyncio.run(ask())


@pytest.mark.smoke
def test_closing_ends_what_is_under_way(transport):
    async def ask(server: FakeServer) -> None:
        client = AsyncRecommenderClient(server.target, model="m", transport=transport, retry=None)
        call = asyncio.ensure_future(client.recommend())
        while not server.seen:
            await asyncio.sleep(0.01)
        await client.close()
        with pytest.raises(RecommenderError):
            await call

    with FakeServer(transport, lambda number, seen: Reply(delay=20)) as server:
        asyncio.run(ask(server))
        assert len(server.seen) == 1


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.smoke
def test_the_event_loop_goes_on_meanwhile(transport):
    async def ask(server: FakeServer) -> int:
        ticks = 0
        async with AsyncRecommenderClient(server.target, model="m", transport=transport) as client:
            call = asyncio.ensure_future(client.recommend())
            while not call.done():
                await asyncio.sleep(0.01)
                ticks += 1
        return ticks

    with FakeServer(transport, lambda number, seen: Reply(delay=0.5)) as server:
        assert asyncio.run(ask(server)) > 5


@pytest.mark.slow
def test_what_is_asked_all_at_once_waits_for_its_turn(monkeypatch):
    monkeypatch.setattr(grpc_transport, "_AT_ONCE", 3)
    running, most = 0, 0
    lock = threading.Lock()

    def behave(number, seen):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.1)
        with lock:
            running -= 1
        return Reply()

    async def ask(target, timeout):
        async with AsyncRecommenderClient(target, model="m", timeout=timeout, retry=None) as client:
            return await asyncio.gather(*(client.recommend("a") for _ in range(9)), return_exceptions=True)

    with FakeServer("grpc", behave) as server:
        answers = asyncio.run(ask(server.target, 10))
        assert [list(answer.item_ids) for answer in answers] == [["1", "2", "3"]] * 9
        assert most == 3
        started = time.monotonic()
        late = asyncio.run(ask(server.target, 0.15))
        assert time.monotonic() - started < 5
        assert sum(isinstance(answer, DeadlineExceeded) for answer in late) >= 3  # the last three can't be in time
