"""The client of a served recommender: recommendations, similar items, scores and descriptions by one call each."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional, TypeVar

from serving.client.calls import Calls, Query, checked_rules
from serving.client.engine import Flight, Run, Start, Steps
from serving.client.errors import RecommenderError
from serving.client.results import (
    Explanation,
    ItemDescription,
    ItemVector,
    ModelMetadata,
    QueryVector,
    RecommendationList,
    SimilarItems,
    UserList,
    VersionStatus,
)
from serving.client.rules import Filters
from serving.client.tensors import Tensor
from serving.client.transport import Pending, Transport

T = TypeVar("T")

__all__ = ["Query", "RecommenderClient"]


class RecommenderClient(Calls):
    """Asks a model server (TensorFlow Serving or the embedded one) for recommendations.

    Needs no TensorFlow. Thread-safe; connects at the first call and keeps the connections. Make it in the process that
    uses it: after a fork. Every call ends within the timeout and raises a `RecommenderError` (`ServerUnavailable`,
    `DeadlineExceeded`, `ModelNotFound`, `InvalidRequest` or `ServerError`) if it fails.

        with RecommenderClient("localhost:8500", model="movielens-100k") as client:
            for item in client.recommend(user_id="42", exclude=["50"], k=10):
                print(item.item_id, item.score)

    Args:
        target: `host:port` of the server; without a port 8500 for gRPC, 8501 for REST. For REST `http://host:port` and
            `https://host:port` too, for gRPC `dns:///host:port` and `unix:/path`. Or a list of replicas, which are
            asked in turn, as are the addresses of a name that stands for several.
        model: the model's name in the server.
        transport: "grpc" or "rest".
        timeout: seconds a call may take, with all its attempts.
        version: ask this version, not the newest.
        label: ask the version with this label.
        tls: connect by TLS, with a certificate of the client's own if the server wants one.
        metadata: goes with every request as gRPC metadata or HTTP headers, such as `{"authorization": "Bearer …"}`.
        compression: "gzip" to compress requests, and answers if the server does.
        keepalive: seconds without a word after which a connection is probed, so that one whose other end is gone is
            found; None for not at all.
        retry: when a failed attempt is made again; None for never.
        hedge: ask twice when an answer is late; by default never.
        breaker: leave a server that keeps failing alone for a while; by default none is left alone.
        fallback: ids of popular items, or a `FileFallback`: what `recommend` and `recommend_batch` return, less the
            history and the exclusions, if the server fails (not if the request is wrong or the model unknown, nor if it
            has filters, which only a model can apply).
        traffic: a share of the users that a canary serves; may be changed by setting `client.traffic`. It counts for
            `recommend`, `recommend_batch`, `score` and `explain`; a canary that the server doesn't know is passed over.
        batching: the server batches: `recommend` and `recommend_batch` ask by the signature `recommend_examples`, whose
            requests it can put together.
        interceptors: hooks around every attempt.
        proxy: whether gRPC goes by the environment's `http_proxy`; REST never does.
        answer_log: where what `recommend` and `recommend_batch` answer is logged; it stays open when the client closes.
        exploration: a share of these answers comes shuffled, so that the log tells what places do.

    Raises:
        InvalidRequest: an argument is wrong.
    """

    _transports: list[Transport]

    def _open(self) -> None:
        self._transports = [self._wires.BlockingTransport(*where, self._connection) for where in self._addresses]

    def recommend(
        self,
        user_id: Optional[str] = None,
        history: Sequence[str] = (),
        exclude: Sequence[str] = (),
        k: int = 10,
        context: Optional[Mapping[str, Any]] = None,
        *,
        allow: Optional[Sequence[str]] = None,
        filters: Optional[Filters] = None,
        boosts: Optional[Mapping[str, float]] = None,
        diversity: Optional[float] = None,
        tasks: Optional[Mapping[str, float]] = None,
        leave_out: Optional[str] = None,
    ) -> RecommendationList:
        """Returns up to `k` items, best first.

        Items of the history (the request's, and the stored one of a known user) and of `exclude` are left out, so that
        fewer than `k`, or none, may remain; of the history only as far as the model or `leave_out` says.

        Args:
            user_id: None for somebody without an id. An unknown user is served from the history, or gets the popular
                items: see the result's `source`.
            history: ids of items, newest first; replaces the stored history.
            exclude: ids of items that must not be returned.
            k: at least 1, at most the model's own limit.
            context: features of the request and its user, by the names that the model was trained with: a text or a
                number, a list of them, or None for a missing one; `timestamp` is a datetime (UTC unless it has an
                offset) or whole microseconds since the epoch. The model ignores other names. Only for a model that
                takes a context.
            allow: ids of the only items that may be returned; None for all.
            filters: what all items must fulfil, by attributes that the model was indexed with: one value or several,
                of which one must do; numbers also with `<=` and `>=`: `{"brand": ["x", "y"], "price<=": 20}`.
            boosts: what is added to the scores of items, by condition: `{"brand=x": 0.5, "price<=20": 0.1}`.
            diversity: how much the items are to differ from each other, from 0 (by score alone) to 1; None as the model
                is configured.
            tasks: what each task of the model counts in a score: `{"purchase": 1, "view": 0.2}`. Only ratios matter,
                and a task that is not named counts for nothing; None as the model is configured. Only for a model that
                has tasks.
            leave_out: which of the user's items are not returned, beside those of `exclude` and those that the user
                rejected: "all" that they had to do with, "nothing", or None as the model is configured.
        """
        query = Query(user_id, history, exclude, context, allow, filters, boosts, diversity, tasks, leave_out)
        return self._drive(self._recommend([query], k))[0]

    def recommend_batch(self, queries: Iterable[Query], k: int = 10) -> list[RecommendationList]:
        """Returns one list for each query, in order, by one request (one more for those whom a canary serves).

        They may differ in whether they have a context or rules.
        """
        return self._drive(self._recommend(queries, k))

    def similar_items(
        self,
        item_id: str,
        exclude: Sequence[str] = (),
        k: int = 10,
        *,
        allow: Optional[Sequence[str]] = None,
        filters: Optional[Filters] = None,
        boosts: Optional[Mapping[str, float]] = None,
        diversity: Optional[float] = None,
    ) -> SimilarItems:
        """Returns up to `k` items most similar to `item_id`; the result's `known` tells whether the model knows it.

        Rules are those of `recommend`.
        """
        return self._drive(self._similar_items(item_id, exclude, k, checked_rules(allow, filters, boosts, diversity)))

    def audience(
        self,
        item_id: str,
        exclude: Sequence[str] = (),
        k: int = 10,
        *,
        exclude_owners: bool = True,
        allow: Optional[Sequence[str]] = None,
        filters: Optional[Filters] = None,
    ) -> UserList:
        """Returns up to `k` users whom an item is most for; the result's `known` tells whether the model knows it.

        They are users whom the model knows, by the logarithm of the probability that the item is what they take next;
        scores are comparable across users and items. Only for a model that was made with `serving.audience`.

        Args:
            item_id: the item.
            exclude: ids of users that must not be returned.
            k: at least 1, at most the model's own limit.
            exclude_owners: whether users who had the item are left out, as far as the model has stored it.
            allow: ids of the only users that may be returned; None for all.
            filters: what all users must fulfil, by their features that the model takes, written as for `recommend`.
        """
        rules = checked_rules(allow, filters, None, None)
        return self._drive(self._audience(item_id, exclude, k, exclude_owners, rules))

    def similar_users(self, user_id: str, exclude: Sequence[str] = (), k: int = 10) -> UserList:
        """Returns up to `k` users most similar to `user_id` by the cosine of what the model makes of their histories.

        Args and limits are those of `audience`.
        """
        return self._drive(self._similar_users(user_id, exclude, k))

    def score(self, user_id: Optional[str], history: Sequence[str], candidates: Sequence[str]) -> list[float]:
        """Returns the score of each candidate, in order; -inf for an item that the model doesn't know."""
        return self._drive(self._score(user_id, history, candidates))

    def explain(
        self,
        user_id: Optional[str],
        history: Sequence[str],
        candidates: Sequence[str],
        context: Optional[Mapping[str, Any]] = None,
        *,
        tasks: Optional[Mapping[str, float]] = None,
    ) -> list[Explanation]:
        """Returns what the score of each candidate comes from: items of the history, features, and other parts.

        The rules of a recommendation, such as boosts, are no part of it.

        Args:
            user_id: None for somebody without an id.
            history: ids of items, newest first; replaces the stored history.
            candidates: ids of items, such as those of a recommendation for the same user, history and context.
            context: features as in `recommend`. Only for a model that takes a context.
            tasks: weights as in `recommend`. Only for a model that has tasks.
        """
        return self._drive(self._explain(user_id, history, candidates, context, tasks))

    def describe(self, item_ids: Sequence[str]) -> list[ItemDescription]:
        """Returns what a person is shown for each item, in order."""
        return self._drive(self._describe(item_ids))

    def embed_items(self, item_ids: Sequence[str]) -> list[ItemVector]:
        """Returns the vector and the bias of each item, in order; `recommender vectors` writes those of all items."""
        return self._drive(self._embed_items(item_ids))

    def embed_query(
        self,
        user_id: Optional[str] = None,
        history: Sequence[str] = (),
        context: Optional[Mapping[str, Any]] = None,
    ) -> QueryVector:
        """Returns the vector to search items' vectors with, and the items to leave out; arguments as for `recommend`.

        The client's own version or label answers, whatever `traffic` says: name the version whose items are searched.
        """
        return self._drive(self._embed_query(user_id, history, context))

    def predict(self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str] = ()) -> dict[str, Tensor]:
        """Calls any signature of the model, such as `by_user` or `serving_default`.

        Args:
            signature: the signature's name.
            inputs: its inputs by name.
            outputs: names of the outputs to return; all if empty. Over REST the only output of a signature comes
                without its name, and gets the first of these.
        """
        return self._drive(self._predict(signature, inputs, outputs))

    def status(self) -> list[VersionStatus]:
        """Returns the states of the model's versions in the server, newest first."""
        return self._drive(self._status())

    def metadata(self) -> ModelMetadata:
        """Returns the signatures of the model version that serves."""
        return self._drive(self._metadata())

    def close(self) -> None:
        """Closes the connections; the client can't be used any more."""
        self._closed = True
        for transport in self._transports:
            transport.close()

    def __enter__(self) -> RecommenderClient:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _drive(self, steps: Steps[T]) -> T:
        """Does what the steps of a call say; returns its result."""
        flying: dict[Flight, Pending] = {}
        landed: queue.SimpleQueue[tuple[Flight, Any]] = queue.SimpleQueue()
        came: Any = None
        try:
            while True:
                step, came = steps.send(came), None
                if isinstance(step, Run):
                    came = self._sent(step.flight)
                elif isinstance(step, Start):
                    self._start(step.flight, flying, landed)
                else:
                    came = _next(flying, landed, step.seconds)
        except StopIteration as end:
            return end.value
        finally:
            steps.close()

    def _sent(self, flight: Flight) -> Any:
        try:
            return self._transports[flight.transport].send(flight.message)
        except RecommenderError as error:
            return error

    def _start(
        self, flight: Flight, flying: dict[Flight, Pending], landed: queue.SimpleQueue[tuple[Flight, Any]]
    ) -> None:
        flight.cancel = lambda: flying.pop(flight).cancel()
        transport = self._transports[flight.transport]
        flying[flight] = transport.start(flight.message, lambda came: landed.put((flight, came)))


def _next(flying: dict[Flight, Pending], landed: queue.SimpleQueue[tuple[Flight, Any]], seconds: float) -> Any:
    """The next flight that ends and what came of it; None after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            flight, came = landed.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None
        if flying.pop(flight, None) is not None:  # or it was cancelled just as it ended
            return flight, came
