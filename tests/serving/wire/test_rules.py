"""Rules over the wire: any allow-lists, filters, boosts and diversity against NumPy, raw and by the client."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.client import AsyncRecommenderClient, InvalidRequest, Query, RecommendationList, RecommenderClient
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
NO_RULES: dict[str, Any] = {"allow": [[]], "filter": [[]], "boost": [[]], "boost_by": [[]], "diversity": [0.0]}


def inputs_of(rows: list[contract.Rules]) -> dict[str, Any]:
    """The inputs of the signatures with rules."""
    boost = rectangle([[condition for condition, _ in row.boosts] for row in rows])
    return {
        "allow": rectangle([list(row.allow) for row in rows]),
        "filter": rectangle([list(row.filter) for row in rows]),
        "boost": boost,
        "boost_by": [[*(by for _, by in row.boosts), *[0.0] * (len(boost[0]) - len(row.boosts))] for row in rows],
        "diversity": [row.diversity for row in rows],
    }


def check(ids: list[str], scores: np.ndarray, best: list[str], best_scores: np.ndarray, diversity: float) -> None:
    """What `ids` and `scores` of k places must be, given all that may be returned, best first."""
    if not diversity:
        check_ranking(ids, scores, best, best_scores, set())
        return
    expected = WORLD.diverse(best, best_scores, diversity, len(ids))
    assert ids == expected + [""] * (len(ids) - len(expected))
    own = dict(zip(best, best_scores))
    assert scores[: len(expected)] == pytest.approx([own[item] for item in expected], rel=1e-4, abs=1e-5)
    assert (scores[len(expected) :] <= contract.NO_SCORE).all()


@QUICK
@given(
    queries=st.lists(st.tuples(any_user, items, exclusions, contract.any_rules()), min_size=1, max_size=4),
    k=any_k,
    transport=transports,
)
def test_recommend_with_rules(wire: Server, queries: list[tuple[Any, ...]], k: int, transport: str) -> None:
    users, histories, excludes, rules = (list(column) for column in zip(*queries))
    who = {"user_id": users, "history": rectangle(histories), "exclude": rectangle(excludes), "k": k}
    inputs = {**who, "context": [""] * len(users), **inputs_of(rules)}
    answer = ask(wire, transport, "recommend_with_rules", inputs)
    for row, query in enumerate(queries):
        best, best_scores, source = WORLD.recommend(*query)
        check(answer["item_ids"][row].tolist(), answer["scores"][row], best, best_scores, query[-1].diversity)
        assert answer["source"][row] == source


@QUICK
@given(
    queries=st.lists(st.tuples(any_item, exclusions, contract.any_rules()), min_size=1, max_size=4),
    k=any_k,
    transport=transports,
)
def test_similar_items_with_rules(wire: Server, queries: list[tuple[Any, ...]], k: int, transport: str) -> None:
    asked, excludes, rules = (list(column) for column in zip(*queries))
    inputs = {"item_id": asked, "exclude": rectangle(excludes), "k": k, **inputs_of(rules)}
    answer = ask(wire, transport, "similar_items_with_rules", inputs)
    for row, query in enumerate(queries):
        best, best_scores = WORLD.similar(*query)
        check(answer["item_ids"][row].tolist(), answer["scores"][row], best, best_scores, query[-1].diversity)
        assert answer["known"][row] == (query[0] in contract.ITEMS)


def client_of(wire: Server, transport: str, **options: Any) -> RecommenderClient:
    target = wire.grpc_target if transport == "grpc" else wire.rest_target
    return RecommenderClient(target, model="contract", transport=transport, **options)


@QUICK
@given(
    queries=st.lists(st.tuples(any_user, items, exclusions, contract.any_rules()), min_size=1, max_size=3),
    k=any_k,
    transport=transports,
    batching=st.booleans(),
)
def test_the_client(wire: Server, queries: list[tuple[Any, ...]], k: int, transport: str, batching: bool) -> None:
    asked = [
        Query(
            user,
            history,
            exclude,
            allow=[item for item in rules.allow if item] or None,
            filters=as_mapping(rules.filter),
            boosts=dict(rules.boosts),
            diversity=rules.diversity,
        )
        for user, history, exclude, rules in queries
    ]
    with client_of(wire, transport, batching=batching) as client:
        answers = client.recommend_batch(asked, k)
    for answer, (user, history, exclude, rules) in zip(answers, queries):
        # A list of nothing but padding, and a condition twice, are nothing that the client sends.
        same = contract.Rules(
            rules.allow if any(rules.allow) else [], rules.filter, list(dict(rules.boosts).items()), rules.diversity
        )
        best, best_scores, source = WORLD.recommend(user, history, exclude, same)
        ids, scores = answer.item_ids, np.array([item.score for item in answer])
        check(ids, scores, best[: len(ids)] if not same.diversity else best, best_scores, same.diversity)
        assert len(ids) == min(k, len(best))
        assert answer.source == source


def as_mapping(conditions: Any) -> dict[str, list[str]]:
    """Conditions as the client takes them."""
    filters: dict[str, list[str]] = {}
    for condition in filter(None, conditions):
        operator = next(
            mark for mark in ("<=", ">=", "=") if condition.startswith((f"brand{mark}", f"tags{mark}", f"price{mark}"))
        )
        name, _, value = condition.partition(operator)
        filters.setdefault(name + operator.replace("=", "") + ("=" if operator != "=" else ""), []).append(value)
    return filters


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_the_clients_other_calls(wire: Server, transport: str) -> None:
    rules = {"filters": {"price<=": 5, "tags": ["new"]}, "boosts": {"brand=acme": 10}, "diversity": 0.5}
    own = contract.Rules(filter=["price<=5", "tags=new"], boosts=[("brand=acme", 10.0)], diversity=0.5)
    expected = WORLD.diverse(*WORLD.recommend("ann", [], [], own)[:2], 0.5, 5)
    assert len(expected) > 1
    allowed = contract.Rules(allow=contract.ITEMS[:9])
    with client_of(wire, transport) as client:
        assert client.recommend("ann", k=5, **rules).item_ids == expected
        similar = client.similar_items("item 0", k=5, allow=contract.ITEMS[:9])
        assert similar.item_ids == WORLD.similar("item 0", [], allowed)[0][:5]

    async def ask_twin() -> tuple[RecommendationList, Any]:
        target = wire.grpc_target if transport == "grpc" else wire.rest_target
        async with AsyncRecommenderClient(target, model="contract", transport=transport) as twin:
            return await twin.recommend("ann", k=5, **rules), await twin.similar_items(
                "item 0", k=5, allow=contract.ITEMS[:9]
            )

    answer, similar_too = asyncio.run(ask_twin())
    assert (answer.item_ids, similar_too.item_ids) == (expected, similar.item_ids)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"filters": {"brnad": "acme"}}, "brand, tags; .*price.*brnad=acme"),
        ({"filters": {"price<=": "cheap"}}, "price<=cheap"),
        ({"filters": {"brand<=": 5}}, "brand<=5"),
        ({"boosts": {"colour=red": 1}}, "colour=red"),
    ],
)
@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_what_the_model_refuses(wire: Server, transport: str, rules: dict[str, Any], message: str) -> None:
    with client_of(wire, transport) as client:
        for call in (client.recommend, lambda **own: client.similar_items("item 0", **own)):
            with pytest.raises(InvalidRequest, match=message):
                call(**rules)
    with client_of(wire, transport, batching=True) as client:
        with pytest.raises(InvalidRequest, match="a rule names no attribute"):
            client.recommend(**rules)
        # Nor does it cost others their answers, who share the batch.
        assert client.recommend("ann").items


@pytest.mark.parametrize("diversity", [1.5, -0.5])
def test_diversity_out_of_range(wire: Server, diversity: float) -> None:
    inputs = {"item_id": ["item 0"], "exclude": [[]], "k": 3, **NO_RULES, "diversity": [diversity]}
    with pytest.raises(grpc.RpcError, match="diversity is from 0 to 1") as error:
        ask(wire, "grpc", "similar_items_with_rules", inputs)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    body = {"signature_name": "similar_items_with_rules", "inputs": inputs}
    status, answer = wire.http("POST", "/v1/models/contract:predict", body)
    assert status == 400
    assert "diversity is from 0 to 1" in answer["error"]


def test_a_context_is_no_rule(wire: Server) -> None:
    """Features of the context may have the rules' names on their way to a server that batches."""
    with client_of(wire, "grpc", batching=True) as client:
        context = {"allow": "item 0", "filter": "brnad=x", "diversity": 7.0, "boost_by": 1.0}
        assert client.recommend("ann", context=context) == client.recommend("ann")
