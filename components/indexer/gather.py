"""What the training events say of users and items, gathered from one batch of them at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from components.examples import context
from components.examples.reading import Columns, Features, distinct, read_batches, scalars
from components.progress import progress

_BATCH = 131_072
_HELD = 8_000_000
"""Events, beyond those that are kept, after which what isn't needed any more is thrown away."""


@dataclass(frozen=True)
class Gathered:
    """The outcome for U users and N items."""

    user_ids: np.ndarray
    """[U] bytes, dtype object, ascending: all users of training events."""
    values: np.ndarray
    """[V] int64, rows of items: the users' distinct items one user after the other, newest first."""
    splits: np.ndarray
    """[U + 1] int64, so that user u has `values[splits[u]:splits[u + 1]]`."""
    contexts: np.ndarray
    """[U] bytes, dtype object: the features at each user's newest event, a serialized tf.Example."""
    events: np.ndarray
    """[N] int64, training events of each item."""


def gather(
    interactions: str, row_of: Mapping[bytes, int], stored_history: int, user_features: Features | None = None
) -> Gathered:
    """Reads the training events once, holding no more than the outcome and some millions of them.

    Args:
        interactions: URI of the events' Examples; only the split `train` is read.
        row_of: Row of each of the N items; events of others count for nothing, though their users do.
        stored_history: Newest distinct items kept of each user.
        user_features: Types of the users' features.
    """
    features = dict(user_features or {})
    types = {"user_id": bytes, "item_id": bytes, "timestamp": int, **features}
    number_of: dict[bytes, int] = {}
    held: list[list[np.ndarray]] = [[np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int64)]]
    counts = np.zeros(len(row_of), np.int64)
    newest: dict[int, tuple[int, bytes]] = {}
    rows = kept = 0
    for batch in read_batches(interactions, "train", types, _BATCH):
        user, item, time = _numbered(batch, number_of), _rows(batch, row_of), scalars(batch, "timestamp")
        if features:
            _update(newest, batch, user, time, features)
        there = item >= 0
        counts += np.bincount(item[there], minlength=len(counts))
        held.append([user[there], item[there], time[there]])
        rows += len(user)
        if sum(len(user) for user, _, _ in held) > kept + _HELD:
            user, item, time = (np.concatenate(column) for column in zip(*held))
            # Oldest first, as in a log, so that of equal times what comes is later.
            needed = newest_distinct(user, item, time, stored_history)[::-1]
            held, kept = [[user[needed], item[needed], time[needed]]], len(needed)
            progress(f"{rows:,} events read, {len(number_of):,} users")
    user, item, time = (np.concatenate(column) for column in zip(*held))
    ids = np.array(list(number_of), dtype=object)
    order = np.argsort(ids)
    place = np.empty(len(ids), np.int64)
    place[order] = np.arange(len(ids))
    user = place[user]
    rows_kept = newest_distinct(user, item, time, stored_history)
    splits = np.concatenate([[0], np.cumsum(np.bincount(user[rows_kept], minlength=len(ids)))]).astype(np.int64)
    contexts = np.full(len(ids), b"", dtype=object)
    for number, (_, serialized) in newest.items():
        contexts[place[number]] = serialized
    return Gathered(ids[order], item[rows_kept].astype(np.int64), splits, contexts, counts)


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
