"""Reads the training events for the baselines: all are counted, and of a long log those of some users are kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.errors import InputError
from components.evaluator.baselines.base import TrainingEvents
from components.evaluator.baselines.settings import BaselineSettings
from components.examples.interactions import PLACE
from components.examples.past import read_all
from components.examples.reading import distinct, scalars
from components.hashing import hashes, mixed

_BATCH = 131_072
_MICROSECONDS_A_DAY = 86_400e6


def read_training_events(uri: str, settings: BaselineSettings) -> TrainingEvents:
    """Reads the training events of the Interactions artifact at `uri`, those of before among them.

    Events of a user at the same time come in the order of the log where that counts, and others of the same time in a
    fixed order that has nothing to do with the items.

    Args:
        uri: of the artifact.
        settings: how many events are kept, and how fast they age.

    Raises:
        InputError: there are no training events.
    """
    counted, kept = _Counted(settings.recent_half_life_days), _Kept(settings.max_events)
    types = {"user_id": bytes, "item_id": bytes, "timestamp": int, PLACE: int}
    for batch in read_all(uri, "train", types, _BATCH):
        time = scalars(batch, "timestamp")
        item = counted.add(scalars(batch, "item_id"), time)
        kept.add(scalars(batch, "user_id"), item, time, scalars(batch, PLACE, 0))
    if not counted.number_of:
        raise InputError(f"{uri}: no training events, so there is nothing to fit the baselines to")
    ids = np.array(list(counted.number_of), dtype=object)
    by_id = np.argsort(ids)
    ranked = by_id[np.argsort(-counted.events[by_id], kind="stable")]
    row_of = np.empty(len(ids), np.int64)
    row_of[ranked] = np.arange(len(ids))
    name_of = np.empty(len(ids), np.int64)
    name_of[by_id] = np.arange(len(ids))
    user, item, time, place, num_users = kept.columns()
    order = np.lexsort((mixed(user * len(ids) + name_of[item]), place, time))
    return TrainingEvents(
        user[order].astype(np.int32),
        row_of[item][order].astype(np.int32),
        ids[ranked],
        num_users,
        counted.events[ranked],
        counted.recent[ranked],
    )


class _Counted:
    """Events of each item, and the same where older ones count less."""

    def __init__(self, half_life_days: float) -> None:
        self.number_of: dict[bytes, int] = {}
        self.events = np.zeros(0, np.int64)
        self.recent = np.zeros(0)
        """Sums of 2^(-age / half-life), the age at the latest event."""
        self._half_life = half_life_days * _MICROSECONDS_A_DAY
        self._latest: int | None = None

    def add(self, ids: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Counts events [B]; returns their items' numbers [B] int64."""
        names, place = distinct(ids)
        number = np.array([self.number_of.setdefault(name, len(self.number_of)) for name in names], np.int64)[place]
        latest = int(time.max()) if self._latest is None else max(self._latest, int(time.max()))
        if self._latest is not None:
            self.recent *= np.exp2((self._latest - latest) / self._half_life)
        self._latest = latest
        size = len(self.number_of)
        weight = np.exp2((time - latest) / self._half_life)
        self.events = np.pad(self.events, (0, size - len(self.events))) + np.bincount(number, minlength=size)
        self.recent = np.pad(self.recent, (0, size - len(self.recent))) + np.bincount(number, weight, minlength=size)
        return number


class _Kept:
    """At most so many events, all of some users: those whose hash is below a limit, which is halved when there are too
    many. So which they are doesn't depend on the order in which they come."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = 1 << 64
        self._number_of: dict[bytes, int] = {}
        self._hash = np.zeros(0, np.uint64)
        self._held: list[tuple[np.ndarray, ...]] = []
        self._size = 0

    def add(self, users: np.ndarray, *columns: np.ndarray) -> None:
        """Takes in events [B]: their users, and further columns [B]."""
        names, of = distinct(users)
        if self._limit < 1 << 64:
            below = hashes(names) < np.uint64(self._limit)
            there = below[of]
            names = [name for name, wanted in zip(names, below.tolist()) if wanted]
            of = (np.cumsum(below) - 1)[of[there]]
            columns = tuple(column[there] for column in columns)
        user = np.array([self._number_of.setdefault(name, len(self._number_of)) for name in names], np.int64)[of]
        self._held.append((user, *columns))
        self._size += len(user)
        while self._size > self._most and self._limit > 1:
            self._halve()

    def _halve(self) -> None:
        """Lets go of about half of the users."""
        names = list(self._number_of)
        if len(self._hash) < len(names):
            self._hash = np.concatenate([self._hash, hashes(names[len(self._hash) :])])
        self._limit //= 2
        user, *columns = (np.concatenate(column) for column in zip(*self._held))
        wanted = (self._hash < np.uint64(self._limit))[user]
        self._held = [(user[wanted], *(column[wanted] for column in columns))]
        self._size = int(wanted.sum())

    def columns(self) -> tuple[Any, ...]:
        """Returns users [n], numbered in the order of their ids, the further columns, and how many users there are."""
        user, *columns = (np.concatenate(column) for column in zip(*self._held))
        names = np.array(list(self._number_of), dtype=object)
        numbers = np.unique(user)
        place = np.empty(len(names), np.int64)
        place[numbers[np.argsort(names[numbers])]] = np.arange(len(numbers))
        return place[user], *columns, len(numbers)
