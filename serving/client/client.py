"""The client of a served recommender: recommendations, similar items, scores and descriptions by one call each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from serving.client import context as request_context
from serving.client import tensors
from serving.client.errors import InvalidRequest, ServerError
from serving.client.results import (
    ItemDescription,
    ModelMetadata,
    Recommendation,
    RecommendationList,
    SimilarItems,
    VersionStatus,
)
from serving.client.tensors import Tensor
from serving.client.transport import ModelRef, Transport

_MAX_K = (1 << 31) - 1
_IN_CONTEXT = "recommend_in_context"
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


class RecommenderClient:
    """Asks a model server (TensorFlow Serving or the embedded one) for recommendations.

    Needs no TensorFlow. Thread-safe; connects at the first call and keeps the connection. Every call ends within the
    timeout and raises a `RecommenderError` (`ServerUnavailable`, `DeadlineExceeded`, `ModelNotFound`,
    `InvalidRequest` or `ServerError`) if it fails.

        with RecommenderClient("localhost:8500", model="movielens-100k") as client:
            for item in client.recommend(user_id="42", exclude=["50"], k=10):
                print(item.item_id, item.score)

    Args:
        target: `host:port` of the server; without a port 8500 for gRPC, 8501 for REST. For REST `http://host:port` too.
        model: the model's name in the server.
        transport: "grpc" or "rest".
        timeout: seconds a call may take.
        version: ask this version, not the newest.
        label: ask the version with this label.

    Raises:
        InvalidRequest: an argument is wrong.
    """

    def __init__(
        self,
        target: str,
        *,
        model: str,
        transport: str = "grpc",
        timeout: float = 10.0,
        version: Optional[int] = None,
        label: Optional[str] = None,
    ):
        if transport not in _PORTS:
            raise InvalidRequest(f"transport {transport!r}: it is 'grpc' or 'rest'")
        if not isinstance(model, str) or not model:
            raise InvalidRequest("model must be the model's name in the server")
        if version is not None and label is not None:
            raise InvalidRequest("give a version or a label, not both")
        if timeout <= 0:
            raise InvalidRequest(f"timeout {timeout}: it must be above 0 seconds")
        host, port = parse_target(target, transport)
        self.target = f"{host}:{port}"
        self._model = ModelRef(model, version, label)
        self._timeout = timeout
        self._transport = _open(transport, host, port)

    def recommend(
        self,
        user_id: Optional[str] = None,
        history: Sequence[str] = (),
        exclude: Sequence[str] = (),
        k: int = 10,
        context: Optional[Mapping[str, Any]] = None,
    ) -> RecommendationList:
        """Returns up to `k` items, best first.

        Items of the history (the request's, and the stored one of a known user) and of `exclude` are left out, so that
        fewer than `k`, or none, may remain.

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
        """
        return self.recommend_batch([Query(user_id, history, exclude, context)], k)[0]

    def recommend_batch(self, queries: Iterable[Query], k: int = 10) -> list[RecommendationList]:
        """Returns one list for each query, in order, by one request; they may differ in whether they have a context."""
        asked = list(queries)
        k = _checked_k(k)
        inputs = {
            "user_id": _strings([_user(query.user_id) for query in asked]),
            "history": _matrix([_ids(query.history, "history") for query in asked]),
            "exclude": _matrix([_ids(query.exclude, "exclude") for query in asked]),
            "k": Tensor("int32", (), [k]),
        }
        if not asked:
            return []
        signature = "recommend"
        contexts = [request_context.serialize({} if query.context is None else query.context) for query in asked]
        if any(contexts):
            signature = _IN_CONTEXT
            inputs["context"] = Tensor("string", (len(asked),), contexts)
        outputs, version = self._ask(signature, inputs, {"item_ids": (len(asked), None), "source": (len(asked),)})
        lists = self._ranked(outputs)
        sources = outputs["source"].values
        return [RecommendationList(items, str(source), version) for items, source in zip(lists, sources)]

    def similar_items(self, item_id: str, exclude: Sequence[str] = (), k: int = 10) -> SimilarItems:
        """Returns up to `k` items most similar to `item_id`; the result's `known` tells whether the model knows it."""
        inputs = {
            "item_id": _strings([_id(item_id, "item_id")]),
            "exclude": _matrix([_ids(exclude, "exclude")]),
            "k": Tensor("int32", (), [_checked_k(k)]),
        }
        outputs, version = self._ask("similar_items", inputs, {"item_ids": (1, None), "known": (1,)})
        return SimilarItems(self._ranked(outputs)[0], bool(outputs["known"].values[0]), version)

    def score(self, user_id: Optional[str], history: Sequence[str], candidates: Sequence[str]) -> list[float]:
        """Returns the score of each candidate, in order; -inf for an item that the model doesn't know."""
        ids = [_id(item, "candidates") for item in _ids(candidates, "candidates")]
        inputs = {
            "user_id": _strings([_user(user_id)]),
            "history": _matrix([_ids(history, "history")]),
            "candidates": _matrix([ids]),
        }
        if not ids:
            return []
        outputs, _ = self._ask("score", inputs, {"scores": (1, len(ids))})
        return [float(score) for score in outputs["scores"].values]

    def describe(self, item_ids: Sequence[str]) -> list[ItemDescription]:
        """Returns what a person is shown for each item, in order."""
        ids = _ids(item_ids, "item_ids")
        if not ids:
            return []
        shape = (len(ids),)
        outputs, _ = self._ask("describe", {"item_id": _strings(ids)}, {"display": shape, "known": shape})
        rows = zip(ids, outputs["display"].values, outputs["known"].values)
        return [ItemDescription(item, str(display), bool(known)) for item, display, known in rows]

    def predict(self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str] = ()) -> dict[str, Tensor]:
        """Calls any signature of the model, such as `by_user` or `serving_default`.

        Args:
            signature: the signature's name.
            inputs: its inputs by name.
            outputs: names of the outputs to return; all if empty. Over REST the only output of a signature comes
                without its name, and gets the first of these.
        """
        found, _ = self._transport.predict(self._model, signature, inputs, outputs, self._timeout)
        return found

    def status(self) -> list[VersionStatus]:
        """Returns the states of the model's versions in the server, newest first."""
        found = self._transport.status(self._model, self._timeout)
        return sorted(found, key=lambda status: status.version, reverse=True)

    def metadata(self) -> ModelMetadata:
        """Returns the signatures of the model version that serves."""
        return self._transport.metadata(self._model, self._timeout)

    def close(self) -> None:
        """Closes the connections; the client can't be used any more."""
        self._transport.close()

    def __enter__(self) -> RecommenderClient:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _ask(
        self, signature: str, inputs: Mapping[str, Tensor], expected: Mapping[str, tuple[Optional[int], ...]]
    ) -> tuple[dict[str, Tensor], Optional[int]]:
        """Calls `signature` and checks that the answer has the contract's outputs and shapes (None: any size)."""
        wanted = [*expected, "scores"] if "item_ids" in expected else list(expected)
        try:
            outputs, version = self._transport.predict(self._model, signature, inputs, wanted, self._timeout)
        except InvalidRequest as error:
            if f'"{_IN_CONTEXT}" not found' in str(error):
                raise InvalidRequest(
                    f"model {self._model} at {self.target} takes no context (it has no signature {_IN_CONTEXT!r}): ask"
                    " without one"
                ) from None
            raise
        for name, shape in expected.items():
            found = outputs[name].shape if name in outputs else None
            if found is None or len(found) != len(shape) or any(s not in (None, f) for s, f in zip(shape, found)):
                raise ServerError(
                    f"model {self._model} at {self.target} answered {signature!r} with {name!r} of shape {found}, not"
                    f" {shape}: it isn't a recommender that this client knows"
                )
        return outputs, version

    def _ranked(self, outputs: Mapping[str, Tensor]) -> list[tuple[Recommendation, ...]]:
        ids, scores = outputs["item_ids"], outputs.get("scores")
        if scores is None or scores.shape != ids.shape:
            raise ServerError(f"model {self._model} at {self.target} answered items without a score each")
        return [
            tuple(Recommendation(item, float(score)) for item, score in zip(*row) if item)
            for row in zip(ids.rows(), scores.rows())
        ]


def parse_target(target: str, transport: str) -> tuple[str, int]:
    """Splits `host`, `host:port`, `[ipv6]:port` or (REST) `http://host:port` into host and port.

    Raises:
        InvalidRequest: it is none of these.
    """
    text = target.strip() if isinstance(target, str) else ""
    if transport == "rest":
        text = re.sub(r"^http://", "", text).rstrip("/")
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+)(?::(\d{1,5}))?", text)
    if not match or not 0 < int(match[2] or 1) < 65536:
        raise InvalidRequest(f"target {target!r}: write it as host:port, such as localhost:{_PORTS[transport]}")
    return match[1], int(match[2] or _PORTS[transport])


def _open(transport: str, host: str, port: int) -> Transport:
    # Imported here, so that REST needs no gRPC and gRPC no HTTP.
    if transport == "grpc":
        from serving.client.grpc_transport import GrpcTransport

        return GrpcTransport(host, port)
    from serving.client.rest_transport import RestTransport

    return RestTransport(host.strip("[]"), port)


def _checked_k(k: Any) -> int:
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= _MAX_K:
        raise InvalidRequest(f"k={k!r}: the number of items must be a whole number of at least 1")
    return k


def _user(user_id: Optional[str]) -> str:
    return "" if user_id is None else _text(user_id, "user_id")


def _id(item_id: Any, name: str) -> str:
    if _text(item_id, name) == "":
        raise InvalidRequest(f"{name}: an item's id can't be empty")
    return item_id


def _ids(ids: Any, name: str) -> list[str]:
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise InvalidRequest(f"{name}={ids!r}: it is a list of item ids")
    return [_text(item, name) for item in ids]


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"{name}: {value!r} is a {type(value).__name__}, ids are strings: {str(value)!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{name}: {value!r} can't be written as UTF-8") from None
    return value


def _strings(values: Sequence[str]) -> Tensor:
    return tensors.Tensor("string", (len(values),), values)


def _matrix(rows: Sequence[Sequence[str]]) -> Tensor:
    """Rows of ids as one tensor, padded with the empty string."""
    width = max((len(row) for row in rows), default=0)
    return Tensor("string", (len(rows), width), [i for row in rows for i in [*row, *[""] * (width - len(row))]])
