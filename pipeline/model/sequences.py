"""Events as sequences of their users, so that one pass over a sequence learns from every event of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.model.preprocessing import PADDING
from pipeline.model.reading import Events
from pipeline.model.transformer import AT, OF, SEQUENCES

_GROUP = 16
"""Batches in each of which the sequences are about as long."""
_LENGTHS = 4
"""Into so many steps the places are cut that a compiled batch may have."""


@dataclass(frozen=True)
class Sequences:
    """Q pieces of users' sequences, and the events that are learned from each."""

    items: np.ndarray
    """[E] int32, all users' items, oldest first, one user after the other."""
    start: np.ndarray
    """[Q] int64, where a piece begins in `items`."""
    end: np.ndarray
    """[Q] int64, where it ends; users of one event have pieces without items."""
    events: np.ndarray
    """[N] int64, rows of the events, those of a piece together."""
    last: np.ndarray
    """[N] int64, where in `items` an event's newest earlier one is; -1 without one."""
    first_event: np.ndarray
    """[Q + 1] int64: piece q has `events[first_event[q]:first_event[q + 1]]`."""

    def __len__(self) -> int:
        return len(self.start)


def cut(events: Events, places: int) -> Sequences:
    """Cuts users' events into pieces of at most `places` items.

    An event is in the piece in which its history ends, all of its user's events at earlier moments; one without a
    history in its user's oldest piece. The newest piece of a user is as long as can be. Negative events are learned
    likewise but are in no sequence; those of users without others are left out. One that comes after its user's newest
    positive event lacks that in its history, for no sequence has it.

    Args:
        events: In the order of time.
        places: The most items of a piece.
    """
    positive = np.flatnonzero(events.weight >= 0)
    users, whose, counts = np.unique(events.user[positive], return_inverse=True, return_counts=True)
    in_items = np.argsort(whose, kind="stable")
    learned = np.flatnonzero(np.isin(events.user, users))
    learned = learned[np.argsort(events.user[learned], kind="stable")]
    user = np.searchsorted(users, events.user[learned])
    begin = (np.cumsum(counts) - counts)[user]
    # Pieces are counted from a user's newest event, which is in no other one's history and so in no piece.
    end = begin + counts[user] - 1
    moment = events.moment - events.moment.min()
    span = int(moment.max()) + 1
    keys = whose[in_items] * span + moment[positive[in_items]]
    last = np.minimum(np.searchsorted(keys, user * span + moment[learned]), end) - 1
    last[last < begin] = -1
    piece = (end - 1 - np.where(last < 0, np.minimum(begin, end - 1), last)) // places
    # Pieces in the order of users, of each the oldest first.
    key = np.lexsort((np.arange(len(learned)), -piece, begin))
    changed = np.ones(len(key), bool)
    changed[1:] = (begin[key][1:] != begin[key][:-1]) | (piece[key][1:] != piece[key][:-1])
    heads = key[changed]
    piece_end = end[heads] - piece[heads] * places
    piece_start = np.maximum(begin[heads], piece_end - places)
    return Sequences(
        items=events.item[positive[in_items]],
        start=piece_start,
        end=piece_end,
        events=learned[key],
        last=last[key],
        first_event=np.append(np.flatnonzero(changed), len(key)),
    )


def batches_of(
    sequences: Sequences, size: int, chance: np.random.Generator
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Yields batches of `size` pieces: the rows [B] of their events, and `SEQUENCES`, `OF` and `AT`.

    Pieces of a batch are about as long, for the others are padded to the longest.
    """
    length = sequences.end - sequences.start
    order = chance.permutation(len(sequences))
    groups = [order[first : first + _GROUP * size] for first in range(0, len(order), _GROUP * size)]
    by_length = np.concatenate([group[np.argsort(length[group], kind="stable")] for group in groups])
    chosen = [by_length[first : first + size] for first in range(0, len(by_length), size)]
    for number in chance.permutation(len(chosen)):
        yield _batch(sequences, np.sort(chosen[number]))


def in_few_shapes(
    rows: np.ndarray, made: dict[str, np.ndarray], size: int, places: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A batch with so many places, pieces and events that few batches differ in them, for XLA compiles each shape anew.

    Events come again from the first one on where there are too few: all but the first [B] must count for nothing.

    Args:
        rows: [B], as of `batches_of`.
        made: As of `batches_of`.
        size: The most pieces of a batch.
        places: The most items of a piece.
    """
    step = -(-places // _LENGTHS)
    items = made[SEQUENCES]
    more = (0, size - len(items)), (0, -items.shape[1] % step)
    items = np.pad(items, more, constant_values=PADDING)
    count = -(-len(rows) // (size * step)) * size * step
    return np.resize(rows, count), {SEQUENCES: items, OF: np.resize(made[OF], count), AT: np.resize(made[AT], count)}


def _batch(sequences: Sequences, pieces: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    start, end = sequences.start[pieces], sequences.end[pieces]
    place = np.arange(max(1, int((end - start).max(initial=0))))
    at = end[:, np.newaxis] - 1 - place
    items = np.where(at >= start[:, np.newaxis], sequences.items[np.maximum(at, 0)], PADDING).astype(np.int32)
    counts = sequences.first_event[pieces + 1] - sequences.first_event[pieces]
    of = np.repeat(np.arange(len(pieces)), counts)
    rows = np.repeat(sequences.first_event[pieces] - (np.cumsum(counts) - counts), counts) + np.arange(len(of))
    last = sequences.last[rows]
    begins = np.where(last < 0, -1, end[of] - 1 - last)
    return sequences.events[rows], {SEQUENCES: items, OF: of.astype(np.int32), AT: begins.astype(np.int32)}
