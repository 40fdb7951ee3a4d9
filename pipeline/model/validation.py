"""The events held back from training, and how well a model ranks them: exactly, among all items."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from components.metrics.hit_rate import hit_rate
from components.metrics.ndcg import ndcg
from pipeline.model.inputs import TrainingData
from pipeline.model.preprocessing import FIRST
from pipeline.model.reading import Events, content_hash, with_other_items
from pipeline.model.settings import HoldOut, TrainingSettings
from pipeline.model.towers import TwoTowerModel

_SCORES = 1 << 26
"""Scores of all items that are held at a time: 256 MiB."""


def held_out(events: Events, hold_out: HoldOut, settings: TrainingSettings) -> np.ndarray:
    """Rows, ascending, of the events to validate on.

    Args:
        events: The training events.
        hold_out: `latest`: the latest ones. `last_of_user`: each user's last, as many users as are wanted. `any`:
            evenly spread by what they hold.
        settings: Says how many.
    """
    count = max(1, round(len(events) * settings.validation_fraction))
    if hold_out == "latest":
        return np.arange(len(events) - count, len(events))
    if hold_out == "last_of_user":
        last = len(events) - 1 - np.unique(events.user[::-1], return_index=True)[1]
        rows = last[np.argsort(events.user[last], kind="stable")]
    else:
        rows = np.argsort(content_hash(events), kind="stable")
    return np.sort(rows[:count])


def held_back(data: TrainingData, settings: TrainingSettings, count: int) -> Events:
    """The events held back; of a log in parts about `count` of them."""
    return data.events.sample(lambda part: split(part, data.hold_out, settings)[1], count)


def split(part: Events, hold_out: HoldOut, settings: TrainingSettings) -> tuple[Events, Events]:
    """A part's events to train on and those held back, with the histories that they are learned from."""
    positive = np.flatnonzero(part.weight >= 0)
    rows = positive[held_out(part.positives(), hold_out, settings)]
    kept = np.ones(len(part), bool)
    kept[rows] = len(part) == 1  # one event: nothing to validate on but itself
    if hold_out != "any":
        kept &= ~_rejected_later(part, rows, hold_out)
    events, queries = part.take(kept), part.take(rows)
    if settings.histories == "others":
        return with_other_items(events, events), with_other_items(queries, events)
    return events, queries


def _rejected_later(part: Events, rows: np.ndarray, hold_out: HoldOut) -> np.ndarray:
    """Which events of a part are negative and not earlier than those held back (`rows`, ascending), of all users or of
    their own; bool [N]."""
    negative = part.weight < 0
    if not negative.any() or hold_out == "latest":
        return negative & (np.arange(len(part)) >= rows[0])
    users, first = np.unique(part.user[rows], return_index=True)
    place = np.minimum(np.searchsorted(users, part.user), len(users) - 1)
    own = users[place] == part.user
    return negative & own & (np.arange(len(part)) >= rows[first][place])


def every_score(
    model: TwoTowerModel, items: tuple[tf.Tensor, tf.Tensor], events: Events, batch_size: int
) -> Iterator[tuple[Events, tf.Tensor, np.ndarray]]:
    """Yields batches of events with their queries [B, D] and the towers' scores [B, N] of all items.

    Args:
        model: The towers.
        items: Embeddings [N, D] and biases [N] of all items, as `model.vocabulary_embeddings` gives them.
        events: The events.
        batch_size: B, of all but the last batch.
    """
    embedding, bias = items
    for start in range(0, len(events), batch_size):
        batch = events.take(slice(start, start + batch_size))
        query = model.query_tower({name: tf.constant(column) for name, column in batch.inputs.items()})
        yield batch, query, (tf.matmul(query, embedding, transpose_b=True) + bias).numpy()


def rows(events: Events) -> np.ndarray:
    """Histories [B, H] of events as rows of the vocabulary, -1 for what is no item."""
    return np.maximum(events.inputs["history"] - FIRST, -1)


def without_history(scores: np.ndarray, events: Events, may_repeat: bool = False) -> np.ndarray:
    """Scores [B, N] with -inf for items of each event's history, but for its own: who comes back had it before. Where
    answers `may_repeat` what a user had, they are as they were."""
    if may_repeat:
        return scores
    own = np.arange(len(events)), events.item - FIRST
    true = scores[own]
    history = rows(events)
    there = (history >= 0) & (history < scores.shape[1])
    scores[np.nonzero(there)[0], history[there]] = -np.inf
    scores[own] = true
    return scores


def at_a_time(model: TwoTowerModel, events: Events, num_items: int, most: int) -> int:
    """How many events, at most `most`, are asked at a time, so that their scores need no more than a part of memory."""
    # A transformer has a score of each place of a history for each other one.
    places = events.inputs["history"].shape[1] ** 2 if model.learns_from_sequences else 0
    return max(1, min(most, _SCORES // max(num_items, places)))


def exact_ranks(model: TwoTowerModel, events: Events) -> np.ndarray:
    """Rank [N] int, 0 the best, of each event's item among all items that are not in its history."""
    items = model.vocabulary_embeddings()
    ranks = []
    for batch, _, scores in every_score(model, items, events, at_a_time(model, events, len(items[1]), 1024)):
        true = scores[np.arange(len(batch)), batch.item - FIRST]
        scores = without_history(scores, batch, model.may_repeat)
        # Not >, for which a diverged model's NaN would be the best of ranks.
        ranks.append((~(scores <= true[:, np.newaxis])).sum(axis=1))
    return np.concatenate(ranks)


def ranking_metrics(rank: np.ndarray) -> dict[str, float]:
    """Hit rate and NDCG at 10 of ranks [N] int, 0 the best."""
    return {
        "hit@10": float(hit_rate(rank, 10).mean()),
        "ndcg@10": float(ndcg(rank, 10).mean()),
    }
