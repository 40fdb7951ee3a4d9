"""Vectors over the wire, raw and by the client: with them NumPy finds what the server itself answers."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.client import AsyncRecommenderClient, ItemVector, QueryVector, RecommenderClient
from tests.serving.wire import contract
from tests.serving.wire.conftest import Server
from tests.serving.wire.test_contract import (
    QUICK,
    any_item,
    any_k,
    any_user,
    ask,
    check_ranking,
    exclusions,
    items,
    rectangle,
)

WORLD = contract.world()
transports = st.sampled_from(["grpc", "rest"])


@QUICK
@given(ids=st.lists(any_item, max_size=6), transport=transports)
def test_embed_items(wire: Server, ids: list[str], transport: str) -> None:
    answer = ask(wire, transport, "embed_items", {"item_id": ids})
    for row, item in enumerate(ids):
        place = contract.ITEMS.index(item) if item in contract.ITEMS else None
        assert answer["known"][row] == (place is not None)
        assert answer["embedding"][row] == pytest.approx(np.zeros(4) if place is None else WORLD.embedding[place])
        assert answer["bias"][row] == pytest.approx(0 if place is None else WORLD.bias[place])


@QUICK
@given(queries=st.lists(st.tuples(any_user, items, exclusions), min_size=1, max_size=4), k=any_k, transport=transports)
def test_a_search_by_vectors_finds_what_is_recommended(
    wire: Server, queries: list[tuple[str, list[str], list[str]]], k: int, transport: str
) -> None:
    users, histories, excludes = (list(column) for column in zip(*queries))
    who = {"user_id": users, "history": rectangle(histories), "context": [""] * len(users)}
    vectors = ask(wire, transport, "embed_queries", who)
    answer = ask(wire, transport, "retrieve", {**who, "exclude": rectangle(excludes), "k": k})
    for row, query in enumerate(queries):
        best, scores, source = WORLD.recommend(*query)
        check_ranking(answer["item_ids"][row].tolist(), answer["scores"][row], best, scores, set())
        assert (answer["source"][row], vectors["known"][row]) == (source, source != "popular")
        if source != "popular":
            left_out = {*vectors["seen"][row].tolist(), *query[2]}
            found, own = WORLD.ranked(
                WORLD.embedding @ vectors["embedding"][row] + WORLD.bias, left_out, contract.Rules()
            )
            check_ranking(found, own, best, scores, set())


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_by_the_clients(wire: Server, transport: str) -> None:
    target = wire.grpc_target if transport == "grpc" else wire.rest_target
    arguments: dict[str, Any] = {"model": "contract", "transport": transport, "timeout": 30}

    async def ask_twin() -> tuple[list[ItemVector], QueryVector]:
        async with AsyncRecommenderClient(target, **arguments) as twin:
            return await twin.embed_items(contract.ITEMS), await twin.embed_query("ann")

    with RecommenderClient(target, **arguments) as client:
        every, query = client.embed_items(contract.ITEMS), client.embed_query("ann")
        assert asyncio.run(ask_twin()) == (every, query)
        scores = {
            item.item_id: float(np.dot(item.embedding, query.embedding)) + item.bias
            for item in every
            if item.item_id not in query.seen
        }
        nobody = client.embed_query("nobody that the model knows")
        assert (nobody.embedding, nobody.known, nobody.seen) == ((0.0,) * contract.DIM, False, ())
        assert query.known
        assert set(query.seen) == {*WORLD.stored["ann"]}
        assert query.version == (1 if transport == "grpc" else None)
        answer = client.recommend("ann", k=5)
        assert answer.item_ids == sorted(scores, key=lambda item: -scores[item])[:5]
        assert [item.score for item in answer] == pytest.approx([scores[item] for item in answer.item_ids], rel=1e-5)
