"""The queries that the champion was judged by on the night when it was pushed, as far as both models may be asked them.

Judged on tonight's queries alone, a log that has shrunk lowers the bar for all: the baselines are fitted to it, and the
champion is asked by its thin histories. The champion's own queries are as they were.

But yesterday's queries are mostly today's training events, and a model that has learned the answer is no better for
knowing it. So only those are asked that tonight's training had no part in: with a split by time those later than where
tonight's evaluation begins, which were in the future of both models; with other splits those that are no training event
of tonight. The champion was trained without all of them. Nor can a model be asked for an item that is no longer there.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from components.examples import reading
from components.examples.past import read_all
from components.examples.sampling import read_sampled
from components.hashing import hashes

QUERY_SPLIT = "eval"
KEY: reading.Features = {"user_id": bytes, "item_id": bytes, "timestamp": int}
"""What a query is known by."""

FairBy = Literal["time", "events", ""]
"""What tells whether training had a part in a query: when it was, or which event it is; nothing where a log has no
times, for the rows that stand for them move with the log."""


@dataclasses.dataclass(frozen=True)
class Night:
    """What is known of the night when the champion was pushed."""

    queries: str = ""
    """URI of the Examples with its queries; empty where they are gone, or not to be had."""
    fair_by: FairBy = ""
    metrics: Mapping[str, float] = MappingProxyType({})
    """Its own over all of its queries."""
    baselines: Mapping[str, Mapping[str, float]] = MappingProxyType({})
    """Those of the baselines of that night, by name."""

    def lead(self, metric: str, rivals: tuple[str, ...]) -> float | None:
        """Returns how many times the best rival's figure the champion's was; None if that is not known or it led none.

        Args:
            metric: The metric.
            rivals: Baselines; those that were not measured then are left out.
        """
        best = max((self.baselines[name].get(metric, 0.0) for name in rivals if name in self.baselines), default=0.0)
        lead = self.metrics.get(metric, 0.0) / best if best else 0.0
        return lead if lead > 1 else None


@dataclasses.dataclass(frozen=True)
class Fair:
    """Tells the queries that may be asked."""

    items: np.ndarray
    """[N] uint64, hashes of tonight's items."""
    after: int | None
    """The microsecond after which a query has to be; None for any."""
    trained: np.ndarray
    """[M] uint64, hashes of tonight's training events; empty where `after` tells."""

    def mask(self, batch: reading.Columns) -> np.ndarray:
        """Returns which of B queries with the features of `KEY` may be asked, [B] bool."""
        fair = np.isin(hashes(reading.scalars(batch, "item_id")), self.items)
        if self.after is not None:
            return fair & (reading.scalars(batch, "timestamp") > self.after)
        return fair & ~np.isin(_events(batch), self.trained)


def find_fair(interactions: str, items: np.ndarray, by: FairBy) -> Fair:
    """Finds out what tonight's training had a part in.

    Args:
        interactions: URI of tonight's Examples.
        items: [N] bytes, tonight's items.
        by: How that is told, not empty.
    """
    after, trained = None, [np.zeros(0, np.uint64)]
    if by == "time":
        batches = reading.read_batches(interactions, QUERY_SPLIT, {"timestamp": int})
        after = min(int(reading.scalars(batch, "timestamp").min()) for batch in batches if batch.num_rows)
    else:
        trained += [_events(batch) for batch in read_all(interactions, "train", KEY)]
    return Fair(hashes(items), after, np.concatenate(trained))


def are_the_same(queries: str, interactions: str) -> bool:
    """Says whether two Examples have the very same files of queries, as where the log is that of the other night."""
    ours, theirs = (reading.split_files(uri, QUERY_SPLIT) for uri in (queries, interactions))
    return len(ours) == len(theirs) and all(
        os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)
        for one, other in zip(ours, theirs)
    )


def count_users(queries: str, fair: Fair) -> int:
    """Returns of how many users there are queries that may be asked."""
    users: set[bytes] = set()
    for batch in reading.read_batches(queries, QUERY_SPLIT, KEY):
        users.update(reading.scalars(batch, "user_id")[fair.mask(batch)].tolist())
    return len(users)


def read_fair(
    file: str, features: reading.Features, batch_size: int, share: float, fair: Fair
) -> Iterator[pa.RecordBatch]:
    """Yields a file's queries as `examples.sampling.read_sampled`, those that may be asked. `features` must have those
    of `KEY`."""
    for batch in read_sampled(file, features, batch_size, share):
        kept = batch.filter(pa.array(fair.mask(batch)))
        if kept.num_rows:
            yield kept


def _events(batch: Any) -> np.ndarray:
    """A hash of each event, uint64 [B]."""
    columns = (reading.scalars(batch, name).tolist() for name in KEY)
    return hashes(b"%b\n%b\n%d" % event for event in zip(*columns))  # ids have no line breaks
