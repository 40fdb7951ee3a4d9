"""The recommender's contract over the wire: any histories and exclusions against NumPy, over gRPC and REST."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2

from serving.client import AsyncRecommenderClient, Explanation, InvalidRequest, RecommenderClient, Traffic, UserList
from tests.serving.wire import contract
from tests.serving.wire.conftest import Server

WORLD = contract.world()
NUMBERS = {
    "k": tf.int32,
    "boost_by": tf.float32,
    "diversity": tf.float32,
    "task_weights": tf.float32,
    "exclude_owners": tf.bool,
}
"""Inputs that are no texts."""
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# The empty string is padding, wherever it stands; the rest of the texts are items that the catalogue lacks.
any_item = st.one_of(st.sampled_from(contract.ITEMS), st.just(""), st.text(max_size=8))
any_user = st.one_of(st.sampled_from(contract.USERS), st.just(""), st.text(max_size=8))
items = st.lists(any_item, max_size=8)
exclusions = st.one_of(items, st.lists(any_item, max_size=80), st.just(contract.ITEMS))
any_k = st.integers(1, len(contract.ITEMS) + 6)


def rectangle(rows: list[list[str]]) -> list[list[str]]:
    """Rows of the same width, filled with padding."""
    width = max(map(len, rows))
    return [row + [""] * (width - len(row)) for row in rows]


def ask(wire: Server, transport: str, signature: str, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    """The outputs of a signature for these inputs: nested lists of texts or of numbers, or an int."""
    if transport == "rest":
        status, answer = wire.http(
            "POST", "/v1/models/contract:predict", {"signature_name": signature, "inputs": inputs}
        )
        assert status == 200, answer
        # The only output of a signature stands for itself.
        outputs = {"scores": answer["outputs"]} if signature == "score" else answer["outputs"]
        return {name: np.array(value) for name, value in outputs.items()}
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "contract", signature
    for name, value in inputs.items():
        if name in NUMBERS:
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value, NUMBERS[name], np.shape(value)))
        else:
            flat = [text.encode() for text in np.array(value, object).ravel()]
            shape = np.shape(value)
            request.inputs[name].CopyFrom(tf.make_tensor_proto(flat, tf.string, shape))
    answer = wire.prediction.Predict(request, timeout=30)
    decoded = {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}
    return {
        name: np.vectorize(bytes.decode, otypes=[object])(array) if array.dtype == object else array
        for name, array in decoded.items()
    }


def check_ranking(
    ids: list[str], scores: np.ndarray, best: list[str], best_scores: np.ndarray, left_out: set[str]
) -> None:
    """What `ids` and `scores` of k places must be, given all candidates best first and what must not be among them."""
    count = min(len(best), len(ids))
    assert ids[count:] == [""] * (len(ids) - count)
    assert (scores[count:] <= contract.NO_SCORE).all()
    assert not left_out.intersection(ids[:count])
    assert len(set(ids[:count])) == count
    assert scores[:count] == pytest.approx(best_scores[:count], rel=1e-4, abs=1e-5)
    # Each item with its own score: rounding may swap neighbours, nothing else.
    own = dict(zip(best, best_scores))
    assert scores[:count] == pytest.approx([own[item] for item in ids[:count]], rel=1e-4, abs=1e-5)


@QUICK
@given(
    queries=st.lists(st.tuples(any_user, items, exclusions), min_size=1, max_size=4),
    k=any_k,
    transport=st.sampled_from(["grpc", "rest"]),
)
def test_recommend(wire: Server, queries: list[tuple[str, list[str], list[str]]], k: int, transport: str) -> None:
    users, histories, excludes = (list(column) for column in zip(*queries))
    inputs = {"user_id": users, "history": rectangle(histories), "exclude": rectangle(excludes), "k": k}
    answer = ask(wire, transport, "recommend", inputs)
    assert answer["item_ids"].shape == answer["scores"].shape == (len(queries), k)
    for row, (user, history, exclude) in enumerate(queries):
        best, best_scores, source = WORLD.recommend(user, history, exclude)
        ids = answer["item_ids"][row].tolist()
        left_out = {*history, *exclude, *WORLD.stored.get(user, [])} - {""}
        check_ranking(ids, answer["scores"][row], best, best_scores, left_out)
        assert answer["source"][row] == source
        if source == "popular":  # whole numbers, so even ties have their order
            assert ids[: len(best)] == best[:k]


@QUICK
@given(
    queries=st.lists(st.tuples(any_item, exclusions), min_size=1, max_size=4),
    k=any_k,
    transport=st.sampled_from(["grpc", "rest"]),
)
def test_similar_items(wire: Server, queries: list[tuple[str, list[str]]], k: int, transport: str) -> None:
    asked, excludes = (list(column) for column in zip(*queries))
    answer = ask(wire, transport, "similar_items", {"item_id": asked, "exclude": rectangle(excludes), "k": k})
    for row, (item, exclude) in enumerate(queries):
        best, best_scores = WORLD.similar(item, exclude)
        left_out = {item, *exclude} - {""}
        check_ranking(answer["item_ids"][row].tolist(), answer["scores"][row], best, best_scores, left_out)
        assert answer["known"][row] == (item in contract.ITEMS)


users = st.lists(any_user, max_size=6)


@QUICK
@given(
    queries=st.lists(st.tuples(any_item, users, st.booleans(), contract.any_rules_of_users()), min_size=1, max_size=4),
    ruled=st.booleans(),
    k=any_k,
    transport=st.sampled_from(["grpc", "rest"]),
)
def test_audience(wire: Server, queries: list[tuple[Any, ...]], ruled: bool, k: int, transport: str) -> None:
    asked, excludes, without_owners, rules = (list(column) for column in zip(*queries))
    inputs: dict[str, Any] = {
        "item_id": asked,
        "exclude": rectangle(excludes),
        "exclude_owners": without_owners,
        "k": k,
    }
    if ruled:
        inputs |= {name: rectangle([list(getattr(own, name)) for own in rules]) for name in ("allow", "filter")}
    answer = ask(wire, transport, "audience_with_rules" if ruled else "audience", inputs)
    assert answer["user_ids"].shape == answer["scores"].shape == (len(queries), k)
    for row, (item, exclude, without, own) in enumerate(queries):
        best, best_scores = WORLD.audience(item, exclude, without, own if ruled else contract.Rules())
        owners = {user for user in contract.USERS if without and item in WORLD.stored[user]}
        left_out = {*exclude, *owners} - {""}
        check_ranking(answer["user_ids"][row].tolist(), answer["scores"][row], best, best_scores, left_out)
        assert answer["known"][row] == (item in contract.ITEMS)


@QUICK
@given(
    queries=st.lists(st.tuples(any_user, users), min_size=1, max_size=4),
    k=any_k,
    transport=st.sampled_from(["grpc", "rest"]),
)
def test_similar_users(wire: Server, queries: list[tuple[str, list[str]]], k: int, transport: str) -> None:
    asked, excludes = (list(column) for column in zip(*queries))
    answer = ask(wire, transport, "similar_users", {"user_id": asked, "exclude": rectangle(excludes), "k": k})
    for row, (user, exclude) in enumerate(queries):
        best, best_scores = WORLD.similar_users(user, exclude)
        left_out = {user, *exclude} - {""}
        check_ranking(answer["user_ids"][row].tolist(), answer["scores"][row], best, best_scores, left_out)
        assert answer["known"][row] == (user in contract.USERS)


@QUICK
@given(
    queries=st.lists(st.tuples(any_user, items, st.lists(any_item, min_size=1, max_size=6)), min_size=1, max_size=4),
    transport=st.sampled_from(["grpc", "rest"]),
)
def test_score(wire: Server, queries: list[tuple[str, list[str], list[str]]], transport: str) -> None:
    users, histories, candidates = (list(column) for column in zip(*queries))
    inputs = {"user_id": users, "history": rectangle(histories), "candidates": rectangle(candidates)}
    scores = ask(wire, transport, "score", inputs)["scores"]
    for row, (user, history, asked) in enumerate(queries):
        expected = [WORLD.score(user, history, item) for item in asked]
        assert scores[row, : len(asked)] == pytest.approx(expected, rel=1e-4, abs=1e-5)


@QUICK
@given(
    queries=st.lists(st.tuples(any_user, items, st.lists(any_item, min_size=1, max_size=6)), min_size=1, max_size=4),
    transport=st.sampled_from(["grpc", "rest"]),
)
def test_explain(wire: Server, queries: list[tuple[str, list[str], list[str]]], transport: str) -> None:
    users, histories, candidates = (list(column) for column in zip(*queries))
    inputs = {"user_id": users, "history": rectangle(histories), "candidates": rectangle(candidates)}
    answer = ask(wire, transport, "explain", inputs)
    for row, (user, history, asked) in enumerate(queries):
        names = answer["part_names"][row].tolist()
        assert names == ["user_id", "bias", "popularity", "ranking"]
        assert answer["method"][row] == "exact"
        for place, item in enumerate(asked):
            used = WORLD.contributions(user, history, item)
            found = answer["contributions"][row, place].tolist()
            ids = answer["history_ids"][row].tolist()
            assert ids == [each for each, _ in used] + [""] * (len(ids) - len(used))
            assert found == pytest.approx([*(value for _, value in used), *[0] * (len(ids) - len(used))], 1e-4, 1e-5)
            expected = WORLD.score(user, history, item)
            assert answer["scores"][row, place] == pytest.approx(expected, rel=1e-4, abs=1e-5)
            parts = dict(zip(names, answer["parts"][row, place].tolist()))
            if item not in contract.ITEMS:
                assert not any(parts.values())
                continue
            personal = user in WORLD.stored or bool({*history} & {*contract.ITEMS})
            own = WORLD.bias if personal else WORLD.popularity
            name = "bias" if personal else "popularity"
            assert parts == pytest.approx({**dict.fromkeys(names, 0.0), name: own[contract.ITEMS.index(item)]}, 1e-5)


@QUICK
@given(user=any_user, history=items, candidates=st.lists(st.sampled_from(contract.ITEMS), min_size=1, max_size=4))
def test_explanations_by_the_clients(wire: Server, user: str, history: list[str], candidates: list[str]) -> None:
    async def by_asyncio(target: str, transport: str) -> list[Explanation]:
        async with AsyncRecommenderClient(target, model="contract", transport=transport) as client:
            return await client.explain(user, history, candidates)

    for transport, target in (("grpc", wire.grpc_target), ("rest", wire.rest_target)):
        with RecommenderClient(target, model="contract", transport=transport) as client:
            found = client.explain(user, history, candidates)
            assert asyncio.run(by_asyncio(target, transport)) == found
            scores = client.score(user, history, candidates)
        for item, explained, score in zip(candidates, found, scores):
            assert explained.item_id == item
            used = [(each, value) for each, value in WORLD.contributions(user, history, item) if each]
            assert [each.item_id for each in explained.history] == [each for each, _ in used]
            terms = [*(each.value for each in explained.history), *explained.parts.values()]
            assert explained.score == pytest.approx(score, rel=1e-4, abs=1e-5)
            assert sum(terms) == pytest.approx(score, rel=1e-4, abs=1e-4)


def test_explanations_row_by_row(wire: Server) -> None:
    rows = [{"user_id": user, "history": [], "candidates": ["a,b", "0"]} for user in ("ann", "nobody")]
    body = {"signature_name": "explain", "instances": rows}
    status, answer = wire.http("POST", "/v1/models/contract:predict", body)
    assert status == 200, answer
    inputs = {name: [row[name] for row in rows] for name in rows[0]}
    columns = ask(wire, "rest", "explain", inputs)
    for row, found in enumerate(answer["predictions"]):
        assert {name: np.array(value).tolist() for name, value in found.items()} == {
            name: value[row].tolist() for name, value in columns.items()
        }


@pytest.mark.parametrize("share", [0, 1])
def test_explanations_are_of_the_version_that_serves_the_user(wire: Server, share: int) -> None:
    traffic = Traffic("canary", share)
    for transport, target in (("grpc", wire.grpc_target), ("rest", wire.rest_target)):
        with RecommenderClient(target, model="tiny", label="stable", transport=transport, traffic=traffic) as client:
            [found] = client.explain("ann", [], client.recommend("ann", k=1).item_ids)
            assert found.parts["bias"] == 1000 * (1 + share)


@pytest.mark.parametrize("k", [0, -1, -(2**31), 1001, 2**31 - 1])
def test_no_k_below_one_or_above_the_limit(wire: Server, k: int) -> None:
    inputs = {"user_id": ["ann"], "history": [[]], "exclude": [[]], "k": k}
    with pytest.raises(grpc.RpcError, match="k must be at") as error:
        ask(wire, "grpc", "recommend", inputs)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    status, answer = wire.http("POST", "/v1/models/contract:predict", {"signature_name": "recommend", "inputs": inputs})
    assert status == 400
    assert "k must be at" in answer["error"]


@pytest.mark.parametrize("signature", ["audience", "audience_with_rules", "similar_users"])
@pytest.mark.parametrize("k", [0, 1001])
def test_no_k_of_users_below_one_or_above_the_limit(wire: Server, signature: str, k: int) -> None:
    inputs = {
        "audience": {"item_id": ["item 1"], "exclude_owners": [True]},
        "audience_with_rules": {"item_id": ["item 1"], "exclude_owners": [True], "allow": [[]], "filter": [[]]},
        "similar_users": {"user_id": ["ann"]},
    }[signature]
    body = {"signature_name": signature, "inputs": {**inputs, "exclude": [[]], "k": k}}
    with pytest.raises(grpc.RpcError, match="k must be at") as error:
        ask(wire, "grpc", signature, body["inputs"])  # type: ignore[arg-type]
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    status, answer = wire.http("POST", "/v1/models/contract:predict", body)
    assert status == 400
    assert "k must be at" in answer["error"]


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_the_client_asks_for_users(wire: Server, transport: str) -> None:
    target = wire.grpc_target if transport == "grpc" else wire.rest_target
    ruled = {"allow": ["ann", "ünal", "🙂", "nobody"], "filters": {"city": ["a=b"], "age<=": 64.5}}
    rules = contract.Rules(allow=ruled["allow"], filter=["city=a=b", "age<=64.5"])  # type: ignore[arg-type]
    owned = WORLD.stored["ann"][0]

    async def ask_twin() -> list[UserList]:
        async with AsyncRecommenderClient(target, model="contract", transport=transport) as twin:
            return [
                await twin.audience(owned, ["ünal"], k=3),
                await twin.audience(owned, k=9, exclude_owners=False, **ruled),  # type: ignore[arg-type]
                await twin.similar_users("ann", ["ünal"], k=3),
            ]

    with RecommenderClient(target, model="contract", transport=transport) as client:
        found = [
            client.audience(owned, ["ünal"], k=3),
            client.audience(owned, k=9, exclude_owners=False, **ruled),  # type: ignore[arg-type]
            client.similar_users("ann", ["ünal"], k=3),
        ]
        expected = [
            WORLD.audience(owned, ["ünal"], without_owners=True),
            WORLD.audience(owned, [], without_owners=False, rules=rules),
            WORLD.similar_users("ann", ["ünal"]),
        ]
        assert expected[1][0] == ["ann"]
        for answer, (users, scores) in zip(found, expected):
            assert answer.user_ids == users[:3]
            assert [user.score for user in answer] == pytest.approx(scores[:3], rel=1e-4, abs=1e-5)
            assert answer.known
        assert len(found[0]) == 3
        assert {answer.version for answer in found} == {1 if transport == "grpc" else None}
        assert client.audience("no such item") == UserList((), False, found[0].version)
        assert client.similar_users("nobody") == UserList((), False, found[0].version)
        with pytest.raises(InvalidRequest, match=r"city; .* with one of: age \(features of users .*; not.*ctiy=x"):
            client.audience("item 1", filters={"ctiy": "x"})
    for one, other in zip(asyncio.run(ask_twin()), found):
        assert one == other


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_a_model_that_says_nothing_of_users(wire: Server, transport: str) -> None:
    target = wire.grpc_target if transport == "grpc" else wire.rest_target
    with RecommenderClient(target, model="tiny", transport=transport) as client:
        for name, call in (("audience", client.audience), ("similar_users", client.similar_users)):
            with pytest.raises(InvalidRequest) as error:
                call("1")
            assert str(error.value) == (
                f"model 'tiny' at {client.target} has no signature {name!r}, so it says nothing of users: make a"
                " version with serving.audience: true"
            )
        with pytest.raises(InvalidRequest, match="has no signature 'audience_with_rules', so it says nothing"):
            client.audience("1", filters={"city": "x"})
