"""What both clients have in common, the blocking and the asyncio one: arguments, requests and results, without I/O."""

from __future__ import annotations

import functools
import logging
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable, NamedTuple, Optional, TypeVar, Union

from serving import contract, traceparent
from serving.client import context as request_context
from serving.client import rules, tensors
from serving.client.answer_log import AnswerLog, record
from serving.client.engine import Engine, Interceptor, Steps
from serving.client.errors import FAILURES, InvalidRequest, ModelNotFound, RecommenderError, ServerError
from serving.client.exploration import Exploration
from serving.client.metrics import Metrics
from serving.client.policies import Breaker, Connection, Hedge, Retry, Tls, of_type, seconds
from serving.client.results import (
    Contribution,
    Explanation,
    ItemDescription,
    ItemVector,
    ModelMetadata,
    QueryVector,
    Recommendation,
    RecommendationList,
    ScoredUser,
    SimilarItems,
    UserList,
    VersionStatus,
)
from serving.client.tensors import Tensor
from serving.client.traffic import FileFallback, Traffic, TrafficFile
from serving.client.transport import UNIX, Answer, Metadata, ModelRef, Predict, Request, Status, address

T = TypeVar("T")

_LOGGER = logging.getLogger("serving.client")
_MAX_K = (1 << 31) - 1
_MAX_VERSION = (1 << 63) - 1
_UNKNOWN_LABEL = "Unrecognized servable version label"
_TEXTS = {
    contract.ITEM_IDS,
    contract.USER_IDS,
    contract.SOURCE,
    contract.DISPLAY,
    contract.SEEN,
    contract.SHARD,
    contract.HISTORY_IDS,
    contract.PART_NAMES,
    contract.METHOD,
}
"""The outputs that are strings."""
_NO_VECTORS = "gives no vectors: it was indexed before there were any; run `recommender reindex`"
_LEAVES_OUT = (
    "leaves out what it is configured to: it was indexed before a request could say; run `recommender reindex`"
)
_NO_TASKS = "has no tasks: ask without weights of them"
_PORTS = {"grpc": 8500, "rest": 8501}


@dataclass(frozen=True)
class Query:
    """Whom to recommend for: one row of `recommend_batch`."""

    user_id: Optional[str] = None
    """None for somebody without an id."""
    history: Sequence[str] = ()
    """Ids of the items that the user had to do with, newest first; replaces the history that the model has stored."""
    exclude: Sequence[str] = ()
    """Ids of items that must not be returned."""
    context: Optional[Mapping[str, Any]] = None
    """Features of the request by name, see `RecommenderClient.recommend`."""
    allow: Optional[Sequence[str]] = None
    """Ids of the only items that may be returned; None for all."""
    filters: Optional[rules.Filters] = None
    """What all items must fulfil, see `RecommenderClient.recommend`."""
    boosts: Optional[Mapping[str, float]] = None
    """What is added to the scores of items, by condition."""
    diversity: Optional[float] = None
    """How much the items are to differ, from 0 to 1; None as the model has it."""
    tasks: Optional[Mapping[str, float]] = None
    """What each of the model's tasks counts, by its name; None as the model has it."""
    leave_out: Optional[str] = None
    """Which of the user's items are not returned: "all", "nothing", or None as the model has it."""


class _Row(NamedTuple):
    """A query whose values were checked."""

    user_id: str
    history: list[str]
    exclude: list[str]
    context: Mapping[str, Any]
    rules: rules.Rules
    tasks: Sequence[tuple[str, float]]
    """Names of tasks and their weights; empty as the model has them."""
    leave_out: str
    """Empty as the model has it."""


def _check_policies(retry: Any, hedge: Any, breaker: Any, answer_log: Any, exploration: Any) -> None:
    of_type("retry", retry, Retry)
    of_type("hedge", hedge, Hedge)
    of_type("breaker", breaker, Breaker)
    of_type("answer_log", answer_log, AnswerLog)
    of_type("exploration", exploration, Exploration)


def _tls_of(names: Sequence[Any], tls: Optional[Tls]) -> Optional[Tls]:
    """How to connect over REST, by what the targets' names say."""
    if any(str(name).startswith("https://") for name in names):
        tls = tls or Tls()
    if tls and any(str(name).startswith("http://") for name in names):
        raise InvalidRequest(f"target {', '.join(map(str, names))}: with tls it is https://")
    return tls


def _check_model(model: str, version: Optional[int], label: Optional[str]) -> None:
    if not isinstance(model, str) or not model:
        raise InvalidRequest("model must be the model's name in the server")
    number = isinstance(version, int) and not isinstance(version, bool)
    if version is not None and not (number and 0 <= version <= _MAX_VERSION):
        raise InvalidRequest(f"version={version!r}: it is a number, such as 20261101000000")
    if label is not None and (not isinstance(label, str) or not label):
        raise InvalidRequest(f"label={label!r}: it is a text, such as 'stable'")
    if version is not None and label is not None:
        raise InvalidRequest("give a version or a label, not both")
    for name, value in (("model", model), ("label", label or "")):
        _text(value, name)


class Calls:
    """A client but for its I/O: each call is a generator of steps, which the client drives.

    Raises:
        InvalidRequest: an argument is wrong.
    """

    def __init__(
        self,
        target: Union[str, Sequence[str]],
        *,
        model: str,
        transport: str = "grpc",
        timeout: float = 10.0,
        version: Optional[int] = None,
        label: Optional[str] = None,
        tls: Optional[Tls] = None,
        metadata: Optional[Mapping[str, str]] = None,
        compression: Optional[str] = None,
        keepalive: Optional[float] = 30.0,
        retry: Optional[Retry] = Retry(),  # noqa: B008  # frozen
        hedge: Optional[Hedge] = None,
        breaker: Optional[Breaker] = None,
        fallback: Union[Sequence[str], FileFallback, None] = None,
        traffic: Union[Traffic, TrafficFile, None] = None,
        batching: bool = False,
        interceptors: Sequence[Interceptor] = (),
        proxy: bool = False,
        answer_log: Optional[AnswerLog] = None,
        exploration: Optional[Exploration] = None,
    ):
        if transport not in _PORTS:
            raise InvalidRequest(f"transport {transport!r}: it is 'grpc' or 'rest'")
        _check_model(model, version, label)
        timeout = seconds("timeout", timeout)
        of_type("interceptors", interceptors, Iterable)
        of_type("traffic", traffic, Traffic, TrafficFile)
        _check_policies(retry, hedge, breaker, answer_log, exploration)
        names: Sequence[Any] = target if isinstance(target, (list, tuple)) and target else [target]
        if transport == "rest":
            tls = _tls_of(names, tls)
        self._addresses = [parse_target(name, transport) for name in names]
        self._connection = Connection(tls, compression, keepalive, proxy)
        self._wires = _wires(transport)
        self.traffic = traffic
        """Who is served by the canary; may be changed at any time."""
        self._answer_log = answer_log
        self._exploration = exploration
        self._model = ModelRef(model, version, label)
        self._timeout = timeout
        self._batching = batching
        self._fallback = fallback
        if not isinstance(fallback, FileFallback):
            self._fallback = None if fallback is None else tuple(_id(i, "fallback") for i in _ids(fallback, "fallback"))
        targets = [address(host, port) for host, port in self._addresses]
        self.target = ", ".join(targets)
        self._make_engine = functools.partial(
            Engine,
            retry=retry or Retry(attempts=1),
            hedge=hedge,
            breaker=breaker,
            metadata=metadata,
            interceptors=interceptors,
        )
        self._engine = self._make_engine(targets)
        self._process = os.getpid()
        self._closed = False
        self._open()

    def _open(self) -> None:
        """Opens the transports, where that needs no event loop."""

    @property
    def metrics(self) -> Metrics:
        """What the client has done so far; `metrics.snapshot()` shows it."""
        return self._engine.metrics

    def _recommend(self, queries: Iterable[Query], k: int) -> Steps[list[RecommendationList]]:
        k = _checked_k(k)
        rows = [
            _Row(
                _user(query.user_id),
                _ids(query.history, "history"),
                _ids(query.exclude, "exclude"),
                {} if query.context is None else query.context,
                checked_rules(query.allow, query.filters, query.boosts, query.diversity),
                checked_tasks(query.tasks),
                checked_leave_out(query.leave_out),
            )
            for query in queries
        ]
        traffic = self.traffic.current() if self.traffic else None
        canary = [traffic is not None and traffic.takes(row.user_id) for row in rows]
        deadline = self._deadline()
        asked_at, started = time.time_ns() // 1000, self._engine.clock()
        lists: dict[int, RecommendationList] = {}
        for side in (False, True):
            places = [place for place, taken in enumerate(canary) if taken is side]
            if places:
                part = [rows[place] for place in places]
                found = yield from self._recommend_or_fall_back(part, k, traffic if side else None, deadline)
                lists.update(zip(places, found))
        answers = [lists[place] for place in range(len(rows))]
        if self._exploration is not None:
            answers = [_explored(answer, row, self._exploration) for row, answer in enumerate(answers)]
        self._log(rows, answers, asked_at, self._engine.clock() - started)
        return answers

    def _log(self, rows: list[_Row], answers: list[RecommendationList], asked_at: int, latency: float) -> None:
        """Hands answers over to the log, if there is one; what goes wrong there does no harm to the call."""
        log = self._answer_log
        try:
            if log is not None and any(log.takes(answer.request_id) for answer in answers):
                copied = [row._replace(context=log.features(row.context)) for row in rows]
                log.add(functools.partial(self._records, log, copied, answers, asked_at, latency), len(answers))
        except Exception:
            _LOGGER.exception("an answer was not logged")

    def _records(
        self, log: AnswerLog, rows: list[_Row], answers: list[RecommendationList], asked_at: int, latency: float
    ) -> Iterator[dict[str, Any]]:
        explored = self._exploration
        for place, (row, answer) in enumerate(zip(rows, answers)):
            if not log.takes(answer.request_id):
                continue
            more: dict[str, Any] = {}
            if explored is not None and not answer.fallback:
                more["exploration"] = {"share": explored.share, "first": explored.first}
            if answer.order is not None:
                more["order"] = answer.order
            yield record(
                by="client",
                request_id=answer.request_id,
                row=place,
                time_us=asked_at,
                model=self._model.name,
                version=answer.version,
                label=answer.label,
                source=answer.source,
                latency_s=latency,
                user=log.user(row.user_id),
                history=row.history,
                logged=log.history,
                context=row.context,
                ruled=bool(row.exclude or row.rules != rules.Rules() or row.tasks or row.leave_out),
                items=answer.item_ids,
                scores=[item.score for item in answer.items],
                **more,
            )

    def _recommend_or_fall_back(
        self, rows: list[_Row], k: int, traffic: Optional[Traffic], deadline: float
    ) -> Steps[list[RecommendationList]]:
        try:
            return (
                yield from self._on_side(traffic, lambda model: self._recommend_by(model, rows, k, deadline), len(rows))
            )
        except FAILURES as error:
            # Which items pass a filter is known to the model only.
            if self._fallback is None or any(row.rules.filters for row in rows):
                raise
            self.metrics.happened("fallback", len(rows))
            items = self._fallback.current() if isinstance(self._fallback, FileFallback) else self._fallback
            return [_fall_back(items, row, k, error) for row in rows]

    def _recommend_by(
        self, model: ModelRef, rows: list[_Row], k: int, deadline: float
    ) -> Steps[list[RecommendationList]]:
        signature, inputs, lacks = self._signature(rows, k)

        def parse(answer: Answer) -> list[RecommendationList]:
            expected = {contract.ITEM_IDS: (len(rows), None), contract.SOURCE: (len(rows),)}
            outputs = self._checked(answer, model, signature, expected)
            sources = outputs[contract.SOURCE].values
            if "" in sources:  # how a request that shares a batch is refused
                raise InvalidRequest(
                    f"{self.target} refused the request: k={k} is above the model's limit, or a rule names no attribute"
                    " of the model's, or a weight none of its tasks (without batching the message says which)"
                )
            # Where the server batches, a row is as long as the longest that anybody asked for.
            return [
                RecommendationList(
                    items[:k],
                    str(source),
                    answer.version,
                    model.label,
                    request_id=answer.request_id,
                    missing=answer.missing,
                )
                for items, source in zip(self._ranked(outputs, model), sources)
            ]

        return (yield from self._asked(model, signature, inputs, parse, lacks, deadline))

    def _asked(
        self,
        model: ModelRef,
        signature: str,
        inputs: Mapping[str, Tensor],
        parse: Callable[[Answer], T],
        lacks: str,
        deadline: Optional[float] = None,
    ) -> Steps[T]:
        """Asks a signature that not every model has; `lacks` is what is said of one without it."""
        request = Predict(model, signature, inputs, contract.SIGNATURES[signature].outputs)
        return (yield from self._call_or_lack(request, parse, lacks, deadline))

    def _signature(self, rows: list[_Row], k: int) -> tuple[str, dict[str, Tensor], str]:
        """The signature to ask, its inputs, and what to say of a model that lacks it."""
        for_tasks, leaving_out = any(row.tasks for row in rows), any(row.leave_out for row in rows)
        if self._batching:
            examples = [
                request_context.serialize_query(
                    *row[:-2], k, row.tasks if for_tasks else None, row.leave_out if leaving_out else None
                )
                for row in rows
            ]
            signature = contract.RECOMMEND_EXAMPLES
            lacks = "isn't made for a server that batches: make the client without batching"
            if for_tasks:
                signature, lacks = contract.RECOMMEND_EXAMPLES_FOR_TASKS, _NO_TASKS
            if leaving_out:
                signature, lacks = contract.RECOMMEND_EXAMPLES_LEAVING_OUT, _LEAVES_OUT
            return signature, {contract.EXAMPLES: _strings(examples)}, lacks
        inputs = {
            contract.USER_ID: _strings([row.user_id for row in rows]),
            contract.HISTORY: _matrix([row.history for row in rows]),
            contract.EXCLUDE: _matrix([row.exclude for row in rows]),
            contract.K: Tensor("int32", (), [k]),
        }
        contexts = [request_context.serialize(row.context) for row in rows]
        if for_tasks or leaving_out or any(row.rules != rules.Rules() for row in rows):
            inputs |= {contract.CONTEXT: _strings(contexts), **_rule_inputs([row.rules for row in rows])}
            if leaving_out:
                inputs |= _task_inputs([row.tasks for row in rows])
                inputs[contract.LEAVE_OUT] = _strings([row.leave_out for row in rows])
                return contract.RECOMMEND_LEAVING_OUT, inputs, _LEAVES_OUT
            if for_tasks:
                inputs |= _task_inputs([row.tasks for row in rows])
                return contract.RECOMMEND_FOR_TASKS, inputs, _NO_TASKS
            return contract.RECOMMEND_WITH_RULES, inputs, "takes no rules: it was indexed before there were any"
        if any(contexts):
            inputs[contract.CONTEXT] = _strings(contexts)
            return contract.RECOMMEND_IN_CONTEXT, inputs, "takes no context: ask without one"
        return contract.RECOMMEND, inputs, "isn't a recommender"

    def _similar_items(
        self, item_id: str, exclude: Sequence[str], k: int, own_rules: rules.Rules
    ) -> Steps[SimilarItems]:
        ruled = own_rules != rules.Rules()
        signature = contract.SIMILAR_ITEMS_WITH_RULES if ruled else contract.SIMILAR_ITEMS
        inputs = {
            contract.ITEM_ID: _strings([_id(item_id, "item_id")]),
            contract.EXCLUDE: _matrix([_ids(exclude, "exclude")]),
            contract.K: Tensor("int32", (), [_checked_k(k)]),
            **(_rule_inputs([own_rules]) if ruled else {}),
        }

        def parse(answer: Answer) -> SimilarItems:
            expected = {contract.ITEM_IDS: (1, None), contract.KNOWN: (1,)}
            outputs = self._checked(answer, self._model, signature, expected)
            known = bool(outputs[contract.KNOWN].values[0])
            return SimilarItems(self._ranked(outputs, self._model)[0], known, answer.version)

        request = Predict(self._model, signature, inputs, contract.SIGNATURES[signature].outputs)
        return (yield from self._call(request, parse))

    def _audience(
        self, item_id: str, exclude: Sequence[str], k: int, exclude_owners: bool, own_rules: rules.Rules
    ) -> Steps[UserList]:
        ruled = own_rules != rules.Rules()
        inputs = {
            contract.ITEM_ID: _strings([_id(item_id, "item_id")]),
            contract.EXCLUDE: _matrix([_ids(exclude, "exclude")]),
            contract.EXCLUDE_OWNERS: Tensor("bool", (1,), [bool(exclude_owners)]),
            contract.K: Tensor("int32", (), [_checked_k(k)]),
        }
        if ruled:
            inputs |= {contract.ALLOW: _matrix([own_rules.allow]), contract.FILTER: _matrix([own_rules.filters])}
        return self._users(contract.AUDIENCE_WITH_RULES if ruled else contract.AUDIENCE, inputs)

    def _similar_users(self, user_id: str, exclude: Sequence[str], k: int) -> Steps[UserList]:
        inputs = {
            contract.USER_ID: _strings([_id(user_id, "user_id")]),
            contract.EXCLUDE: _matrix([_ids(exclude, "exclude")]),
            contract.K: Tensor("int32", (), [_checked_k(k)]),
        }
        return self._users(contract.SIMILAR_USERS, inputs)

    def _users(self, signature: str, inputs: Mapping[str, Tensor]) -> Steps[UserList]:
        def parse(answer: Answer) -> UserList:
            expected = {contract.USER_IDS: (1, None), contract.KNOWN: (1,)}
            outputs = self._checked(answer, self._model, signature, expected)
            [row] = self._scored(outputs, contract.USER_IDS, self._model)
            users = tuple(ScoredUser(user, score) for user, score in row)
            return UserList(users, bool(outputs[contract.KNOWN].values[0]), answer.version)

        request = Predict(self._model, signature, inputs, contract.SIGNATURES[signature].outputs)
        lacks = "says nothing of users: make a version with serving.audience: true"
        return self._call_or_lack(request, parse, lacks)

    def _score(self, user_id: Optional[str], history: Sequence[str], candidates: Sequence[str]) -> Steps[list[float]]:
        ids = [_id(item, "candidates") for item in _ids(candidates, "candidates")]
        user = _user(user_id)
        inputs = {
            contract.USER_ID: _strings([user]),
            contract.HISTORY: _matrix([_ids(history, "history")]),
            contract.CANDIDATES: _matrix([ids]),
        }
        if not ids:
            return []
        traffic = self.traffic.current() if self.traffic else None
        deadline = self._deadline()

        def ask(model: ModelRef) -> Steps[list[float]]:
            def parse(answer: Answer) -> list[float]:
                outputs = self._checked(answer, model, contract.SCORE, {contract.SCORES: (1, len(ids))})
                return [_scored_value(score) for score in outputs[contract.SCORES].values]

            return self._call(Predict(model, contract.SCORE, inputs, (contract.SCORES,)), parse, deadline)

        return (yield from self._on_side(traffic if traffic is not None and traffic.takes(user) else None, ask))

    def _explain(
        self,
        user_id: Optional[str],
        history: Sequence[str],
        candidates: Sequence[str],
        context: Optional[Mapping[str, Any]],
        tasks: Optional[Mapping[str, float]],
    ) -> Steps[list[Explanation]]:
        ids = [_id(item, "candidates") for item in _ids(candidates, "candidates")]
        user = _user(user_id)
        inputs = {
            contract.USER_ID: _strings([user]),
            contract.HISTORY: _matrix([_ids(history, "history")]),
            contract.CANDIDATES: _matrix([ids]),
        }
        features, weights = request_context.serialize({} if context is None else context), checked_tasks(tasks)
        signature, lacks = contract.EXPLAIN, "explains nothing: it was indexed before there were explanations"
        if features:
            signature, lacks = contract.EXPLAIN_IN_CONTEXT, "takes no context in explanations: ask without one"
            inputs[contract.CONTEXT] = _strings([features])
        if weights:
            signature, lacks = contract.EXPLAIN_FOR_TASKS, _NO_TASKS
            inputs |= {contract.CONTEXT: _strings([features]), **_task_inputs([weights])}
        if not ids:
            return []
        traffic = self.traffic.current() if self.traffic else None
        deadline = self._deadline()

        def ask(model: ModelRef) -> Steps[list[Explanation]]:
            def parse(answer: Answer) -> list[Explanation]:
                return self._explanations(answer, model, signature, ids)

            return self._asked(model, signature, inputs, parse, lacks, deadline)

        return (yield from self._on_side(traffic if traffic is not None and traffic.takes(user) else None, ask))

    def _explanations(self, answer: Answer, model: ModelRef, signature: str, ids: list[str]) -> list[Explanation]:
        expected = {
            contract.SCORES: (1, len(ids)),
            contract.HISTORY_IDS: (1, None),
            contract.PART_NAMES: (1, None),
            contract.METHOD: (1,),
        }
        outputs = self._checked(answer, model, signature, expected)
        history, names = ([str(v) for v in outputs[n].values] for n in (contract.HISTORY_IDS, contract.PART_NAMES))
        expected = {
            contract.CONTRIBUTIONS: (1, len(ids), len(history)),
            contract.PARTS: (1, len(ids), len(names)),
        }
        outputs = self._checked(answer, model, signature, expected)
        contributions, parts = outputs[contract.CONTRIBUTIONS].values, outputs[contract.PARTS].values
        return [
            Explanation(
                item,
                _scored_value(outputs[contract.SCORES].values[place]),
                tuple(
                    Contribution(seen, float(value))
                    for seen, value in zip(history, contributions[place * len(history) :])
                    if seen
                ),
                {name: float(value) for name, value in zip(names, parts[place * len(names) :])},
                str(outputs[contract.METHOD].values[0]),
            )
            for place, item in enumerate(ids)
        ]

    def _describe(self, item_ids: Sequence[str]) -> Steps[list[ItemDescription]]:
        ids = _ids(item_ids, "item_ids")
        if not ids:
            return []

        def parse(answer: Answer) -> list[ItemDescription]:
            shape = (len(ids),)
            expected = {contract.DISPLAY: shape, contract.KNOWN: shape}
            outputs = self._checked(answer, self._model, contract.DESCRIBE, expected)
            rows = zip(ids, outputs[contract.DISPLAY].values, outputs[contract.KNOWN].values)
            return [ItemDescription(item, str(display), bool(known)) for item, display, known in rows]

        outputs = contract.SIGNATURES[contract.DESCRIBE].outputs
        request = Predict(self._model, contract.DESCRIBE, {contract.ITEM_ID: _strings(ids)}, outputs)
        return (yield from self._call(request, parse))

    def _embed_items(self, item_ids: Sequence[str]) -> Steps[list[ItemVector]]:
        ids = _ids(item_ids, "item_ids")
        if not ids:
            return []
        count, signature = len(ids), contract.EMBED_ITEMS

        def parse(answer: Answer) -> list[ItemVector]:
            expected = {contract.EMBEDDING: (count, None), contract.BIAS: (count,), contract.KNOWN: (count,)}
            outputs = self._checked(answer, self._model, signature, expected)
            columns = outputs[contract.EMBEDDING].rows(), outputs[contract.BIAS].values, outputs[contract.KNOWN].values
            return [
                ItemVector(item, tuple(map(float, vector)), float(bias), bool(known))
                for item, vector, bias, known in zip(ids, *columns)
            ]

        inputs = {contract.ITEM_ID: _strings(ids)}
        return (yield from self._asked(self._model, signature, inputs, parse, _NO_VECTORS))

    def _embed_query(
        self, user_id: Optional[str], history: Sequence[str], context: Optional[Mapping[str, Any]]
    ) -> Steps[QueryVector]:
        # Not by the canary's traffic: a vector is of use beside items' vectors of its own version only.
        signature = contract.EMBED_QUERIES
        inputs = {
            contract.USER_ID: _strings([_user(user_id)]),
            contract.HISTORY: _matrix([_ids(history, "history")]),
            contract.CONTEXT: _strings([request_context.serialize({} if context is None else context)]),
        }

        def parse(answer: Answer) -> QueryVector:
            expected = {contract.EMBEDDING: (1, None), contract.KNOWN: (1,), contract.SEEN: (1, None)}
            outputs = self._checked(answer, self._model, signature, expected)
            seen = dict.fromkeys(str(item) for item in outputs[contract.SEEN].values if item)
            return QueryVector(
                tuple(map(float, outputs[contract.EMBEDDING].values)),
                bool(outputs[contract.KNOWN].values[0]),
                tuple(seen),
                answer.version,
            )

        return (yield from self._asked(self._model, signature, inputs, parse, _NO_VECTORS))

    def _predict(
        self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str]
    ) -> Steps[dict[str, Tensor]]:
        return self._call(Predict(self._model, signature, inputs, outputs), _value)

    def _status(self) -> Steps[list[VersionStatus]]:
        states = yield from self._call(Status(self._model), _value)
        return sorted(states, key=lambda status: status.version, reverse=True)

    def _metadata(self) -> Steps[ModelMetadata]:
        return self._call(Metadata(self._model), _value)

    def _deadline(self) -> float:
        return self._engine.clock() + self._timeout

    def _call(self, request: Request, parse: Callable[[Answer], T], deadline: Optional[float] = None) -> Steps[T]:
        [call] = self._calls([self._engine], request, parse, self._deadline() if deadline is None else deadline)
        return call

    def _calls(
        self, engines: Sequence[Engine], request: Request, parse: Callable[[Answer], T], deadline: float
    ) -> list[Steps[T]]:
        """The same call by several engines."""
        if os.getpid() != self._process:
            # Threads, locks and connections don't live through a fork, or would be shared with the parent.
            raise RecommenderError("this client was made in another process: make one in each process after the fork")
        if self._closed:
            raise RecommenderError("the client is closed")
        wire = self._wires.encode(request)
        trace = traceparent.new()
        return [engine.call(request, wire, parse, deadline, self._timeout, trace) for engine in engines]

    def _call_or_lack(
        self, request: Predict, parse: Callable[[Answer], T], lacks: str, deadline: Optional[float] = None
    ) -> Steps[T]:
        """`_call`; `lacks` says what a model without the signature is not made for."""
        try:
            return (yield from self._call(request, parse, deadline))
        except InvalidRequest as error:
            if f'"{request.method}" not found' in str(error):
                raise InvalidRequest(
                    f"model {request.model} at {self.target} has no signature {request.method!r}, so it {lacks}"
                ) from None
            raise

    def _on_side(self, traffic: Optional[Traffic], ask: Callable[[ModelRef], Steps[T]], rows: int = 1) -> Steps[T]:
        """Asks the canary, if there is one and the server knows it, else the client's own version."""
        if traffic is not None:
            try:
                return (yield from ask(ModelRef(self._model.name, label=traffic.label)))
            except (ModelNotFound, InvalidRequest) as error:
                if isinstance(error, InvalidRequest) and _UNKNOWN_LABEL not in str(error):
                    raise
                self.metrics.happened("canary_unknown", rows)
        return (yield from ask(self._model))

    def _checked(
        self, answer: Answer, model: ModelRef, signature: str, expected: Mapping[str, tuple[Optional[int], ...]]
    ) -> dict[str, Tensor]:
        """The answer's tensors, which have the contract's outputs and shapes (None: any size)."""
        outputs = _value(answer)
        for name, shape in expected.items():
            found = outputs[name].shape if name in outputs else None
            if found is None or len(found) != len(shape) or any(s not in (None, f) for s, f in zip(shape, found)):
                raise ServerError(
                    f"model {model} at {self.target} answered {signature!r} with {name!r} of shape {found}, not"
                    f" {shape}: it isn't a recommender that this client knows"
                )
        for name, tensor in outputs.items():
            if tensor.values and (tensor.dtype == "string") != (name in _TEXTS):
                raise ServerError(f"model {model} at {self.target} answered {name!r} of type {tensor.dtype}")
        return outputs

    def _ranked(self, outputs: Mapping[str, Tensor], model: ModelRef) -> list[tuple[Recommendation, ...]]:
        rows = self._scored(outputs, contract.ITEM_IDS, model)
        return [tuple(Recommendation(item, score) for item, score in row) for row in rows]

    def _scored(self, outputs: Mapping[str, Tensor], name: str, model: ModelRef) -> list[list[tuple[str, float]]]:
        """Rows of ids and their scores, without the padding."""
        ids, scores = outputs[name], outputs.get(contract.SCORES)
        if scores is None or scores.shape != ids.shape:
            raise ServerError(f"model {model} at {self.target} answered {name} without a score each")
        return [[(i, float(s)) for i, s in zip(*row) if i] for row in zip(ids.rows(), scores.rows())]


def _value(answer: Answer) -> Any:
    return answer.value


def _scored_value(score: Any) -> float:
    """A score as people are told it: -inf for what has none."""
    return float(score) if score > contract.NO_SCORE else -math.inf


def _fall_back(items: Sequence[str], row: _Row, k: int, error: RecommenderError) -> RecommendationList:
    left_out = {*row.exclude, *(row.history if row.leave_out != contract.NOTHING else ())}
    allowed = set(row.rules.allow or items)
    kept = [item for item in dict.fromkeys(items) if item in allowed and item not in left_out][:k]
    return RecommendationList(
        tuple(Recommendation(item, 0.0) for item in kept),
        "fallback",
        error=error.with_traceback(None),
        request_id=error.request_id,
    )


def _explored(answer: RecommendationList, row: int, exploration: Exploration) -> RecommendationList:
    order = None if answer.fallback else exploration.order(answer.request_id, row, len(answer))
    if order is None:
        return answer
    return replace(answer, items=tuple(answer.items[place] for place in order), order=tuple(order))


def _wires(transport: str) -> Any:
    # Imported here, so that REST needs no gRPC and gRPC no HTTP.
    if transport == "grpc":
        from serving.client import grpc_transport

        return grpc_transport
    from serving.client import rest_transport

    return rest_transport


def parse_target(target: str, transport: str) -> tuple[str, int]:
    """Splits `host`, `host:port`, `[ipv6]:port`, (gRPC) `dns:///host:port` or (REST) `http(s)://host:port` into host
    and port; the host of gRPC's `unix:/path` is all of it.

    Raises:
        InvalidRequest: it is none of these.
    """
    text = target.strip() if isinstance(target, str) else ""
    if transport == "rest":
        text = re.sub(r"^https?://", "", text).rstrip("/")
    elif re.fullmatch(f"{UNIX}(//)?/[^/].*", text):
        return text, 0
    else:
        text = re.sub("^dns:///", "", text)
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+)(?::(\d{1,5}))?", text)
    if not match or not 0 < int(match[2] or 1) < 65536:
        raise InvalidRequest(f"target {target!r}: write it as host:port, such as localhost:{_PORTS[transport]}")
    return match[1], int(match[2] or _PORTS[transport])


def _checked_k(k: Any) -> int:
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= _MAX_K:
        raise InvalidRequest(f"k={k!r}: the number of items must be a whole number of at least 1")
    return k


def _user(user_id: Optional[str]) -> str:
    return "" if user_id is None else _text(user_id, "user_id")


def _id(value: Any, name: str) -> str:
    if _text(value, name) == "":
        raise InvalidRequest(f"{name}: an id can't be empty")
    return value


def _ids(ids: Any, name: str) -> list[str]:
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise InvalidRequest(f"{name}={ids!r}: it is a list of ids")
    return [_text(item, name) for item in ids]


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"{name}: {value!r} is a {type(value).__name__}, ids are strings: {str(value)!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{name}: {value!r} can't be written as UTF-8") from None
    return value


def checked_rules(
    allow: Optional[Sequence[str]],
    filters: Optional[rules.Filters],
    boosts: Optional[Mapping[str, float]],
    diversity: Optional[float],
) -> rules.Rules:
    """Checks the rules of a request.

    Raises:
        InvalidRequest: there can be no such rule.
    """
    allowed = () if allow is None else tuple(_id(item, "allow") for item in _ids(allow, "allow"))
    if allow is not None and not allowed:
        raise InvalidRequest("allow is an empty list, so that nothing could be returned; None allows all items")
    return rules.Rules(
        allowed,
        tuple(_text(condition, "filters") for condition in rules.conditions({} if filters is None else filters)),
        tuple((_text(condition, "boosts"), by) for condition, by in rules.boosted({} if boosts is None else boosts)),
        rules.checked_diversity(diversity),
    )


def checked_tasks(tasks: Optional[Mapping[str, float]]) -> list[tuple[str, float]]:
    """Checks the weights of tasks of a request.

    Raises:
        InvalidRequest: there can be no such weights.
    """
    return [(_text(name, "tasks"), weight) for name, weight in rules.weighed({} if tasks is None else tasks)]


def checked_leave_out(leave_out: Optional[str]) -> str:
    """Checks which of the user's items are left out; empty for what the model has.

    Raises:
        InvalidRequest: there is no such wish.
    """
    if leave_out is None:
        return ""
    if leave_out not in (contract.ALL, contract.NOTHING):
        raise InvalidRequest(
            f"leave_out={leave_out!r}: it is {contract.ALL!r}, {contract.NOTHING!r}, or None as the model has it"
        )
    return leave_out


def _task_inputs(rows: Sequence[Sequence[tuple[str, float]]]) -> dict[str, Tensor]:
    names = _matrix([[name for name, _ in row] for row in rows])
    return {contract.TASKS: names, contract.TASK_WEIGHTS: _numbers([[by for _, by in row] for row in rows], names)}


def _rule_inputs(rows: Sequence[rules.Rules]) -> dict[str, Tensor]:
    diversity = [contract.AS_CONFIGURED if row.diversity is None else row.diversity for row in rows]
    boost = _matrix([[condition for condition, _ in row.boosts] for row in rows])
    return {
        contract.ALLOW: _matrix([row.allow for row in rows]),
        contract.FILTER: _matrix([row.filters for row in rows]),
        contract.BOOST: boost,
        contract.BOOST_BY: _numbers([[by for _, by in row.boosts] for row in rows], boost),
        contract.DIVERSITY: Tensor("float32", (len(rows),), diversity),
    }


def _strings(values: Sequence[Union[str, bytes]]) -> Tensor:
    return tensors.Tensor("string", (len(values),), values)


def _numbers(rows: Sequence[Sequence[float]], beside: Tensor) -> Tensor:
    """Rows of numbers for the rows of texts `beside`, padded with 0."""
    width = beside.shape[1]
    return Tensor("float32", beside.shape, [by for row in rows for by in [*row, *[0.0] * (width - len(row))]])


def _matrix(rows: Sequence[Sequence[str]]) -> Tensor:
    """Rows of ids as one tensor, padded with the empty string."""
    width = max((len(row) for row in rows), default=0)
    return Tensor("string", (len(rows), width), [i for row in rows for i in [*row, *[""] * (width - len(row))]])
