"""Fits the ranker to what the towers retrieve for events that they have not seen.

On their own training events the towers find the true item more easily than they ever will again, and what a ranker
learns there makes real lists worse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from components.closed_forms.linear import NAMES, Part
from components.progress import progress
from pipeline.model.preprocessing import FIRST, UNKNOWN
from pipeline.model.ranker import NUM_FEATURES, Ranker, RankingLoss, features
from pipeline.model.reading import Events
from pipeline.model.settings import RankingSettings
from pipeline.model.towers import TwoTowerModel
from pipeline.model.validation import at_a_time, every_score, ranking_metrics, rows, without_history

_VALIDATION = 0.3
"""Share of the lists, the latest, on which the number of passes is chosen."""
_BATCH = 256
_ABSENT = -1e9
"""The score of no candidate, which must not be infinite where a gradient is taken."""


@dataclass(frozen=True)
class Lists:
    """L lists of N candidates each, best first, as retrieved for events."""

    features: np.ndarray
    """[L, N, F] float32."""
    present: np.ndarray
    """[L, N] bool; False where the items ran out."""
    place: np.ndarray
    """[L] int32, where the event's item stands; -1 where it was not retrieved."""
    weight: np.ndarray
    """[L] float32, the events' weights."""

    def __len__(self) -> int:
        return len(self.place)

    def take(self, rows: Any) -> Lists:
        """The lists of `rows`, an index array or a slice."""
        return Lists(self.features[rows], self.present[rows], self.place[rows], self.weight[rows])


def fit_ranker(
    model: TwoTowerModel,
    popularity: np.ndarray,
    events: Events,
    settings: RankingSettings,
    seed: int,
    parts: Sequence[Part] = (),
) -> tuple[Ranker, list[dict[str, float]]]:
    """Learns to rank what `model` retrieves for `events`, which it must not have seen.

    The number of passes is chosen on the latest of them, and the ranker then learns from them all. None is the best
    number where no pass improves on the retrieval alone: then the ranker leaves the scores as they are.

    Args:
        model: The towers.
        popularity: [N] int, training events of the vocabulary's items.
        events: In the order of time.
        settings: The ranker's.
        seed: Of the first weights and the order of lists.
        parts: The linear part.

    Returns:
        The ranker, and what each pass came to on the latest events; epoch 0 is the retrieval alone.
    """
    asked = np.unique(np.linspace(0, len(events) - 1, settings.queries).astype(int))
    lists = retrieve(model, popularity, events.take(asked), settings.candidates, parts)
    cut = round(len(lists) * (1 - _VALIDATION))
    learned, latest = lists.take(slice(cut)), lists.take(slice(cut, None))
    history: list[dict[str, float]] = []
    for epoch, loss, ranker in _passes(learned, settings, seed, settings.epochs):
        metrics = ranking_metrics(ranks(latest, ranker))
        history.append({"epoch": epoch, "loss": loss, **metrics})
        progress(f"ranking, pass {epoch}: hit@10 {metrics['hit@10']:.4f}, NDCG@10 {metrics['ndcg@10']:.4f}")
    best = max(history, key=lambda epoch: epoch["ndcg@10"])
    *_, (_, _, ranker) = _passes(lists, settings, seed, int(best["epoch"]))
    return ranker, history


def retrieve(
    model: TwoTowerModel, popularity: np.ndarray, events: Events, candidates: int, parts: Sequence[Part] = ()
) -> Lists:
    """What model and linear part retrieve for events, among all items that answers may hold."""
    embedding, bias = items = model.vocabulary_embeddings()
    table = model.query_tower.history_table()
    popularity = tf.constant(popularity, tf.float32)
    lists = []
    for batch, query, scores in every_score(model, items, events, at_a_time(model, events, len(bias), _BATCH)):
        history, votes = batch.inputs["history"], _votes(parts, rows(batch), scores.shape)
        scores = without_history(scores + votes.sum(axis=2), batch, model.may_repeat)
        best, found = tf.math.top_k(scores, min(candidates, len(bias)))
        values = features(
            query,
            tf.gather(embedding, found),
            tf.gather(bias, found),
            tf.gather(popularity, found),
            tf.gather(table, history),
            tf.constant(history > UNKNOWN),
            tf.gather(votes, found, batch_dims=1),
        )
        hit = found.numpy() == (batch.item - FIRST)[:, np.newaxis]
        place = np.where(hit.any(axis=1), hit.argmax(axis=1), -1).astype(np.int32)
        lists.append((values.numpy(), np.isfinite(best.numpy()), place, batch.weight))
    return Lists(*(np.concatenate(column) for column in zip(*lists)))


def _votes(parts: Sequence[Part], history: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """What each of `NAMES` adds to scores of a `shape` [B, N]: [B, N, P]."""
    votes = {part.name: part.votes(history) for part in parts}
    return np.stack([votes.get(name, np.zeros(shape, np.float32)) for name in NAMES], axis=2)


def ranks(lists: Lists, ranker: Ranker) -> np.ndarray:
    """Rank [L] int of each event's item, 0 the best; beyond all where it was not retrieved."""
    result = [np.zeros(0, np.int64)]
    for start in range(0, len(lists), _BATCH):
        batch = lists.take(slice(start, start + _BATCH))
        scores = batch.features[:, :, 0] + ranker(tf.constant(batch.features)).numpy()
        scores = np.where(batch.present, scores, -np.inf)
        true = scores[np.arange(len(batch)), np.maximum(batch.place, 0)]
        # Of equal scores the one that was retrieved first stays first, as in the servable.
        ahead = (scores > true[:, np.newaxis]) | (
            (scores == true[:, np.newaxis]) & (np.arange(scores.shape[1]) < batch.place[:, np.newaxis])
        )
        result.append(np.where(batch.place < 0, np.iinfo(np.int64).max, ahead.sum(axis=1)))
    return np.concatenate(result)


def _passes(lists: Lists, settings: RankingSettings, seed: int, epochs: int) -> Iterator[tuple[int, float, Ranker]]:
    """Trains a new ranker, yielding it with the pass's number and loss before the first pass and after each."""
    keras.utils.set_random_seed(seed)
    ranker = Ranker(settings)
    ranker(tf.zeros([1, 1, NUM_FEATURES]))
    # A list without the event's item says nothing of the order within.
    lists = lists.take(lists.place >= 0)
    if len(lists):
        ranker.adapt(lists.features[lists.present])
    yield 0, 0.0, ranker
    if not len(lists):
        return
    loss_of = RankingLoss(settings, float(lists.weight.max()))
    optimizer = keras.optimizers.Adam(settings.learning_rate)
    optimizer.build(ranker.trainable_variables)

    # AutoGraph would rewrite the source of Keras and TFRS for ten seconds.
    @tf.function(autograph=False, reduce_retracing=True)
    def step(values: tf.Tensor, present: tf.Tensor, place: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            scores = tf.where(present, values[:, :, 0] + ranker(values), _ABSENT)
            loss = loss_of(scores, place, weight)
        gradients = tape.gradient(loss, ranker.trainable_variables)
        optimizer.apply_gradients(zip(gradients, ranker.trainable_variables))
        return loss

    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(lists))
        total = 0.0
        for start in range(0, len(order), settings.batch_size):
            batch = lists.take(order[start : start + settings.batch_size])
            columns = (batch.features, batch.present, batch.place, batch.weight)
            total += len(batch) * float(step(*(tf.constant(column) for column in columns)))
        yield epoch + 1, total / len(order), ranker
