"""Which events are looked at where there are too many: those of some users, drawn by a hash, the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from components.examples import reading
from components.examples.past import read_all
from components.hashing import hashes

_BITS = 16


def share_of_users(interactions: str, split: str, most: int) -> float:
    """Returns the share of all hashes, from 0 to 1, below which the users have at most `most` events.

    The users of one hash bucket, which is a 65,536th of them, at least are in it, whatever they have.

    Args:
        interactions: URI of an Examples artifact.
        split: the split of the events; of training events those of before count too.
        most: how many may be looked at.
    """
    events = np.zeros(2**_BITS, np.int64)
    for batch in read_all(interactions, split, {"user_id": bytes, "timestamp": int}):
        events += np.bincount(_bucket(batch), minlength=2**_BITS)
    total = np.cumsum(events)
    if total[-1] <= most:
        return 1.0
    first = int(np.flatnonzero(events)[0]) + 1
    return max(first, int(np.searchsorted(total, most, side="right"))) / 2**_BITS


def read_sampled(file: str, features: reading.Features, batch_size: int, share: float) -> Iterator[pa.RecordBatch]:
    """Yields a file's events as `examples.read_file`, of the users alone whose hash is below `share`.

    `features` must have `user_id`.
    """
    for batch in reading.read_file(file, features, batch_size):
        some = of_users(batch, share)
        if some.num_rows:
            yield some


def of_users(batch: pa.RecordBatch, share: float) -> pa.RecordBatch:
    """Returns the events of the users alone whose hash is below `share`; `user_id` must be a column."""
    return batch.filter(pa.array(_bucket(batch) < share * 2**_BITS)) if share < 1 else batch


def _bucket(batch: pa.RecordBatch) -> np.ndarray:
    users, user = reading.distinct(reading.scalars(batch, "user_id"))
    return (hashes(users) >> np.uint64(64 - _BITS)).astype(np.int64)[user]
