"""Dividing a log into training and evaluation events, and the minimum counts."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

import numpy as np
import pyarrow as pa

from components.hashing import hash_text, mixed

_TIME_BUCKET_BITS = 32  # 71 minutes: a decade has 75,000 of them
_ROW_BUCKET_BITS = 16

WHOLE_LOG = ("leave_last_n", "hash")
"""Split methods for which the minimum counts hold over the whole log, before it is split."""


@dataclass(frozen=True)
class Cut:
    """Where the evaluation part of a log begins: at this time, and there at this place in the log."""

    time: int
    """Microseconds since the epoch, or a row number."""
    order: int = -1
    """Events at `time` itself belong to evaluation from this #order on."""


def evaluation_size(events: int, fraction: float) -> int:
    """Returns how many of `events` are for evaluation; the nearest integer."""
    return round(events * fraction)


def bucket_bits(has_time: bool) -> int:
    """Returns how many low bits of a time are left out to make the buckets of `histogram`."""
    return _TIME_BUCKET_BITS if has_time else _ROW_BUCKET_BITS


def histogram(time: np.ndarray, bits: int) -> Counter:
    """Returns the number of events by `time >> bits`; the first of two steps to a cut, cheap to add up."""
    buckets, counts = np.unique(time >> bits, return_counts=True)
    return Counter(dict(zip(buckets.tolist(), counts.tolist())))


def locate(counts: Mapping[int, int], fraction: float) -> Optional[tuple[int, int]]:
    """Returns the bucket of the first evaluation event and the event's rank in the bucket, None for an empty log."""
    training = sum(counts.values()) - evaluation_size(sum(counts.values()), fraction)
    for bucket in sorted(counts):
        if training < counts[bucket]:
            return bucket, training
        training -= counts[bucket]
    return None


def cut_at(time: np.ndarray, order: np.ndarray, rank: int) -> Cut:
    """Returns the cut at the event with `rank` in the order of (time, order); int64 [n] each."""
    chosen = np.lexsort((order, time))[rank]
    return Cut(int(time[chosen]), int(order[chosen]))


def after_cut(cut: Optional[Cut], time: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Returns which events are at or after the cut, bool [n]; none without a cut."""
    if cut is None:
        return np.zeros(len(time), dtype=bool)
    return (time > cut.time) | ((time == cut.time) & (order >= cut.order))


def last_n(user: np.ndarray, n: int) -> np.ndarray:
    """Returns which events are the last n of a user who has more, bool [n]; `user` ascends from 0 without gaps."""
    counts = np.bincount(user)
    return (np.arange(len(user)) >= np.cumsum(counts)[user] - n) & (counts[user] > n)


def newest(group: np.ndarray, most: int) -> np.ndarray:
    """Returns which events are the last `most` of their group, bool [n].

    >>> newest(np.array([0, 1, 0, 0, 1]), 2).tolist()
    [False, True, True, True, True]
    """
    by_group = np.argsort(group, kind="stable")
    ends = np.searchsorted(group[by_group], group[by_group], side="right")
    kept = np.empty(len(group), dtype=bool)
    kept[by_group] = ends - np.arange(len(group)) <= most
    return kept


def by_hash(user_id: pa.DictionaryArray, item_id: pa.DictionaryArray, order: np.ndarray, fraction: float) -> np.ndarray:
    """Returns a random `fraction` of the events by a hash of user, item and place in the log, bool [n]."""
    who = hash_text(user_id.dictionary)[user_id.indices.to_numpy(zero_copy_only=False)]
    what = hash_text(item_id.dictionary)[item_id.indices.to_numpy(zero_copy_only=False)]
    bits = mixed(mixed(mixed(what) ^ who) ^ order.astype(np.uint64))
    return bits < np.uint64(int(fraction * 2**64))


def rare_users(user: np.ndarray, counted: np.ndarray, minimum: int) -> np.ndarray:
    """Returns the events of users with fewer than `minimum` events among the `counted`; bool [n].

    Args:
        user: int [n], from 0.
        counted: bool [n].
        minimum: The smallest number of events to stay.
    """
    return np.bincount(user, weights=counted, minlength=int(user.max(initial=-1)) + 1)[user] < minimum
