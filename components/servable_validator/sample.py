"""Draws real users, histories and items from the interactions, to ask the servable about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.errors import InputError
from components.examples.reading import Source, padded, ragged, read_batches, scalars

_USERS = 16
_HISTORIES = 16
_CHECKED_ITEMS = 20
"""Of a known user's items this many, the newest, are looked for in what is recommended: any stored history has them."""


@dataclass(frozen=True)
class Sample:
    """Whom to ask for and about what; all ids are text."""

    users: dict[str, list[str]]
    """Known users and their newest distinct items in the training events, newest first."""
    histories: list[list[str]]
    """Histories as requests carry them, newest first, none empty."""
    items: list[str]
    """Items of the training events."""


def draw(examples: Source) -> Sample:
    """Draws the sample; the same examples give the same one.

    Args:
        examples: the interactions, an artifact or its URI, with the splits `train` and `eval`.

    Raises:
        InputError: there are no training events.
    """
    features = {"user_id": bytes, "item_id": bytes, "timestamp": int}
    batches = read_batches(examples, "train", features)
    first = next(batches, None)
    if first is None:
        raise InputError("the interactions have no training events to ask the servable about")
    users = _spread(np.unique(scalars(first, "user_id")), _USERS)
    items = _spread(np.unique(scalars(first, "item_id")), _HISTORIES)
    events: dict[bytes, list[tuple[int, int, bytes]]] = {user: [] for user in users}
    row = 0
    for batch in read_batches(examples, "train", features):
        columns = [scalars(batch, name) for name in features]
        for index in np.flatnonzero(np.isin(columns[0], users)):
            user, item, time = (column[index] for column in columns)
            events[user].append((int(time), row + int(index), item))
        row += batch.num_rows
    return Sample(
        users={user.decode(): _newest(events[user]) for user in users},
        histories=_histories(examples),
        items=[item.decode() for item in items],
    )


def _newest(events: list[tuple[int, int, bytes]]) -> list[str]:
    """Distinct items of (time, row, item), newest first; of equal times the later row is newer."""
    ordered = [item.decode() for _, _, item in sorted(events, reverse=True)]
    return list(dict.fromkeys(ordered))[:_CHECKED_ITEMS]


def _histories(examples: Source) -> list[list[str]]:
    """Histories of held-out events, or of training events where nobody has one there."""
    for split in ("eval", "train"):
        for batch in read_batches(examples, split, {"history": bytes}):
            _, offsets = ragged(batch, "history")
            rows = np.flatnonzero(np.diff(offsets))
            if rows.size:
                chosen = padded(batch, "history")[_spread(rows, _HISTORIES)]
                return [[item.decode() for item in history if item] for history in chosen]
    return []


def _spread(values: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the values, evenly spread over them."""
    return values[np.unique(np.linspace(0, len(values) - 1, min(count, len(values))).astype(int))]
