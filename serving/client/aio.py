"""The asyncio twin of the client: the same calls, awaited."""

from __future__ import annotations

import asyncio
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
from serving.client.transport import AsyncTransport

T = TypeVar("T")


class AsyncRecommenderClient(Calls):
    """`RecommenderClient` for asyncio: takes the same arguments, has the same methods, raises the same errors.

    Belongs to the event loop of its first call. Cancelling a call cancels its requests. At most 100 requests are
    under way to a replica, more wait; over REST they run in threads, at most 128.

        async with AsyncRecommenderClient("localhost:8500", model="movielens-100k") as client:
            one, other = await asyncio.gather(client.recommend("42"), client.recommend("43"))
    """

    _transports: Optional[list[AsyncTransport]] = None

    async def recommend(
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
        """See `RecommenderClient.recommend`."""
        query = Query(user_id, history, exclude, context, allow, filters, boosts, diversity, tasks, leave_out)
        return (await self._drive(self._recommend([query], k)))[0]

    async def recommend_batch(self, queries: Iterable[Query], k: int = 10) -> list[RecommendationList]:
        """See `RecommenderClient.recommend_batch`."""
        return await self._drive(self._recommend(queries, k))

    async def similar_items(
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
        """See `RecommenderClient.similar_items`."""
        rules = checked_rules(allow, filters, boosts, diversity)
        return await self._drive(self._similar_items(item_id, exclude, k, rules))

    async def audience(
        self,
        item_id: str,
        exclude: Sequence[str] = (),
        k: int = 10,
        *,
        exclude_owners: bool = True,
        allow: Optional[Sequence[str]] = None,
        filters: Optional[Filters] = None,
    ) -> UserList:
        """See `RecommenderClient.audience`."""
        rules = checked_rules(allow, filters, None, None)
        return await self._drive(self._audience(item_id, exclude, k, exclude_owners, rules))

    async def similar_users(self, user_id: str, exclude: Sequence[str] = (), k: int = 10) -> UserList:
        """See `RecommenderClient.similar_users`."""
        return await self._drive(self._similar_users(user_id, exclude, k))

    async def score(self, user_id: Optional[str], history: Sequence[str], candidates: Sequence[str]) -> list[float]:
        """See `RecommenderClient.score`."""
        return await self._drive(self._score(user_id, history, candidates))

    async def explain(
        self,
        user_id: Optional[str],
        history: Sequence[str],
        candidates: Sequence[str],
        context: Optional[Mapping[str, Any]] = None,
        *,
        tasks: Optional[Mapping[str, float]] = None,
    ) -> list[Explanation]:
        """See `RecommenderClient.explain`."""
        return await self._drive(self._explain(user_id, history, candidates, context, tasks))

    async def describe(self, item_ids: Sequence[str]) -> list[ItemDescription]:
        """See `RecommenderClient.describe`."""
        return await self._drive(self._describe(item_ids))

    async def embed_items(self, item_ids: Sequence[str]) -> list[ItemVector]:
        """See `RecommenderClient.embed_items`."""
        return await self._drive(self._embed_items(item_ids))

    async def embed_query(
        self,
        user_id: Optional[str] = None,
        history: Sequence[str] = (),
        context: Optional[Mapping[str, Any]] = None,
    ) -> QueryVector:
        """See `RecommenderClient.embed_query`."""
        return await self._drive(self._embed_query(user_id, history, context))

    async def predict(
        self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str] = ()
    ) -> dict[str, Tensor]:
        """See `RecommenderClient.predict`."""
        return await self._drive(self._predict(signature, inputs, outputs))

    async def status(self) -> list[VersionStatus]:
        """See `RecommenderClient.status`."""
        return await self._drive(self._status())

    async def metadata(self) -> ModelMetadata:
        """See `RecommenderClient.metadata`."""
        return await self._drive(self._metadata())

    async def close(self) -> None:
        """Closes the connections; the client can't be used any more."""
        self._closed = True
        for transport in self._transports or ():
            await transport.close()

    async def __aenter__(self) -> AsyncRecommenderClient:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def _drive(self, steps: Steps[T]) -> T:
        """Does what the steps of a call say; returns its result."""
        flying: dict[asyncio.Task[Any], Flight] = {}
        came: Any = None
        try:
            while True:
                step, came = steps.send(came), None
                if isinstance(step, Run):
                    came = await self._sent(step.flight)
                elif isinstance(step, Start):
                    self._start(step.flight, flying)
                else:
                    came = await _next(flying, step.seconds)
        except StopIteration as end:
            return end.value
        finally:
            steps.close()

    async def _sent(self, flight: Flight) -> Any:
        try:
            return await self._transport(flight.transport).send(flight.message)
        except RecommenderError as error:
            return error

    def _start(self, flight: Flight, flying: dict[asyncio.Task[Any], Flight]) -> None:
        task = asyncio.ensure_future(self._sent(flight))
        flying[task] = flight

        def cancel() -> None:
            del flying[task]
            task.cancel()

        flight.cancel = cancel

    def _transport(self, number: int) -> AsyncTransport:
        # Opened here, because a channel belongs to the event loop that runs as it is made.
        if self._transports is None:
            self._transports = [self._wires.AsyncioTransport(*where, self._connection) for where in self._addresses]
        return self._transports[number]


async def _next(flying: dict[asyncio.Task[Any], Flight], seconds: float) -> Any:
    """The next flight that ends and what came of it; None after so many seconds."""
    if not flying:
        await asyncio.sleep(seconds)
        return None
    done, _ = await asyncio.wait(flying, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    if not done:
        return None
    task = done.pop()
    return flying.pop(task), task.result()
