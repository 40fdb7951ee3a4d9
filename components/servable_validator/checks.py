"""Asks a served model real questions and says in which answers it breaks the serving contract."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from components.servable_validator.sample import Sample
from serving import contract
from serving.client import (
    InvalidRequest,
    Query,
    Recommendation,
    RecommenderClient,
    Tensor,
)
from serving.promotion.probe import list_faults

_K = 10
_UNKNOWN_USER = "\u2063no such user\u2063"
_UNKNOWN_ITEM = "\u2063no such item\u2063"
_MAX_LISTED = 20_000
"""A catalogue of up to this many items is asked for whole."""
_SAME = 1e-5
_NEAR = 1e-3
"""A batch may be summed in another order than a single row."""

_TYPES = {
    contract.K: "int32",
    contract.SCORES: "float32",
    contract.CONTRIBUTIONS: "float32",
    contract.PARTS: "float32",
    contract.KNOWN: "bool",
    contract.EXCLUDE_OWNERS: "bool",
    contract.BOOST_BY: "float32",
    contract.DIVERSITY: "float32",
    contract.TASK_WEIGHTS: "float32",
}
"""Of the contract's inputs and outputs that are no strings."""
_REQUIRED = (
    contract.RECOMMEND,
    contract.SIMILAR_ITEMS,
    contract.SCORE,
    contract.EXPLAIN,
    contract.BY_USER,
    contract.DEFAULT,
    contract.DESCRIBE,
)


@dataclass(frozen=True)
class Limits:
    """What the servable says of itself in `assets.extra/recommender.json`."""

    num_items: int
    default_k: int
    max_k: int
    alike: float = 1.0
    """Share of a batch's items that must be among those that its queries get alone; at 1 scores are compared too."""
    leaves_out_all: bool = True
    """Whether all that a user had is left out of an answer."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a request, one at a time."""

    p50: float
    p99: float


def check(grpc: RecommenderClient, rest: RecommenderClient, sample: Sample, limits: Limits) -> list[str]:
    """Asks everything the contract promises.

    Args:
        grpc: a client over gRPC.
        rest: a client of the same server over REST.
        sample: whom to ask for.
        limits: of the servable.

    Returns:
        One line for each broken promise; none if all are kept.

    Raises:
        RecommenderError: the server fails where the contract has an answer.
    """
    failures = list(_signatures(grpc))
    if failures:
        return failures
    asked = _users, _histories, _strangers, _sizes, _similar, _scores, _explanations, _descriptions, _defaults, _batches
    for part in asked:
        failures += part(grpc, sample, limits)
    there = grpc.metadata().signatures
    if contract.AUDIENCE in there:
        failures += _audiences(grpc, rest, sample)
    if contract.RECOMMEND_LEAVING_OUT in there:
        failures += _left_out(grpc, rest, sample, limits)
    failures += _transports(grpc, rest, sample)
    return failures


def measure(client: RecommenderClient, sample: Sample, num_requests: int) -> Latency:
    """Latency of `recommend` over the sample's queries in turn."""
    queries = _queries(sample)
    times = []
    for index in range(num_requests):
        query = queries[index % len(queries)]
        started = time.perf_counter()
        client.recommend(query.user_id, query.history, k=_K)
        times.append(1000 * (time.perf_counter() - started))
    times.sort()
    return Latency(p50=times[len(times) // 2], p99=times[math.ceil(0.99 * len(times)) - 1])


def _signatures(client: RecommenderClient) -> Iterator[str]:
    found = client.metadata().signatures
    audiences = contract.OF_USERS if contract.AUDIENCE in found else ()
    for_tasks = contract.FOR_TASKS if contract.RECOMMEND_FOR_TASKS in found else ()
    leaving_out = contract.LEAVING_OUT if contract.RECOMMEND_LEAVING_OUT in found else ()
    for name in (*_REQUIRED, *audiences, *for_tasks, *leaving_out):
        if name not in found:
            yield f"there is no signature {name!r}"
            continue
        promised, there = contract.SIGNATURES[name], found[name]
        for kind, names, specs in (
            ("input", promised.inputs, there.inputs),
            ("output", promised.outputs, there.outputs),
        ):
            wanted = {tensor: _TYPES.get(tensor, "string") for tensor in names}
            types = {tensor: spec.dtype for tensor, spec in specs.items()}
            if types != wanted:
                yield f"signature {name!r} has the {kind}s {types}, not {wanted}"


def _users(client: RecommenderClient, sample: Sample, limits: Limits) -> Iterator[str]:
    for user, items in sample.users.items():
        answer = client.recommend(user, k=_K)
        left_out = items if limits.leaves_out_all else []
        yield from _about(f"known user {user!r}", list_faults(answer, _K, left_out, "user"))
        if answer != client.recommend(user, k=_K):
            yield f"known user {user!r}: another answer when asked again"
        excluded = answer.item_ids[:3]
        again = client.recommend(user, exclude=excluded, k=_K)
        yield from _about(
            f"known user {user!r} with exclusions", list_faults(again, _K, [*left_out, *excluded], "user")
        )
        if again.item_ids[: _K - 3] != answer.item_ids[3:]:
            yield f"known user {user!r}: excluding the first three items does more than take them out"


def _histories(client: RecommenderClient, sample: Sample, limits: Limits) -> Iterator[str]:
    for history in sample.histories:
        answer = client.recommend(_UNKNOWN_USER, history, k=_K)
        faults = list_faults(answer, _K, history if limits.leaves_out_all else (), "history")
        yield from _about(f"unknown user with history {history[:3]}", faults)


def _strangers(client: RecommenderClient, sample: Sample, limits: Limits) -> Iterator[str]:
    answer = client.recommend(k=_K)
    yield from _about("nobody in particular", list_faults(answer, _K, (), "popular"))
    if not answer.items:
        yield "nobody in particular: no items"
    for user, history in ((_UNKNOWN_USER, []), (_UNKNOWN_USER, [_UNKNOWN_ITEM])):
        other = client.recommend(user, history, k=_K)
        if (other.item_ids, other.source) != (answer.item_ids, answer.source):
            yield f"unknown user with {'an unknown' if history else 'no'} history: not the popular items"


def _sizes(client: RecommenderClient, sample: Sample, limits: Limits) -> Iterator[str]:
    first = client.recommend(k=_K)
    if client.recommend(k=1).item_ids != first.item_ids[:1]:
        yield "k=1: not the first of k=10"
    if limits.num_items <= _MAX_LISTED:
        k = min(limits.num_items + 5, limits.max_k)
        everything = client.recommend(k=k)
        yield from _about(f"k={k}", list_faults(everything, limits.num_items))
        if len(everything) < limits.num_items:
            yield f"k={k}: {len(everything)} of {limits.num_items} items"
        nothing = client.recommend(exclude=everything.item_ids, k=_K)
        if nothing.items:
            yield f"with everything excluded: item {nothing.item_ids[0]!r}"
    for k in (0, limits.max_k + 1):
        inputs = {
            contract.USER_ID: Tensor("string", (1,), [""]),
            contract.HISTORY: Tensor("string", (1, 0), []),
            contract.EXCLUDE: Tensor("string", (1, 0), []),
            contract.K: Tensor("int32", (), [k]),
        }
        try:
            client.predict(contract.RECOMMEND, inputs)
            yield f"k={k}: answered, though it is beyond the limits (1 to {limits.max_k})"
        except InvalidRequest:
            pass


def _similar(client: RecommenderClient, sample: Sample, limits: Limits) -> Iterator[str]:
    for item in sample.items:
        answer = client.similar_items(item, k=_K)
        yield from _about(f"similar to {item!r}", list_faults(answer, _K, [item]))
        if not answer.known:
            yield f"similar to {item!r}: said to be unknown"
        excluded = answer.item_ids[:2]
        again = client.similar_items(item, exclude=excluded, k=_K)
        yield from _about(f"similar to {item!r} with exclusions", list_faults(again, _K, [item, *excluded]))
    if client.similar_items(_UNKNOWN_ITEM, k=_K).known:
        yield "similar to an unknown item: said to be known"


def _audiences(grpc: RecommenderClient, rest: RecommenderClient, sample: Sample) -> Iterator[str]:
    for item in sample.items:
        owners = [user for user, items in sample.users.items() if item in items]
        answer, over_rest = grpc.audience(item, k=_K), rest.audience(item, k=_K)
        yield from _about(f"audience of {item!r}", list_faults(answer, _K, owners))
        if not answer.known:
            yield f"audience of {item!r}: said to be unknown"
        if answer.user_ids != over_rest.user_ids or answer.known != over_rest.known:
            yield f"audience of {item!r}: gRPC and REST disagree"
    for user in sample.users:
        similar = grpc.similar_users(user, k=_K)
        yield from _about(f"users similar to {user!r}", list_faults(similar, _K, [user]))
        if not similar.known:
            yield f"users similar to {user!r}: said to be unknown"
    if grpc.audience(_UNKNOWN_ITEM, k=_K).known or grpc.similar_users(_UNKNOWN_USER, k=_K).known:
        yield "the audience of an unknown item, or users similar to an unknown one: said to be known"


def _left_out(grpc: RecommenderClient, rest: RecommenderClient, sample: Sample, limits: Limits) -> Iterator[str]:
    for user, items in sample.users.items():
        for wish, forbidden in ((contract.ALL, items), (contract.NOTHING, [])):
            answer, over_rest = (client.recommend(user, k=_K, leave_out=wish) for client in (grpc, rest))
            whom = f"known user {user!r}, leaving out {wish}"
            yield from _about(whom, list_faults(answer, _K, forbidden, "user"))
            if answer.item_ids != over_rest.item_ids:
                yield f"{whom}: gRPC and REST disagree"
            as_configured = wish == contract.ALL and limits.leaves_out_all and limits.alike == 1
            if as_configured and answer.item_ids != grpc.recommend(user, k=_K).item_ids:
                yield f"{whom}: another answer than without saying so"


def _scores(client: RecommenderClient, sample: Sample, limits: Limits) -> Iterator[str]:
    for query in _queries(sample):
        answer = client.recommend(query.user_id, query.history, k=_K)
        scores = client.score(query.user_id, query.history, [*answer.item_ids, _UNKNOWN_ITEM])
        if not _close([item.score for item in answer], scores[:-1], _NEAR):
            yield f"score for {_whom(query)}: not the scores of recommend"
        if scores[-1] != -math.inf:
            yield f"score for {_whom(query)}: {scores[-1]} for an unknown item, not -inf"


def _explanations(client: RecommenderClient, sample: Sample, limits: Limits) -> Iterator[str]:
    for query in [*_queries(sample), Query()]:
        ids = [*client.recommend(query.user_id, query.history, k=3).item_ids, _UNKNOWN_ITEM]
        scores = client.score(query.user_id, query.history, ids)
        found = client.explain(query.user_id, query.history, ids)
        if not _close([item.score for item in found], scores, _NEAR):
            yield f"explain for {_whom(query)}: not the scores of score"
        for item in found[:-1]:
            terms = [*(seen.value for seen in item.history), *item.parts.values()]
            if not abs(sum(terms) - item.score) <= _NEAR * (1 + sum(map(abs, terms))):
                yield f"explain for {_whom(query)}: what it says of {item.item_id!r} adds up to {sum(terms)}"
        if query.history and not {seen.item_id for seen in found[0].history} <= {*query.history}:
            yield f"explain for {_whom(query)}: by items that are not in the history"


def _descriptions(client: RecommenderClient, sample: Sample, limits: Limits) -> Iterator[str]:
    for item in client.describe(sample.items):
        if not item.known:
            yield f"describe {item.item_id!r}: said to be unknown"
    (unknown,) = client.describe([_UNKNOWN_ITEM])
    if unknown.known or unknown.display:
        yield "describe an unknown item: said to be known"


def _defaults(client: RecommenderClient, sample: Sample, limits: Limits) -> Iterator[str]:
    k = limits.default_k
    users = list(sample.users)
    found = client.predict(contract.BY_USER, {contract.USER_ID: Tensor("string", (len(users),), users)})
    for user, ids in zip(users, _rows(found)):
        if ids != client.recommend(user, k=k).item_ids:
            yield f"by_user for {user!r}: not what recommend says"
    for query in _queries(sample):
        excluded = client.recommend(query.user_id, query.history, k=3).item_ids
        example = _example({"user_id": [query.user_id or ""], "history": query.history, "seen": excluded})
        (ids,) = _rows(client.predict(contract.DEFAULT, {contract.EXAMPLES: Tensor("string", (1,), [example])}))
        if ids != client.recommend(query.user_id, query.history, excluded, k).item_ids:
            yield f"serving_default for {_whom(query)}: not what recommend says"


def _batches(client: RecommenderClient, sample: Sample, limits: Limits) -> Iterator[str]:
    queries = [*_queries(sample), Query(exclude=sample.items[:2])]
    listed = common = 0
    for query, answer in zip(queries, client.recommend_batch(queries, _K)):
        alone = client.recommend(query.user_id, query.history, query.exclude, _K)
        listed += len(answer.item_ids)
        common += len(set(answer.item_ids) & set(alone.item_ids))
        same = limits.alike < 1 or _close(_values(answer), _values(alone), _NEAR)
        if not same or answer.source != alone.source:
            yield f"{_whom(query)} in a batch: not the answer that it gets alone"
    if limits.alike < 1 and common < limits.alike * listed:
        yield f"of {listed:,} items in a batch's answers only {common:,} are in those that its queries get alone"


def _transports(grpc: RecommenderClient, rest: RecommenderClient, sample: Sample) -> Iterator[str]:
    for query in [*_queries(sample), Query()]:
        asked = query.user_id, query.history, query.exclude, _K
        one, other = grpc.recommend(*asked), rest.recommend(*asked)
        same = one.item_ids == other.item_ids and one.source == other.source
        if not same or not _close(_values(one), _values(other), _SAME):
            yield f"{_whom(query)}: gRPC and REST disagree"
    for item in sample.items[:3]:
        one_list, other_list = grpc.similar_items(item), rest.similar_items(item)
        if one_list.item_ids != other_list.item_ids or one_list.known != other_list.known:
            yield f"similar to {item!r}: gRPC and REST disagree"
        if grpc.describe([item]) != rest.describe([item]):
            yield f"describe {item!r}: gRPC and REST disagree"


def _queries(sample: Sample) -> list[Query]:
    return [*(Query(user) for user in sample.users), *(Query(_UNKNOWN_USER, history) for history in sample.histories)]


def _whom(query: Query) -> str:
    return f"history {list(query.history)[:3]}" if query.history else f"user {query.user_id!r}"


def _values(items: Iterable[Recommendation]) -> list[float]:
    return [item.score for item in items]


def _rows(outputs: Mapping[str, Tensor]) -> list[list[str]]:
    return [[item for item in row if item] for row in outputs["item_ids"].rows()]


def _close(one: Sequence[float], other: Sequence[float], tolerance: float) -> bool:
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) for a, b in zip(one, other)
    )


def _about(what: str, faults: Sequence[str]) -> list[str]:
    return [f"{what}: {fault}" for fault in faults]


def _example(features: Mapping[str, Sequence[str]]) -> bytes:
    import tensorflow as tf

    def feature(values: Sequence[str]) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode() for value in values]))

    named = {name: feature(values) for name, values in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=named)).SerializeToString()
