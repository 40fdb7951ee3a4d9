"""Weights of tasks over the wire: any weights against NumPy, raw and by the client."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.client import AsyncRecommenderClient, InvalidRequest, Query, RecommenderClient
from tests.serving.wire import contract
from tests.serving.wire.conftest import Server
from tests.serving.wire.test_contract import QUICK, any_k, any_user, ask, check_ranking, exclusions, items, rectangle
from tests.serving.wire.test_rules import as_mapping, check, client_of, inputs_of

WORLD = contract.world()
transports = st.sampled_from(["grpc", "rest"])
any_weights = st.dictionaries(
    st.sampled_from([*contract.TASKS]), st.sampled_from([0.0, 0.25, 1.0, 3.0]), max_size=2
).filter(lambda weights: not weights or any(weights.values()))


def share_of_view(weights: dict[str, float]) -> float:
    """What the second task counts, of 1 in all."""
    return weights.get("view", 0.0) / sum(weights.values()) if weights else 0.0


@QUICK
@given(
    queries=st.lists(st.tuples(any_user, items, exclusions, contract.any_rules(), any_weights), min_size=1, max_size=4),
    k=any_k,
    transport=transports,
)
def test_recommend_for_tasks(wire: Server, queries: list[tuple[Any, ...]], k: int, transport: str) -> None:
    users, histories, excludes, rules, weights = (list(column) for column in zip(*queries))
    names = rectangle([[*own] for own in weights])
    width = len(names[0])
    inputs = {
        **{"user_id": users, "history": rectangle(histories), "exclude": rectangle(excludes), "k": k},
        **{"context": [""] * len(users), **inputs_of(rules), "tasks": names},
        "task_weights": [[*own.values(), *[0.0] * (width - len(own))] for own in weights],
    }
    answer = ask(wire, transport, "recommend_for_tasks", inputs)
    for row, (*query, own) in enumerate(queries):
        best, best_scores, source = WORLD.recommend(*query, view=share_of_view(own))
        check(answer["item_ids"][row].tolist(), answer["scores"][row], best, best_scores, query[-1].diversity)
        assert answer["source"][row] == source


@QUICK
@given(
    queries=st.lists(st.tuples(any_user, items, exclusions, any_weights), min_size=1, max_size=3),
    k=any_k,
    transport=transports,
    batching=st.booleans(),
)
def test_the_client(wire: Server, queries: list[tuple[Any, ...]], k: int, transport: str, batching: bool) -> None:
    asked = [Query(user, history, exclude, tasks=weights) for user, history, exclude, weights in queries]
    with client_of(wire, transport, batching=batching) as client:
        answers = client.recommend_batch(asked, k)
    for answer, (user, history, exclude, weights) in zip(answers, queries):
        best, best_scores, source = WORLD.recommend(user, history, exclude, view=share_of_view(weights))
        ids, scores = answer.item_ids, np.array([item.score for item in answer])
        check_ranking(ids, scores, best[: len(ids)], best_scores, set())
        assert len(ids) == min(k, len(best))
        assert answer.source == source


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_weights_go_with_rules_and_with_explanations(wire: Server, transport: str) -> None:
    own, weights = contract.Rules(filter=["tags=new"], boosts=[("price<=5", 0.5)]), {"view": 1, "purchase": 3}
    best, scores, _ = WORLD.recommend("ann", [], [], own, view=0.25)
    with client_of(wire, transport) as client:
        rules = {"filters": as_mapping(own.filter), "boosts": dict(own.boosts)}
        found = client.recommend("ann", k=3, **rules, tasks=weights)
        assert found.item_ids == best[:3]
        assert [item.score for item in found] == pytest.approx(scores[:3], rel=1e-4)
        plain, plain_scores, _ = WORLD.recommend("ann", [], [], view=0.25)
        explained = client.explain("ann", [], plain[:2], tasks=weights)
        assert [each.score for each in explained] == pytest.approx(plain_scores[:2], rel=1e-4)
        totals = [sum(item.value for item in each.history) + sum(each.parts.values()) for each in explained]
        assert totals == pytest.approx(plain_scores[:2], rel=1e-4)
        assert client.explain("ann", [], plain[:1])[0].score != pytest.approx(plain_scores[0], rel=1e-3)

    async def ask_twin() -> tuple[Any, Any]:
        target = wire.grpc_target if transport == "grpc" else wire.rest_target
        async with AsyncRecommenderClient(target, model="contract", transport=transport) as twin:
            return await twin.recommend("ann", k=3, **rules, tasks=weights), await twin.explain(
                "ann", [], plain[:2], tasks=weights
            )

    answer, explained_too = asyncio.run(ask_twin())
    assert (answer.item_ids, explained_too) == (found.item_ids, explained)


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_what_the_model_refuses(wire: Server, transport: str) -> None:
    weights = {"buy": 1.0, "view": 1.0}
    with client_of(wire, transport) as client:
        with pytest.raises(InvalidRequest, match=r"tasks are purchase, view; not.*buy"):
            client.recommend("ann", tasks=weights)
        with pytest.raises(InvalidRequest, match=r"tasks are purchase, view; not.*buy"):
            client.explain("ann", [], ["item 0"], tasks=weights)
    with client_of(wire, transport, batching=True) as client:
        with pytest.raises(InvalidRequest, match="a weight none of its tasks"):
            client.recommend("ann", tasks=weights)
        # Nor does it cost others their answers, who share the batch.
        assert client.recommend("ann", tasks={"view": 1}).items


@pytest.mark.parametrize("weight", [-1.0, 0.0])
def test_weights_that_say_nothing(wire: Server, weight: float) -> None:
    message = "task_weights are from 0 to 1000000" if weight else "task_weights must not all be 0"
    rules = inputs_of([contract.Rules()])
    inputs = {"user_id": ["ann"], "history": [[]], "exclude": [[]], "context": [""], "k": 3, **rules}
    inputs |= {"tasks": [["view"]], "task_weights": [[weight]]}
    with pytest.raises(grpc.RpcError, match=message) as error:
        ask(wire, "grpc", "recommend_for_tasks", inputs)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    body = {"signature_name": "recommend_for_tasks", "inputs": inputs}
    status, answer = wire.http("POST", "/v1/models/contract:predict", body)
    assert (status, message in answer["error"]) == (400, True)


@pytest.mark.parametrize("batching", [False, True])
@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_a_model_without_tasks_says_so(wire: Server, transport: str, batching: bool) -> None:
    target = wire.grpc_target if transport == "grpc" else wire.rest_target
    with RecommenderClient(target, model="tiny", transport=transport, batching=batching) as client:
        with pytest.raises(InvalidRequest, match="so it has no tasks: ask without weights of them"):
            client.recommend("ann", tasks={"view": 1})
        if not batching:
            assert client.recommend("ann", tasks={}).items
