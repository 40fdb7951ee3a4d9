"""Point-in-time histories: for each event what its user had done before, vectorised.

All functions take one array entry an event, sorted by user, then time, then place in the log.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

_EXPANDED = 4_000_000
"""How many pairs of an event and an earlier one are held at a time."""


def past(user: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each event the half-open range [start, end) of its user's strictly earlier events.

    Args:
        user: int [n], ascending.
        time: int64 [n], ascending within a user.

    Returns:
        start and end, int64 [n] each. Events of one user at the same time are not in each other's past.
    """
    position = np.arange(len(user), dtype=np.int64)
    new_user = np.ones(len(user), dtype=bool)
    new_user[1:] = user[1:] != user[:-1]
    new_moment = new_user.copy()
    new_moment[1:] |= time[1:] != time[:-1]
    start = np.maximum.accumulate(np.where(new_user, position, 0))
    end = np.maximum.accumulate(np.where(new_moment, position, 0))
    return start, end


def histories(user: np.ndarray, time: np.ndarray, item: pa.DictionaryArray, max_length: int) -> pa.ListArray:
    """Returns for each event the items of its user's strictly earlier events, newest first, repetitions included.

    Args:
        user: int [n], ascending.
        time: int64 [n], ascending within a user.
        item: The items [n], dictionary-encoded.
        max_length: The longest history.

    Returns:
        Lists [n] of dictionary-encoded items. Of events at the same time the later row comes first.
    """
    start, end = past(user, time)
    return recent(start, end, item, max_length)


def recent(start: np.ndarray, end: np.ndarray, item: pa.DictionaryArray, max_length: int) -> pa.ListArray:
    """Returns the last `max_length` of items [start, end), last first; ranges [m] over items [n] to lists [m]."""
    lengths = np.minimum(end - start, max_length)
    offsets, positions = _newest_first(end, lengths)
    return _lists(offsets, item, positions)


def next_same(user: np.ndarray, item_code: np.ndarray) -> np.ndarray:
    """Returns where the same user meets the same item next, n where never; int64 [n].

    Args:
        user: int [n], ascending.
        item_code: int [n], equal for equal items.
    """
    size = len(user)
    key = user.astype(np.int64) * (int(item_code.max(initial=0)) + 1) + item_code
    grouped = np.argsort(key, kind="stable")
    following = np.full(size, size, dtype=np.int64)
    same = key[grouped[1:]] == key[grouped[:-1]]
    following[grouped[:-1][same]] = grouped[1:][same]
    return following


def distinct(
    start: np.ndarray, end: np.ndarray, following: np.ndarray, item: pa.DictionaryArray, max_length: int
) -> pa.ListArray:
    """Returns the distinct items of [start, end), each at its last place, last first, at most `max_length`.

    An event in the range is its item's last one exactly if the next one (`following`, from `next_same`) lies at or
    beyond the range's end. Only as much of the past is looked at as is needed to fill a list: twice as much in
    each round, for the ranges that are not done.

    Args:
        start: int64 [m].
        end: int64 [m].
        following: int64 [n].
        item: [n], dictionary-encoded.
        max_length: The longest list.
    """
    size = len(start)
    found = np.zeros(size, dtype=np.int64)
    chunks: list[tuple[np.ndarray, np.ndarray]] = []
    upper, window = end.copy(), 2 * max_length
    todo = np.flatnonzero((upper > start) & (max_length > 0))
    while len(todo):
        for some in _within_budget(todo, np.minimum(upper - start, window)):
            lengths = np.minimum(upper[some] - start[some], window)
            _, positions = _newest_first(upper[some], lengths)
            owner = np.repeat(some, lengths)
            last = following[positions] >= end[owner]
            owner, positions = owner[last], positions[last]
            rank = np.arange(len(owner)) - np.searchsorted(owner, owner) + found[owner]
            wanted = rank < max_length
            chunks.append((owner[wanted], positions[wanted]))
            found += np.bincount(owner[wanted], minlength=size)
            upper[some] -= lengths
        todo = todo[(found[todo] < max_length) & (upper[todo] > start[todo])]
        window *= 2
    owners = np.concatenate([owner for owner, _ in chunks]) if chunks else np.empty(0, np.int64)
    positions = np.concatenate([position for _, position in chunks]) if chunks else np.empty(0, np.int64)
    # Later rounds hold older events, so a stable sort leaves each list newest first.
    positions = positions[np.argsort(owners, kind="stable")]
    return _lists(np.concatenate([[0], np.cumsum(found)]), item, positions)


def _newest_first(end: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns offsets [m+1] and the positions end-1, end-2, … of each range's last `lengths` entries."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    total = int(offsets[-1])
    steps = np.arange(total, dtype=np.int64) - np.repeat(offsets[:-1], lengths)
    return offsets, np.repeat(end, lengths) - 1 - steps


def _within_budget(indices: np.ndarray, costs: np.ndarray) -> Iterator[np.ndarray]:
    """Cuts ascending `indices` into runs whose costs add up to about _EXPANDED, at least one index each."""
    total = np.cumsum(costs[indices])
    first = 0
    while first < len(indices):
        spent = total[first - 1] if first else 0
        last = max(int(np.searchsorted(total, spent + _EXPANDED, side="right")), first + 1)
        yield indices[first:last]
        first = last


def _lists(offsets: np.ndarray, item: pa.DictionaryArray, positions: np.ndarray) -> pa.ListArray:
    codes = item.indices.to_numpy(zero_copy_only=False)[positions]
    values = pa.DictionaryArray.from_arrays(pa.array(codes), item.dictionary)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)
