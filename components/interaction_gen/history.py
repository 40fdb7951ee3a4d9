"""Point-in-time histories: for each event what its user had done before, vectorised.

All functions take one array entry an event, sorted by user, then time, then place in the log.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

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


@dataclass(frozen=True)
class Selection:
    """Some of n events, m of them, and for each of the n which of these are its user's earlier ones."""

    start: np.ndarray
    """int64 [n], where the earlier ones begin among the m, and where they end."""
    end: np.ndarray
    item: pa.DictionaryArray
    """[m]."""
    following: np.ndarray
    """int64 [m], from `next_same`."""
    listed: Optional[np.ndarray] = None
    """bool [m], which of them say that the item is listed, where an event may say that it isn't."""

    def history(self, rows: np.ndarray, max_length: int) -> pa.ListArray:
        """Returns `recent` for some of the n events."""
        return recent(self.start[rows], self.end[rows], self.item, max_length)

    def items(self, rows: np.ndarray, max_length: int) -> pa.ListArray:
        """Returns `distinct` for some of the n events."""
        return distinct(self.start[rows], self.end[rows], self.following, self.item, max_length, self.listed)


def select(
    chosen: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    user: np.ndarray,
    item: pa.DictionaryArray,
    listed: Optional[np.ndarray] = None,
) -> Selection:
    """Returns a selection of events.

    Args:
        chosen: bool [n].
        start: int64 [n], of all events where the earlier ones of each begin, and where they end.
        end: int64 [n].
        user: int [n], ascending.
        item: [n], dictionary-encoded.
        listed: bool [n].
    """
    code = item.indices.to_numpy(zero_copy_only=False)
    if chosen.all():
        return Selection(start, end, item, next_same(user, code), listed)
    before, rows = np.concatenate([[0], np.cumsum(chosen)]), np.flatnonzero(chosen)
    following = next_same(user[rows], code[rows])
    return Selection(
        before[start], before[end], item.take(pa.array(rows)), following, None if listed is None else listed[rows]
    )


def until_final(user: np.ndarray, item_code: np.ndarray, negative: np.ndarray, final: np.ndarray) -> np.ndarray:
    """Returns which events decide whether their user has rejected their item: those of pairs of the two that have a
    negative one, up to the first that is final; bool [n].

    Args:
        user: int [n], ascending.
        item_code: int [n], equal for equal items.
        negative: bool [n].
        final: bool [n], which of these nothing later takes back.
    """
    key = user.astype(np.int64) * (int(item_code.max(initial=0)) + 1) + item_code
    pairs, pair = np.unique(key, return_inverse=True)
    rejected, last = np.zeros(len(pairs), dtype=bool), np.full(len(pairs), len(user))
    rejected[pair[negative]] = True
    np.minimum.at(last, pair[final], np.flatnonzero(final))
    return rejected[pair] & (np.arange(len(user)) <= last[pair])


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
    start: np.ndarray,
    end: np.ndarray,
    following: np.ndarray,
    item: pa.DictionaryArray,
    max_length: int,
    listed: Optional[np.ndarray] = None,
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
        listed: bool [n]; an item whose last event in the range isn't is left out. By default all are.
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
            if listed is not None:
                last &= listed[positions]
            owner, positions = owner[last], positions[last]
            counts = np.bincount(owner, minlength=size)[some]
            rank = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts) + found[owner]
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
