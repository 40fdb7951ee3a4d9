"""The clients of shards, against servers that answer what a test says; tests/serving/wire has real ones."""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import traceparent
from serving.client import (
    AsyncShardedClient,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    Query,
    RecommenderClient,
    Retry,
    ServerUnavailable,
    ShardedClient,
    Traffic,
)
from serving.client.sharded import best_of, own_of
from serving.client.tensors import Tensor
from serving.contract import NO_SCORE
from serving.server.ports import free_port
from tests.serving.misbehaving import AwaitedShards, Fail, FakeServer, Reply, Wire, sequence


def reply(shard: str, version: int = 1, delay: float = 0.0, **scores: float) -> Reply:
    """Items and their scores, padded as to a k of 4."""
    padding = 4 - len(scores)
    return Reply(
        (*scores, *[""] * padding), version, delay, shard=shard, scores=(*scores.values(), *[NO_SCORE] * padding)
    )


ONE, OTHER = reply("1/2 f1", a=9.0, b=5.0), reply("2/2 f1", c=9.0, d=7.0)


@pytest.fixture(params=[ShardedClient, AwaitedShards], ids=["blocking", "asyncio"])
def make(request: pytest.FixtureRequest, transport: str) -> Callable[..., Any]:
    """Makes a client of either kind, over each transport in turn."""
    return lambda shards, **options: request.param(
        shards, **{"model": "m", "transport": transport, "retry": None, **options}
    )


@contextlib.contextmanager
def servers(transport: str, *behaviours: Any) -> Iterator[list[FakeServer]]:
    """Servers that answer all requests by one reaction, or by what a function says."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(FakeServer(transport, how if callable(how) else sequence(how))) for how in behaviours
        ]


def test_lists_are_merged_by_score_and_of_equal_ones_in_the_order_of_the_shards(make, transport):
    with servers(transport, OTHER, ONE) as found, make([server.target for server in found]) as client:
        answer = client.recommend("ann", k=3)
        assert [(item.item_id, item.score) for item in answer] == [("a", 9.0), ("c", 9.0), ("d", 7.0)]
        assert (answer.source, answer.missing, answer.version) == ("user", (), 1 if transport == "grpc" else None)
        # Both shards are asked for all that is asked for, and their logs have it by one id.
        asked = [server.seen[0] for server in found]
        assert [seen.inputs["k"].values[0] for seen in asked] == [3, 3]
        assert {traceparent.parse(seen.headers["traceparent"]).trace_id for seen in asked} == {answer.request_id}
        lists = client.recommend_batch([Query("ann"), Query("bob")], k=10)
        assert [each.item_ids for each in lists] == [["a", "c", "d", "b"]] * 2
        assert client.score("ann", [], ["d", "?", "a"]) == [1.0, float("-inf"), 1.0]


@pytest.mark.slow
@pytest.mark.smoke
def test_shards_are_asked_at_the_same_time(make, transport):
    slow = [reply(f"{number}/3 f1", delay=1.0, **{name: 1.0}) for number, name in enumerate("abc", 1)]
    with servers(transport, *slow) as found, make([server.target for server in found]) as client:
        started = time.monotonic()
        assert sorted(client.recommend("ann").item_ids) == ["a", "b", "c"]
        assert time.monotonic() - started < 2.5


def test_without_a_shard_the_list_is_of_the_others_and_says_so(make, transport):
    gone = f"127.0.0.1:{free_port()}"
    with servers(transport, ONE) as [one], make([gone, one.target], timeout=5) as client:
        answer = client.recommend("ann")
        assert (answer.item_ids, answer.missing, answer.fallback) == (["a", "b"], (gone,), False)
        assert client.metrics.snapshot().events["partial"] == 1
        # An item of a shard that answers is told of; what no shard that answers has is not taken for unknown.
        assert client.score("ann", [], ["b"]) == [1.0]
        with pytest.raises(ServerUnavailable, match=gone):
            client.score("ann", [], ["b", "c"])


@pytest.mark.slow
@pytest.mark.smoke
def test_a_shard_that_hangs_costs_the_time_that_there_is_and_no_more(make, transport):
    with (
        servers(transport, ONE, OTHER) as [one, other],
        Wire(other.target, "hang") as wire,
        make([one.target, wire.target], timeout=0.6) as client,
    ):
        started = time.monotonic()
        answer = client.recommend("ann")
        assert (answer.item_ids, answer.missing) == (["a", "b"], (wire.target,))
        assert 0.5 < time.monotonic() - started < 3


def test_a_replica_of_a_shard_answers_for_another(make, transport):
    gone = f"127.0.0.1:{free_port()}"
    with (
        servers(transport, ONE, OTHER) as [one, other],
        make([[gone, one.target], [other.target, gone]], retry=Retry(), timeout=5) as client,
    ):
        for _ in range(4):
            answer = client.recommend("ann")
            assert (answer.item_ids, answer.missing) == (["a", "c", "d", "b"], ())


def test_all_down(make, transport):
    gone = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    with make(gone, timeout=5) as client, pytest.raises(ServerUnavailable):
        client.recommend("ann")
    with make(gone, timeout=5, fallback=["x", "y"]) as client:
        answer = client.recommend("ann", exclude=["x"])
        assert (answer.item_ids, answer.fallback, answer.source) == (["y"], True, "fallback")


def test_a_wrong_request_is_wrong_for_all(make, transport):
    wrong = Fail("INVALID_ARGUMENT", "k must be at most 1000")
    with (
        servers(transport, ONE, wrong) as found,
        make([server.target for server in found]) as client,
        pytest.raises(InvalidRequest, match="at most 1000"),
    ):
        client.recommend("ann", k=2000)


@pytest.mark.parametrize(
    ("behaviours", "over_grpc", "over_rest"),
    [
        # A promotion has moved the labels of two: they still have the version before.
        ("new old, new old, old", (["a", "b", "c"], 1, ""), (["x", "y"], None, "2")),
        # Without labels they have unloaded it: most count.
        ("new gone, new gone, old", (["x", "y"], 2, "2"), (["x", "y"], None, "2")),
        ("new gone, old, old", (["b", "c"], 1, "0"), (["b", "c"], None, "0")),
    ],
)
def test_shards_of_two_versions_are_never_in_one_list(make, transport, behaviours, over_grpc, over_rest):
    """Over gRPC those that are ahead are asked again by the older version's number."""

    def reaction(word: str, place: int) -> Any:
        old = reply(f"{place + 1}/3 f1", **{"abc"[place]: 3.0 - place})
        new = reply(f"{place + 1}/3 f2", version=2, **{"xyz"[place]: 9.0 - place})
        return {"old": old, "new": new, "gone": Fail("NOT_FOUND", "no version 1")}[word]

    made = [
        sequence(*(reaction(word, place) for word in words.split()))
        for place, words in enumerate(behaviours.split(", "))
    ]
    with (
        servers(transport, *made) as found,
        make([server.target for server in found], label="stable") as client,
    ):
        answer = client.recommend("ann")
        ids, version, missing = over_grpc if transport == "grpc" else over_rest
        assert (answer.item_ids, answer.version) == (ids, version)
        assert answer.missing == tuple(found[int(place)].target for place in missing)
        asked = [1 + (transport == "grpc" and words.startswith("new")) for words in behaviours.split(", ")]
        assert [len(server.seen) for server in found] == asked


def test_a_version_that_no_shard_has(make, transport):
    unknown = Fail("NOT_FOUND", "no version 3")
    with (
        servers(transport, unknown, unknown) as found,
        make([server.target for server in found], version=3) as client,
        pytest.raises(ModelNotFound),
    ):
        client.recommend("ann")


def test_a_canary_that_no_shard_knows_is_passed_over(make, transport):
    def react(shard: Reply) -> Any:
        unknown = Fail("INVALID_ARGUMENT", "Unrecognized servable version label: canary")
        return lambda number, seen: unknown if seen.label == "canary" else shard

    with (
        servers(transport, react(ONE), react(OTHER)) as found,
        make([server.target for server in found], traffic=Traffic("canary", 1.0)) as client,
    ):
        assert client.recommend("ann").item_ids == ["a", "c", "d", "b"]


@pytest.mark.parametrize(
    ("replies", "message"),
    [
        ((ONE, Reply()), "serves no shard; make them by `recommender shard`"),
        ((ONE, Reply(shard="two of 2")), "serves no shard"),
        ((ONE, ONE), "the same shard answers at several of them"),
        ((ONE, Reply(shard="2/3 f1")), "these are 2, and the servable has 3"),
    ],
)
def test_shards_that_do_not_belong_together(make, transport, replies, message):
    with (
        servers(transport, *replies) as found,
        make([server.target for server in found]) as client,
        pytest.raises(InvalidRequest, match=message),
    ):
        client.recommend("ann")


def test_what_is_not_for_shards_is_refused_by_name(make, transport):
    with make(["a:1", "b:1"]) as client:
        for ask, name in (
            (lambda: client.similar_items("a"), "similar_items"),
            (lambda: client.audience("a"), "audience"),
            (lambda: client.similar_users("ann"), "similar_users"),
            (lambda: client.predict("by_user", {}), "predict"),
            (client.status, "status"),
        ):
            with pytest.raises(InvalidRequest, match=f"^{name} is not for shards: ask a whole servable"):
                ask()
        with pytest.raises(InvalidRequest, match="diversity is for a whole servable"):
            client.recommend("ann", diversity=0.5)


@pytest.mark.parametrize("shards", ["a:1", [], [["a:1"], []]])
def test_wrong_lists_of_shards(shards):
    with pytest.raises(InvalidRequest, match="it is a list of targets, or of lists of replicas, one a shard"):
        ShardedClient(shards, model="m")


def test_both_kinds_take_the_same():
    assert inspect.signature(AsyncShardedClient) == inspect.signature(ShardedClient)
    assert issubclass(ShardedClient, RecommenderClient)


@pytest.mark.slow
@pytest.mark.smoke
@given(
    lists=st.lists(st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=2, max_size=2), min_size=1, max_size=3),
    width=st.integers(1, 5),
)
def test_the_best_of_lists_are_the_best_of_all(lists: list[list[list[int]]], width: int) -> None:
    """Against a sort of all by score, shard and place."""
    answers, everything = [], [[], []]
    for shard, rows in enumerate(lists):
        ids, scores = [], []
        for row, values in enumerate(rows):
            own = [(f"{shard}.{place}", float(score)) for place, score in enumerate(sorted(values, reverse=True))]
            everything[row] += [(-score, shard, place, name) for place, (name, score) in enumerate(own[:width])]
            padded = [*own, *[("", NO_SCORE)] * width][:width]
            ids += [name for name, _ in padded]
            scores += [score for _, score in padded]
        shape = (2, width)
        answers.append({"item_ids": Tensor("string", shape, ids), "scores": Tensor("float32", shape, scores)})
    merged = best_of(answers)
    expected = [[name for *_, name in sorted(row)][:width] for row in everything]
    assert merged["item_ids"].rows() == [[*row, *[""] * width][:width] for row in expected]
    assert all(
        (score == NO_SCORE) is (name == "") for name, score in zip(merged["item_ids"].values, merged["scores"].values)
    )


def test_what_is_of_an_item_is_told_by_the_shard_that_has_it():
    one = {
        "display": Tensor("string", (3,), ["A", "", ""]),
        "known": Tensor("bool", (3,), [True, False, False]),
        "embedding": Tensor("float32", (3, 2), [1.0, 2.0, 0, 0, 0, 0]),
    }
    other = {
        "display": Tensor("string", (3,), ["", "", "C"]),
        "known": Tensor("bool", (3,), [False, False, True]),
        "embedding": Tensor("float32", (3, 2), [0, 0, 0, 0, 5.0, 6.0]),
    }
    merged, complete = own_of([one, other], "known")
    assert {name: [*tensor.values] for name, tensor in merged.items()} == {
        "display": ["A", "", "C"],
        "known": [True, False, True],
        "embedding": [1.0, 2.0, 0, 0, 5.0, 6.0],
    }
    assert not complete  # nobody has the second


def test_of_an_explanation_the_history_is_that_of_all_shards():
    def of(scores: list[float], adds: list[float]) -> dict[str, Tensor]:
        return {
            "scores": Tensor("float32", (1, 2), scores),
            "history_ids": Tensor("string", (1, 3), ["a", "", "c"]),
            "contributions": Tensor("float32", (1, 2, 3), adds),
            "parts": Tensor("float32", (1, 2, 0), []),
        }

    merged, complete = own_of(
        [of([NO_SCORE, 2.0], [0, 0, 0, 1, 2, 3]), of([5.0, NO_SCORE], [4, 5, 6, 0, 0, 0])], "scores"
    )
    assert complete
    assert [*merged["scores"].values] == [5.0, 2.0]
    assert [*merged["contributions"].values] == [4, 5, 6, 1, 2, 3]
    assert [*merged["history_ids"].values] == ["a", "", "c"]


@pytest.mark.slow
@pytest.mark.smoke
def test_a_call_out_of_time(make, transport):
    late = [reply("1/2 f1", delay=5), reply("2/2 f1", delay=5)]
    with (
        servers(transport, *late) as found,
        make([server.target for server in found], timeout=0.3) as client,
        pytest.raises(DeadlineExceeded),
    ):
        client.recommend("ann")
