"""Training events made up in memory or as Transform leaves them, without Transform."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.model.inputs import TrainingData
from pipeline.model.preprocessing import FIRST, PADDING
from pipeline.model.reading import Events, Log
from pipeline.model.towers import TASK, ItemFeatures, SideFeature, Vocabulary

ITEMS = 6


def some_events(users: list[int], items: list[int], histories: list[list[int]] | None = None) -> Events:
    """Events in the order of time; the histories are two wide."""
    count = len(users)
    history = np.array(histories if histories is not None else [[0, 0]] * count, np.int32).reshape(count, 2)
    return Events(
        np.arange(count),
        np.array(users),
        np.array(items, np.int32),
        np.ones(count, np.float32),
        np.arange(count),
        {"history": history},
    )


def followers(parts: int = 1) -> TrainingData:
    """240 events of 7 users and 6 items, each of which follows the one before it; histories have two items at most."""
    place = np.arange(240)
    item = FIRST + place % ITEMS
    before = FIRST + (place[:, np.newaxis] - [1, 2]) % ITEMS
    history = np.where(np.arange(2) < (place // ITEMS % 3)[:, np.newaxis], before, PADDING)
    events = some_events((place % 7).tolist(), item.tolist(), history.tolist())
    log = Log.of(events)
    if parts > 1:
        of_users = [events.take(events.user % parts == number) for number in range(parts)]
        pieces = [dataclasses.replace(part, row=np.arange(len(part))) for part in of_users]
        log = Log([functools.partial(Events.take, part, slice(None)) for part in pieces], len(events), log.first)
    vocabulary = Vocabulary(
        counts=np.full(ITEMS, len(events) // ITEMS),
        item_features=ItemFeatures(
            {
                "genres": (FIRST + np.arange(ITEMS) % 2)[:, np.newaxis].astype(np.int32),
                "year": np.linspace(-1, 1, ITEMS).astype(np.float32),
            }
        ),
        candidate_features=(SideFeature("genres", False, 2), SideFeature("year", True)),
        query_features=(),
        num_users=0,
        max_history=2,
    )
    return TrainingData(log, vocabulary, "latest")


def two_tasks() -> TrainingData:
    """480 events of 8 users and 6 items with histories of one item: after item n an event of the first task has item
    n + 1, of the second n + 3."""
    task = np.random.default_rng(0).integers(0, 2, (60, 8))
    item = np.cumsum(1 + 2 * task, axis=0) % ITEMS
    before = np.concatenate([np.full((1, 8), PADDING - FIRST), item[:-1]])
    events = some_events(np.tile(np.arange(8), 60).tolist(), (FIRST + item.ravel()).tolist())
    inputs = {"history": (FIRST + before.reshape(-1, 1)).astype(np.int32), TASK: task.ravel().astype(np.int32)}
    data = followers()
    vocabulary = dataclasses.replace(data.vocabulary, max_history=1)
    return TrainingData(Log.of(dataclasses.replace(events, inputs=inputs)), vocabulary, "latest")


def tiny_rows(count: int = 400) -> list[dict[str, list[Any]]]:
    """Transformed events in their order, three at a time."""
    rng = np.random.default_rng(0)
    rows = []
    for row in range(count):
        user = int(rng.integers(0, 30))
        rows.append(
            {
                "item": [int(rng.integers(2, 50))],
                "history": rng.integers(2, 50, rng.integers(0, 5)).tolist(),
                "timestamp": [row // 3],
                "place": [row % 3],
                "user_hash": [user * 7919 - 50_000],
                "query_genres": rng.integers(1, 9, rng.integers(0, 4)).tolist(),
                "weight": [float(rng.integers(1, 5))],
                "event": [("view", "cart", "buy")[row % 3]],
            }
        )
    return rows


def write_log(folder: Path, count: int = 400, shuffle: int = 0, split: str = "train") -> str:
    """Writes `tiny_rows`, the same ones in an order of the files that `shuffle` says; returns their URI."""
    rows = []
    for values in tiny_rows(count):
        whole = {name: some for name, some in values.items() if name not in ("weight", "event")}
        features = {name: tf.train.Feature(int64_list={"value": some}) for name, some in whole.items()}
        features["weight"] = tf.train.Feature(float_list={"value": values["weight"]})
        features["event"] = tf.train.Feature(bytes_list={"value": [values["event"][0].encode()]})
        rows.append(tf.train.Example(features={"feature": features}).SerializeToString())
    order = np.random.default_rng(shuffle).permutation(count)
    (folder / f"Split-{split}").mkdir(parents=True)
    for number, some in enumerate(np.split(order, [count // 3])):
        with tf.io.TFRecordWriter(str(folder / f"Split-{split}" / f"part-{number}.gz"), "GZIP") as writer:
            for row in some:
                writer.write(rows[row])
    return str(folder)
