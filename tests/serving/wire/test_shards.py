"""A servable in two shards, each in a server of its own: what the clients of both answer is what the whole would."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.client import AsyncShardedClient, InvalidRequest, Query, ServerUnavailable, ShardedClient
from serving.contract import WARMUP
from tests.pipeline.cli.command import recommender
from tests.serving.fixtures import MODEL
from tests.serving.in_process import serve
from tests.serving.misbehaving import Wire
from tests.serving.wire import contract
from tests.serving.wire.test_contract import QUICK, any_k, any_user, exclusions, items
from tests.serving.wire.test_rules import as_mapping, check
from tests.shared import made_once

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

WORLD = contract.world()
SECOND = contract.ITEMS[len(contract.ITEMS) // 2 :]
"""The items of the second shard."""
transports = st.sampled_from(["grpc", "rest"])
FEW = settings(QUICK, max_examples=25)


def build(path: Any) -> None:
    """Writes the shards, without the requests of the warm-up, which take most of a start."""
    contract.build(path, 2)
    for warmup in path.glob(f"*/{WARMUP}"):
        warmup.unlink()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    shards = made_once(tmp_path_factory, "contract-shards", build)
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(serve(shards / number, tmp_path_factory.mktemp("server"))) for number in "12"]


@pytest.fixture(scope="module")
def clients(servers: list[Any]) -> Iterator[dict[Any, ShardedClient]]:
    """By transport, and by whether the server batches."""
    with contextlib.ExitStack() as stack:
        yield {
            (transport, batching): stack.enter_context(
                ShardedClient(
                    [getattr(server, f"{transport}_target") for server in servers],
                    model=MODEL,
                    transport=transport,
                    batching=batching,
                    timeout=60,
                )
            )
            for transport in ("grpc", "rest")
            for batching in (False, True)
        }


@FEW
@given(
    queries=st.lists(
        st.tuples(
            any_user,
            items,
            exclusions,
            contract.any_rules(),
            st.sampled_from([None, {"purchase": 1.0, "view": 3.0}]),
            st.sampled_from([None, "nothing", "all"]),
        ),
        min_size=1,
        max_size=3,
    ),
    k=any_k,
    transport=transports,
    batching=st.booleans(),
)
def test_recommend(clients, queries: list[tuple[Any, ...]], k: int, transport: str, batching: bool) -> None:
    asked, same = [], []
    for user, history, exclude, rules, tasks, leave_out in queries:
        # A list of nothing but padding, and a condition twice, are nothing that the client sends.
        allow, boosts = [item for item in rules.allow if item] or None, dict(rules.boosts)
        filters = as_mapping(rules.filter)
        asked.append(Query(user, history, exclude, None, allow, filters, boosts, None, tasks, leave_out))
        same.append(contract.Rules(allow or [], rules.filter, list(boosts.items())))
    answers = clients[transport, batching].recommend_batch(asked, k)
    for answer, (user, history, exclude, _, tasks, leave_out), rules in zip(answers, queries, same):
        view = 0.75 if tasks else 0.0
        best, best_scores, source = WORLD.recommend(user, history, exclude, rules, view, leave_out or "")
        ids, scores = answer.item_ids, np.array([item.score for item in answer])
        check(ids, scores, best[: len(ids)], best_scores, 0.0)
        assert len(ids) == min(k, len(best))
        assert (answer.source, answer.missing) == (source, ())


@FEW
@given(user=any_user, history=items, candidates=items, transport=transports)
def test_what_is_told_of_items(clients, user: str, history: list[str], candidates: list[str], transport: str) -> None:
    client, candidates = clients[transport, False], [item for item in candidates if item]
    expected = [WORLD.score(user, history, item) for item in candidates]
    known = [item in contract.ITEMS for item in candidates]
    scores = client.score(user, history, candidates)
    for found, score, there in zip(scores, expected, known):
        assert found == pytest.approx(score, rel=1e-4, abs=1e-5) if there else found == float("-inf")
    for item, score, explained in zip(candidates, scores, client.explain(user, history, candidates)):
        assert (explained.item_id, explained.score) == (item, pytest.approx(score))
        adds = sum(part.value for part in explained.history) + sum(explained.parts.values())
        assert adds == pytest.approx(score if item in contract.ITEMS else 0, rel=1e-4, abs=1e-5)
        if item in contract.ITEMS and (user in contract.USERS or {*history} & {*contract.ITEMS}):
            carried = [(name, value) for name, value in WORLD.contributions(user, history, item) if name]
            assert [part.item_id for part in explained.history] == [name for name, _ in carried]
            values = [value for _, value in carried]
            assert [part.value for part in explained.history] == pytest.approx(values, rel=1e-4, abs=1e-5)
    told = [(f"Title of {item}" if there else "", there) for item, there in zip(candidates, known)]
    assert [(each.display, each.known) for each in client.describe(candidates)] == told
    for vector, item, there in zip(client.embed_items(candidates), candidates, known):
        row = contract.ITEMS.index(item) if there else 0
        assert vector.embedding == pytest.approx(WORLD.embedding[row] if there else [0.0] * contract.DIM)
        assert vector.bias == pytest.approx(WORLD.bias[row] if there else 0.0)


def test_histories_and_what_is_left_out_are_of_all_shards(clients) -> None:
    found = clients["grpc", False].embed_query("ann")
    assert set(found.seen) == {*WORLD.stored["ann"]}
    rows = [contract.ITEMS.index(item) for item in WORLD.stored["ann"]]
    assert found.embedding == pytest.approx(WORLD.embedding[rows].mean(axis=0), rel=1e-5)


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_a_shard_too_few_or_twice_is_told(servers: list[Any], transport: str) -> None:
    first, second = (getattr(server, f"{transport}_target") for server in servers)
    for targets, message in (
        ([first], "these are 1, and the servable has 2"),
        ([second, second], "the same shard answers at several"),
    ):
        with (
            ShardedClient(targets, model=MODEL, transport=transport, timeout=60) as client,
            pytest.raises(InvalidRequest, match=message),
        ):
            client.recommend("ann")


def test_the_command_line(servers: list[Any]) -> None:
    """Over REST, whose answers have no version, that is asked of the first shard."""
    best, *_ = WORLD.recommend("ann", [], [])
    for transport in ("grpc", "rest"):
        shards = [option for server in servers for option in ("--shard", getattr(server, f"{transport}_target"))]
        asked = recommender("query", "--name", MODEL, "--transport", transport, *shards, "--user", "ann", "--json")
        assert asked.returncode == 0, asked.stderr
        found = json.loads(asked.stdout)
        assert [(item["id"], item["title"]) for item in found["items"]] == [(i, f"Title of {i}") for i in best[:10]]
        assert (found["version"], found["missing"]) == (7, [])
    ended = recommender("query", "--name", MODEL, *shards, "--target", "a:1")
    assert (ended.returncode, "--shard and --target exclude each other" in ended.stderr) == (2, True)


def test_a_server_that_ends(servers: list[Any]) -> None:
    """Its items are away, as they would be by `exclude`; the asyncio client says the same."""
    with Wire(servers[1].grpc_target) as wire:
        targets = [servers[0].grpc_target, wire.target]

        async def ask() -> Any:
            async with AsyncShardedClient(targets, model=MODEL, timeout=60) as client:
                return await client.recommend("ann", k=30)

        with ShardedClient(targets, model=MODEL, timeout=60) as client:
            assert client.recommend("ann", k=30).item_ids == WORLD.recommend("ann", [], [])[0]
            wire.mode = "reset"
            wire.reset()
            answer = client.recommend("ann", k=30)
            assert answer.item_ids == WORLD.recommend("ann", [], SECOND)[0]
            assert answer.missing == (wire.target,)
            assert asyncio.run(ask()) == answer
            with pytest.raises(ServerUnavailable):
                client.score("ann", [], SECOND[:1])
