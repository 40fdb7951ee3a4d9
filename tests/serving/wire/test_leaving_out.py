"""What a request leaves out, over the wire: against NumPy, raw and by the client."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.client import AsyncRecommenderClient, InvalidRequest, Query, RecommenderClient
from tests.serving.wire import contract
from tests.serving.wire.conftest import Server
from tests.serving.wire.test_contract import QUICK, any_k, any_user, ask, exclusions, items, rectangle
from tests.serving.wire.test_rules import as_mapping, check, client_of, inputs_of
from tests.serving.wire.test_tasks import any_weights, share_of_view

WORLD = contract.world()
transports = st.sampled_from(["grpc", "rest"])
wishes = st.sampled_from(["", "all", "nothing"])


@QUICK
@given(
    queries=st.lists(
        st.tuples(any_user, items, exclusions, contract.any_rules(), any_weights, wishes), min_size=1, max_size=4
    ),
    k=any_k,
    transport=transports,
)
def test_recommend_leaving_out(wire: Server, queries: list[tuple[Any, ...]], k: int, transport: str) -> None:
    users, histories, excludes, rules, weights, left_out = (list(column) for column in zip(*queries))
    names = rectangle([[*own] for own in weights])
    inputs = {
        **{"user_id": users, "history": rectangle(histories), "exclude": rectangle(excludes), "k": k},
        **{"context": [""] * len(users), **inputs_of(rules), "tasks": names, "leave_out": left_out},
        "task_weights": [[*own.values(), *[0.0] * (len(names[0]) - len(own))] for own in weights],
    }
    answer = ask(wire, transport, "recommend_leaving_out", inputs)
    for row, (*query, own, wish) in enumerate(queries):
        best, scores, source = WORLD.recommend(*query, view=share_of_view(own), leave_out=wish)
        check(answer["item_ids"][row].tolist(), answer["scores"][row], best, scores, query[-1].diversity)
        assert answer["source"][row] == source


@QUICK
@given(
    queries=st.lists(st.tuples(any_user, items, exclusions, wishes), min_size=1, max_size=3),
    k=any_k,
    transport=transports,
    batching=st.booleans(),
)
def test_the_client(wire: Server, queries: list[tuple[Any, ...]], k: int, transport: str, batching: bool) -> None:
    asked = [Query(user, history, exclude, leave_out=wish or None) for user, history, exclude, wish in queries]
    with client_of(wire, transport, batching=batching) as client:
        answers = client.recommend_batch(asked, k)
    for answer, (user, history, exclude, wish) in zip(answers, queries):
        best, _, source = WORLD.recommend(user, history, exclude, leave_out=wish)
        assert (answer.item_ids, answer.source) == (best[:k], source)


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_it_goes_with_rules_and_tasks_and_the_asyncio_twin_asks_the_same(wire: Server, transport: str) -> None:
    own = contract.Rules(filter=["price<=20"], boosts=[("tags=new", 0.5)])
    given_rules = {"filters": as_mapping(own.filter), "boosts": dict(own.boosts), "tasks": {"view": 1, "purchase": 3}}
    best, _, _ = WORLD.recommend("ann", [], [], own, view=0.25, leave_out="nothing")
    assert set(best) & set(WORLD.stored["ann"]), "there is what the user had"

    async def ask_twin() -> Any:
        target = wire.grpc_target if transport == "grpc" else wire.rest_target
        async with AsyncRecommenderClient(target, model="contract", transport=transport) as twin:
            return await twin.recommend("ann", k=5, **given_rules, leave_out="nothing")

    with client_of(wire, transport) as client:
        found = client.recommend("ann", k=5, **given_rules, leave_out="nothing")
        assert not set(client.recommend("ann", k=100).item_ids) & set(WORLD.stored["ann"])
    assert found.item_ids == best[:5]
    assert asyncio.run(ask_twin()).item_ids == best[:5]


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_what_is_refused(wire: Server, transport: str) -> None:
    message = "leave_out='seen': it is 'all', 'nothing', or None as the model has"
    with client_of(wire, transport) as client, pytest.raises(InvalidRequest, match=message):
        client.recommend("ann", leave_out="seen")
    inputs = {"user_id": ["ann"], "history": [[]], "exclude": [[]], "context": [""], "k": 3, "leave_out": ["seen"]}
    inputs |= {**inputs_of([contract.Rules()]), "tasks": [[]], "task_weights": [[]]}
    if transport == "grpc":
        with pytest.raises(grpc.RpcError, match="leave_out is all or nothing") as error:
            ask(wire, transport, "recommend_leaving_out", inputs)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    else:
        body = {"signature_name": "recommend_leaving_out", "inputs": inputs}
        status, answer = wire.http("POST", "/v1/models/contract:predict", body)
        assert (status, "leave_out is all or nothing" in answer["error"]) == (400, True)


@pytest.mark.parametrize("batching", [False, True])
@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_a_model_from_before_a_request_could_say_is_not_asked_something_else(
    wire: Server, transport: str, batching: bool
) -> None:
    target = wire.grpc_target if transport == "grpc" else wire.rest_target
    message = "so it leaves out what it is configured to: it was indexed before"
    with (
        RecommenderClient(target, model="tiny", transport=transport, batching=batching) as client,
        pytest.raises(InvalidRequest, match=message),
    ):
        client.recommend("ann", leave_out="nothing")


def test_what_comes_without_a_server_has_the_history_only_where_that_is_asked() -> None:
    with RecommenderClient("127.0.0.1:9", model="tiny", timeout=0.5, fallback=["1", "2", "3"], retry=None) as client:
        assert client.recommend(history=["1"], exclude=["2"]).item_ids == ["3"]
        assert client.recommend(history=["1"], exclude=["2"], leave_out="nothing").item_ids == ["1", "3"]
