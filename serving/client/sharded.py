"""The clients of a sharded servable: all shards are asked at the same time, and their answers become one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Callable, Optional, TypeVar, Union

from serving import contract
from serving.client.aio import AsyncRecommenderClient
from serving.client.calls import Calls
from serving.client.client import RecommenderClient
from serving.client.engine import Steps, together
from serving.client.errors import FAILURES, InvalidRequest, ModelNotFound, RecommenderError
from serving.client.tensors import Tensor
from serving.client.transport import Answer, Metadata, ModelRef, Predict, Request

T = TypeVar("T")

_LISTS = (
    contract.RECOMMEND,
    contract.RECOMMEND_IN_CONTEXT,
    contract.RECOMMEND_WITH_RULES,
    contract.RECOMMEND_EXAMPLES,
    contract.RECOMMEND_FOR_TASKS,
    contract.RECOMMEND_EXAMPLES_FOR_TASKS,
    *contract.LEAVING_OUT,
)
"""Signatures whose answers are the best of all shards, or of those that answer."""
_OWN = {
    contract.SCORE: contract.SCORES,
    contract.EXPLAIN: contract.SCORES,
    contract.EXPLAIN_IN_CONTEXT: contract.SCORES,
    contract.EXPLAIN_FOR_TASKS: contract.SCORES,
    contract.DESCRIBE: contract.KNOWN,
    contract.EMBED_ITEMS: contract.KNOWN,
}
"""Signatures that answer for items, of which one shard has each, and the output that tells which."""
_OF_ITEMS = (
    contract.SCORES,
    contract.CONTRIBUTIONS,
    contract.PARTS,
    contract.DISPLAY,
    contract.KNOWN,
    contract.EMBEDDING,
    contract.BIAS,
)
"""Their outputs that are of the items; others are of the request, and the same in all shards."""


class ShardedCalls(Calls):
    """What both clients of shards have in common.

    Raises:
        InvalidRequest: an argument is wrong.
    """

    def __init__(self, shards: Sequence[Union[str, Sequence[str]]], *, model: str, **options: Any):
        if not isinstance(shards, (list, tuple)) or not shards or not all(shards):
            raise InvalidRequest(f"shards={shards!r}: it is a list of targets, or of lists of replicas, one a shard")
        replicas = [[shard] if isinstance(shard, str) else [*shard] for shard in shards]
        super().__init__(list(itertools.chain(*replicas)), model=model, **options)
        first = [0, *itertools.accumulate(map(len, replicas))]
        self._shards = [
            self._make_engine(self._engine.targets[start:end], first=start, metrics=self.metrics)
            for start, end in zip(first, first[1:])
        ]

    def _signature(self, rows: Any, k: int) -> tuple[str, dict[str, Tensor], str]:
        if any(row.rules.diversity for row in rows):
            raise InvalidRequest("diversity is for a whole servable: no shard has all of the items that are to differ")
        return super()._signature(rows, k)

    def _predict(
        self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str]
    ) -> Steps[dict[str, Tensor]]:
        raise _not_sharded("predict")

    def _call(self, request: Request, parse: Callable[[Answer], T], deadline: Optional[float] = None) -> Steps[T]:
        deadline = self._deadline() if deadline is None else deadline
        if isinstance(request, Metadata):
            [call] = self._calls(self._shards[:1], request, parse, deadline)
            return call
        if request.method not in (*_LISTS, *_OWN, contract.EMBED_QUERIES):
            raise _not_sharded(request.method)
        assert isinstance(request, Predict)
        outputs = (*contract.SIGNATURES[request.method].outputs, contract.SHARD)
        return self._merged(replace(request, outputs=outputs), parse, deadline)

    def _merged(self, request: Predict, parse: Callable[[Answer], T], deadline: float) -> Steps[T]:
        """Asks all shards and, where several versions answer, those with a newer one again by the oldest: that is the
        one which a promotion from shard to shard has left loaded everywhere."""

        def answered(answer: Answer) -> Answer:
            self._shard(answer)
            parse(answer)  # another replica is asked where an answer makes no sense
            return answer

        def ask(places: Sequence[int], request: Predict) -> Steps[dict[int, Union[Answer, RecommenderError]]]:
            calls = self._calls([self._shards[place] for place in places], request, answered, deadline)
            came = dict(zip(places, (yield from together(calls, self._engine.clock))))
            for outcome in came.values():
                if not isinstance(outcome, (Answer, *FAILURES, ModelNotFound)):
                    raise outcome
            return came

        came = yield from ask(range(len(self._shards)), request)
        errors = {place: outcome for place, outcome in came.items() if isinstance(outcome, RecommenderError)}
        found = {place: outcome for place, outcome in came.items() if isinstance(outcome, Answer)}
        if not found:
            raise next((error for error in errors.values() if isinstance(error, FAILURES)), errors[0])
        by_version: dict[str, dict[int, Answer]] = {}
        for place, answer in found.items():
            by_version.setdefault(self._shard(answer).whole, {})[place] = answer
        numbers = [answer.version for answer in found.values() if answer.version is not None]
        if len(by_version) > 1 and len(numbers) == len(found):  # over REST there are none
            model = ModelRef(request.model.name, min(numbers))
            ahead = [place for place, answer in found.items() if answer.version != model.version]
            again = yield from ask(ahead, replace(request, model=model))
            for place, outcome in again.items():
                if isinstance(outcome, Answer):
                    by_version.setdefault(self._shard(outcome).whole, {})[place] = outcome
        chosen = max(by_version.values(), key=len)
        for place in found.keys() - chosen.keys():
            errors[place] = ModelNotFound(f"the shard at {self._at(place)} answers by another version than most")
        return parse(self._one(request.method, chosen, errors))

    def _one(self, method: str, found: Mapping[int, Answer], errors: Mapping[int, RecommenderError]) -> Answer:
        """The answers of shards of one version as one."""
        by_number = {self._shard(answer).number: answer for answer in found.values()}
        if len(by_number) < len(found):
            raise InvalidRequest(f"shards {self.target}: the same shard answers at several of them")
        # What is asked of shards has outputs, and no states or signatures.
        answers: list[Any] = [by_number[number].value for number in sorted(by_number)]
        missing: tuple[str, ...] = ()
        if method in _LISTS:
            outputs = best_of(answers)
            missing = tuple(self._at(place) for place in sorted(errors))
            if missing:
                self.metrics.happened("partial")
        elif method in _OWN:
            outputs, complete = own_of(answers, _OWN[method])
            if errors and not complete:
                raise errors[min(errors)]
        else:
            outputs = dict(answers[0])
        return replace(found[min(found)], value=outputs, missing=missing)

    def _shard(self, answer: Answer) -> contract.Shard:
        """Which shard answered.

        Raises:
            InvalidRequest: it is none, or one of more or fewer than the client has.
        """
        assert isinstance(answer.value, dict)
        told = answer.value.get(contract.SHARD)
        try:
            shard = contract.Shard.parse(str(told.values[0]) if told else "")
        except (ValueError, IndexError):
            message = f"shards {self.target}: one of them serves no shard; make them by `recommender shard`"
            raise InvalidRequest(message) from None
        if shard.of != len(self._shards):
            raise InvalidRequest(
                f"shards {self.target}: these are {len(self._shards)}, and the servable has {shard.of}"
            )
        return shard

    def _at(self, place: int) -> str:
        return ", ".join(self._shards[place].targets)


class ShardedClient(ShardedCalls, RecommenderClient):
    """`RecommenderClient` for a servable whose items are split over servers (`recommender shard`): asks all shards at
    the same time, by the same request and deadline, and merges what they answer, which is what the whole servable
    would.

    Where shards don't answer, lists are made of the others' items, and their `missing` says which shards these are;
    `score`, `explain`, `describe` and `embed_items` raise the error if they were asked for an item that is in none of
    the others. Where all fail, it is as with one server, the fall-back list included. Shards of several versions never
    come into one list: those that answer by a newer one than others are asked again by the oldest; what most shards
    then answer by counts, and the others are missing.

    Not for shards, and refused: `similar_items`, `audience`, `similar_users`, `diversity`, `predict` and `status`.
    `metadata` is the first shard's.

        with ShardedClient(["one:8500", "two:8500"], model="movielens-100k", breaker=Breaker()) as client:
            answer = client.recommend("42")
            print(answer.item_ids, answer.missing)

    Args:
        shards: for each shard its target, or a list of replicas, written as for `RecommenderClient`.
        model: the model's name, the same in all servers.
        **options: those of `RecommenderClient`. Retries, hedges and breakers are of each shard; a breaker keeps a shard
            that hangs from costing each call all of its time.

    Raises:
        InvalidRequest: an argument is wrong.
    """


class AsyncShardedClient(ShardedCalls, AsyncRecommenderClient):
    """`ShardedClient` for asyncio, as `AsyncRecommenderClient` is `RecommenderClient`."""


def _not_sharded(what: str) -> InvalidRequest:
    return InvalidRequest(f"{what} is not for shards: ask a whole servable, or one shard by a client of its own")


def best_of(answers: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The best of all lists; of equal scores those of the earlier shard come first, as they do in the whole servable.

    Args:
        answers: in the order of the shards, `item_ids` and `scores` [B, any number].
    """
    width = max(answer[contract.ITEM_IDS].shape[1] for answer in answers)
    ids: list[str] = []
    scores: list[float] = []
    for lists in zip(*(zip(answer[contract.ITEM_IDS].rows(), answer[contract.SCORES].rows()) for answer in answers)):
        items = [item for of_one in lists for item in zip(*of_one) if item[0]]
        best = [*sorted(items, key=lambda item: -item[1])[:width], *[("", contract.NO_SCORE)] * width][:width]
        ids += [item for item, _ in best]
        scores += [score for _, score in best]
    shape = (len(ids) // width, width)
    merged = {contract.ITEM_IDS: Tensor("string", shape, ids), contract.SCORES: Tensor("float32", shape, scores)}
    return {**answers[0], **merged}


def own_of(answers: Sequence[Mapping[str, Tensor]], told: str) -> tuple[dict[str, Tensor], bool]:
    """Of each item what the shard says that has it, and whether one has each.

    Args:
        answers: outputs for the same items.
        told: the output that tells whether a shard has an item.
    """
    nothing = contract.NO_SCORE if told == contract.SCORES else 0
    has = [[float(value) > nothing for value in answer[told].values] for answer in answers]
    owners = [next((number for number, there in enumerate(of_one) if there), -1) for of_one in zip(*has)]
    outputs = dict(answers[0])
    for name in outputs.keys() & set(_OF_ITEMS):
        size = len(outputs[name].values) // len(owners)
        values = [
            value
            for place, owner in enumerate(owners)
            for value in answers[max(owner, 0)][name].values[place * size : (place + 1) * size]
        ]
        outputs[name] = replace(outputs[name], values=values)
    return outputs, -1 not in owners
