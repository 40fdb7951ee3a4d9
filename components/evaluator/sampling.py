"""Which queries are asked where there are too many: those of some users, drawn by a hash, the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from components import examples
from components.evaluator.bootstrap import hashes

_BITS = 16


def share_of_users(interactions: str, split: str, max_queries: int) -> float:
    """Returns the share of all hashes, from 0 to 1, below which the users have at most `max_queries` queries.

    The users of one hash bucket, which is a 65,536th of them, at least are in it, whatever they have.

    Args:
        interactions: URI of an Examples artifact.
        split: the split of the queries.
        max_queries: how many may be asked.
    """
    queries = np.zeros(2**_BITS, np.int64)
    for batch in examples.read_batches(interactions, split, {"user_id": bytes}):
        np.add.at(queries, _bucket(batch), 1)
    total = np.cumsum(queries)
    if total[-1] <= max_queries:
        return 1.0
    first = int(np.flatnonzero(queries)[0]) + 1
    return max(first, int(np.searchsorted(total, max_queries, side="right"))) / 2**_BITS


def read_sampled(file: str, features: examples.Features, batch_size: int, share: float) -> Iterator[pa.RecordBatch]:
    """Yields a file's queries as `examples.read_file`, of the users alone whose hash is below `share`.

    `features` must have `user_id`.
    """
    for batch in examples.read_file(file, features, batch_size):
        if share < 1:
            batch = batch.filter(pa.array(_bucket(batch) < share * 2**_BITS))
        if batch.num_rows:
            yield batch


def _bucket(batch: pa.RecordBatch) -> np.ndarray:
    users, user = np.unique(examples.scalars(batch, "user_id"), return_inverse=True)
    return (hashes(users) >> np.uint64(64 - _BITS)).astype(np.int64)[user]
