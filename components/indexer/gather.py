"""What the training events say of users and items, gathered from one batch of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.examples import context
from components.examples.interactions import FOR_GOOD, NEGATIVE_SPLIT
from components.examples.past import read_all
from components.examples.reading import Columns, Features, distinct, has_split, scalars
from components.progress import progress

_EVENT = "event"
_BATCH = 131_072
_HELD = 8_000_000
"""Events, beyond those that are kept, after which what isn't needed any more is thrown away."""


@dataclass(frozen=True)
class Stored:
    """Lists of items of U users."""

    values: np.ndarray
    """[V] int32, rows of items: the users' distinct items one user after the other, newest first."""
    splits: np.ndarray
    """[U + 1] int64, so that user u has `values[splits[u]:splits[u + 1]]`."""


@dataclass(frozen=True)
class Gathered:
    """The outcome for U users and N items."""

    user_ids: np.ndarray
    """[U] bytes, dtype object, ascending: all users of training events."""
    history: Stored
    """All that the users had to do with."""
    excluded: Stored | None
    """The items of their events of the types asked for; None where none is."""
    contexts: np.ndarray
    """[U] bytes, dtype object: the features at each user's newest event, a serialized tf.Example."""
    events: np.ndarray
    """[N] int64, training events of each item."""


def gather(
    interactions: str,
    row_of: Mapping[bytes, int],
    stored_history: int,
    user_features: Features | None = None,
    excluded_types: Sequence[str] = (),
) -> Gathered:
    """Reads the training events once, holding no more than the outcome and some millions of them.

    Args:
        interactions: URI of the events' Examples; only the training events are read, those of before among them.
        row_of: Row of each of the N items; events of others count for nothing, though their users do.
        stored_history: Newest distinct items kept of each user.
        user_features: Types of the users' features.
        excluded_types: Types of events whose items are gathered by themselves too.
    """
    features = dict(user_features or {})
    types = {"user_id": bytes, "item_id": bytes, "timestamp": int, **features}
    types |= {_EVENT: bytes} if excluded_types else {}
    wanted = [name.encode() for name in excluded_types]
    number_of: dict[bytes, int] = {}
    held: list[list[np.ndarray]] = [[np.zeros(0, kind) for kind in (np.int32, np.int32, np.int64, bool)]]
    counts = np.zeros(len(row_of), np.int64)
    newest: dict[int, tuple[int, bytes]] = {}
    rows = kept = 0
    for batch in read_all(interactions, "train", types, _BATCH):
        user, item, time = _numbered(batch, number_of), _rows(batch, row_of), scalars(batch, "timestamp")
        if features:
            _update(newest, batch, user, time, features)
        there = item >= 0
        counts += np.bincount(item[there], minlength=len(counts))
        excluded = np.isin(scalars(batch, _EVENT), wanted) if wanted else np.zeros(len(user), bool)
        held.append([user[there], item[there], time[there], excluded[there]])
        rows += len(user)
        if sum(len(columns[0]) for columns in held) > kept + _HELD:
            held = [_needed([np.concatenate(column) for column in zip(*held)], stored_history)]
            kept = len(held[0][0])
            progress(f"{rows:,} events read, {len(number_of):,} users")
    user, item, time, excluded = (np.concatenate(column) for column in zip(*held))
    ids = np.array(list(number_of), dtype=object)
    order = np.argsort(ids)
    place = np.empty(len(ids), np.int64)
    place[order] = np.arange(len(ids))
    user = place[user]

    def stored(rows: Any) -> Stored:
        whose, what = user[rows], item[rows]
        kept = newest_distinct(whose, what, time[rows], stored_history)
        return _stored(whose[kept], what[kept], len(ids))

    contexts = np.full(len(ids), b"", dtype=object)
    for number, (_, serialized) in newest.items():
        contexts[place[number]] = serialized
    return Gathered(ids[order], stored(slice(None)), stored(excluded) if wanted else None, contexts, counts)


def _needed(columns: list[np.ndarray], stored_history: int) -> list[np.ndarray]:
    """Of events [n], as user, item, time and whether their type is left out, those that may be stored."""
    user, item, time, excluded = columns
    # In the order in which they came, so that of equal times what comes is later.
    needed = np.sort(newest_distinct(user, item, time, stored_history))
    if excluded.any():
        of_types = np.flatnonzero(excluded)
        newest_of_types = newest_distinct(user[of_types], item[of_types], time[of_types], stored_history)
        needed = np.union1d(needed, of_types[newest_of_types])
    return [column[needed] for column in columns]


def gather_rejected(
    interactions: str, row_of: Mapping[bytes, int], user_ids: np.ndarray, stored_history: int
) -> Stored | None:
    """Gathers what the users rejected, of each the newest `stored_history`; None where the log has no negative events.

    An item is rejected by a negative event that is not taken back by a positive one that comes later.

    Args:
        interactions: URI of the events' Examples.
        row_of: Row of each of the N items.
        user_ids: [U] bytes; what others rejected is left out.
        stored_history: Newest items kept of each user.
    """
    if not has_split(interactions, NEGATIVE_SPLIT):
        return None
    number_of = {name: number for number, name in enumerate(user_ids.tolist())}

    def pairs(split: str, types: Features) -> Iterator[tuple[np.ndarray, np.ndarray, Columns]]:
        for batch in read_all(interactions, split, {"user_id": bytes, **types}, _BATCH):
            users, place = distinct(scalars(batch, "user_id"))
            user = np.array([number_of.get(name, -1) for name in users], np.int64)[place]
            item = _rows(batch, row_of)
            there = np.flatnonzero((user >= 0) & (item >= 0))
            yield user[there] * len(row_of) + item[there], there, batch

    types = {"item_id": bytes, "timestamp": int}
    found = [
        (key, scalars(batch, "timestamp")[rows], scalars(batch, FOR_GOOD)[rows] > 0)
        for key, rows, batch in pairs(NEGATIVE_SPLIT, {**types, FOR_GOOD: int})
    ]
    empty = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool)
    key, time, for_good = (np.concatenate(column) for column in zip(empty, *found))
    keys, place = np.unique(key, return_inverse=True)
    newest, taken_back = (np.full(len(keys), np.iinfo(np.int64).min) for _ in range(2))
    final = np.zeros(len(keys), bool)
    np.maximum.at(newest, place, time)
    np.logical_or.at(final, place, for_good)
    for key, rows, batch in pairs("train", types):
        position = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        same = np.flatnonzero(keys[position] == key) if len(keys) else np.zeros(0, np.int64)
        np.maximum.at(taken_back, position[same], scalars(batch, "timestamp")[rows][same])
    rejected = final | (newest >= taken_back)
    user, item = np.divmod(keys[rejected], len(row_of))
    kept = newest_distinct(user, item, newest[rejected], stored_history)
    return _stored(user[kept], item[kept], len(user_ids))


def newest_distinct(user: np.ndarray, item: np.ndarray, time: np.ndarray, limit: int) -> np.ndarray:
    """The events of each user's distinct items, at most `limit` of them, by user and the newest first.

    Args:
        user: [E] int.
        item: [E] int.
        time: [E] int; of equal times the later row counts as newer.
        limit: Most items of one user.

    Returns:
        [V] int64, the newest event of each item that is kept.
    """
    newest = np.lexsort((-np.arange(len(user)), -time, user))
    # The first of each (user, item) in this order is its newest event.
    pair = np.lexsort((np.arange(len(user)), item[newest], user[newest]))
    repeat = np.zeros(len(user), bool)
    same = (user[newest][pair][1:] == user[newest][pair][:-1]) & (item[newest][pair][1:] == item[newest][pair][:-1])
    repeat[pair[1:][same]] = True
    newest = newest[~repeat]
    whose = user[newest]
    return newest[np.arange(len(whose)) - np.searchsorted(whose, whose) < limit]


def _stored(user: np.ndarray, item: np.ndarray, num_users: int) -> Stored:
    """Items [V] of users [V], which ascend."""
    splits = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=num_users))])
    return Stored(item.astype(np.int32), splits.astype(np.int64))


def _numbered(batch: Columns, number_of: dict[bytes, int]) -> np.ndarray:
    """Numbers [B] int32 of a batch's users, who get the next ones where they are new."""
    users, user = distinct(scalars(batch, "user_id"))
    return np.array([number_of.setdefault(name, len(number_of)) for name in users], np.int32)[user]


def _rows(batch: Columns, row_of: Mapping[bytes, int]) -> np.ndarray:
    """Rows [B] int32 of a batch's items, -1 for others."""
    items, item = distinct(scalars(batch, "item_id"))
    return np.array([row_of.get(name, -1) for name in items], np.int32)[item]


def _update(
    newest: dict[int, tuple[int, bytes]], batch: Columns, user: np.ndarray, time: np.ndarray, features: Features
) -> None:
    """Notes the time and features of the newest events that users have in a batch; of equal times the later row's."""
    last: dict[int, int] = {}
    for row in np.argsort(time, kind="stable").tolist():
        last[int(user[row])] = row
    changed = {u: row for u, row in last.items() if u not in newest or time[row] >= newest[u][0]}
    for (u, row), found in zip(changed.items(), context.read_contexts(batch, features, changed.values())):
        newest[u] = (int(time[row]), context.serialize(found, features))
