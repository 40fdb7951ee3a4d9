"""How well an approximate index does on real queries, beside the exact one: recall and latency."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from components.errors import InputError
from components.examples.reading import padded, read_batches, scalars
from components.indexer.settings import IndexSettings

_WARM_UP = 3
"""Requests that come before the measured ones."""


class Query(NamedTuple):
    """What one request sends."""

    user_id: bytes
    history: list[bytes]
    """Newest first."""
    exclude: list[bytes]


class Measurement(NamedTuple):
    """What was found."""

    recall: float
    """Mean share of the exact index's k best items that are among the k best of the approximate one."""
    k: int
    queries: int
    latency_ms: float
    """Median of one query alone, the whole request: towers, exclusions, ids."""
    exact_latency_ms: float


Ask = Callable[[Query], np.ndarray]
"""A query to the ids [k] of its answer, best first; the empty string for none."""


def read_queries(interactions: str, count: int) -> list[Query]:
    """The first point-in-time queries of the split `eval`, or events of `train` where it has none.

    Args:
        interactions: URI of the events' Examples.
        count: Most queries.
    """
    features = {"user_id": bytes, "history": bytes, "seen": bytes}
    for split in ("eval", "train"):
        for batch in read_batches(interactions, split, features, count):
            if batch.num_rows:
                lists = [
                    [[v for v in row if v] for row in padded(batch, name).tolist()] for name in ("history", "seen")
                ]
                return [Query(*row) for row in zip(scalars(batch, "user_id").tolist(), *lists)]
    return []


def measure(approximate: Ask, exact: Ask, queries: Sequence[Query], k: int) -> Measurement:
    """Asks both indexes the same queries, in turns, so that what else the machine does meets both.

    Args:
        approximate: The index to judge.
        exact: What it is judged by.
        queries: At least one.
        k: Items of an answer.
    """
    for query in [queries[0]] * _WARM_UP:
        approximate(query), exact(query)
    shares, times = [], []
    for query in queries:
        started = time.perf_counter()
        found = approximate(query)
        between = time.perf_counter()
        wanted = {item for item in exact(query).tolist() if item}
        times.append((between - started, time.perf_counter() - between))
        if wanted:
            shares.append(len(wanted.intersection(found.tolist())) / len(wanted))
    latency, exact_latency = (1_000 * float(value) for value in np.median(times, axis=0))
    return Measurement(float(np.mean(shares)) if shares else 1.0, k, len(queries), latency, exact_latency)


def check(measured: Measurement, settings: IndexSettings) -> None:
    """Refuses an index that is outside of the config's bounds.

    Raises:
        InputError: It is.
    """
    wrong = []
    if measured.recall < settings.min_recall:
        wrong.append(
            f"its recall@{measured.k} is {measured.recall:.4f}, below serving.index.min_recall {settings.min_recall:g}"
        )
    if settings.max_latency_ms is not None and measured.latency_ms > settings.max_latency_ms:
        wrong.append(
            f"a query takes {measured.latency_ms:.1f} ms, more than serving.index.max_latency_ms "
            f"{settings.max_latency_ms:g} allows"
        )
    if wrong:
        raise InputError(
            f"the {settings.type} index is refused on {measured.queries:,} queries (the exact one takes "
            f"{measured.exact_latency_ms:.1f} ms): {' and '.join(wrong)}; more recall comes from a larger "
            "serving.index.searched or serving.index.candidates, less latency from smaller ones, or set "
            "serving.index.type: exact"
        )
