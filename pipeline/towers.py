"""The two towers and the TFRS model that trains them.

The query tower pools the items of a user's history; it needs no user id, so users who were never seen in training are
served as well as any other. The candidate tower adds an item's own embedding and those of its side features; an item
without training events is described by the features alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras as keras

from pipeline import losses
from pipeline.preprocessing import FIRST, UNKNOWN
from pipeline.settings import ModelSettings


@dataclass(frozen=True)
class SideFeature:
    """What the candidate tower must know of one side feature."""

    name: str
    is_number: bool
    vocabulary_size: int = 0
    """Number of values, without padding and unknown; 0 for a number."""


@dataclass(frozen=True)
class ItemFeatures:
    """The side features of N items, row by row.

    `values[name]` is [N] float32 for a number, else [N, L] int32 indices padded with 0.
    """

    values: Mapping[str, np.ndarray]

    def take(self, rows: np.ndarray) -> ItemFeatures:
        """The features of `rows` [M] int."""
        return ItemFeatures({name: value[rows] for name, value in self.values.items()})


def _table(name: str, rows: int, dim: int) -> keras.layers.Embedding:
    return keras.layers.Embedding(
        rows, dim, embeddings_initializer=keras.initializers.RandomNormal(stddev=0.1 / np.sqrt(dim) * 4), name=name
    )


class QueryTower(keras.layers.Layer):
    """History [B, H] int to query embedding [B, D] float32.

    The embeddings of the items are averaged with weights that depend on their place, newest first, and are learned
    (recency-weighted pooling); padding and unknown items have no weight. An empty history gives the embedding of
    nothing, which is learned too.
    """

    def __init__(self, items: keras.layers.Embedding, settings: ModelSettings, max_history: int) -> None:
        super().__init__(name="query_tower")
        self._items = items
        self._settings = settings
        self._max_history = max_history
        self._hidden = [keras.layers.Dense(width, activation="relu") for width in settings.query_layers]
        self._project = keras.layers.Dense(settings.dim) if settings.query_layers else None
        self._dropout = keras.layers.Dropout(settings.dropout)

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the weights of places and the embedding of an empty history."""
        # Half of the weight is gone after some ten events; training moves it from there.
        start = -0.07 * np.arange(self._max_history, dtype=np.float32)
        self._recency = self.add_weight(
            name="recency", shape=[self._max_history], initializer=keras.initializers.Constant(start)
        )
        self._nothing = self.add_weight(name="nothing", shape=[self._settings.dim], initializer="zeros")
        super().build(input_shape)

    def call(self, history: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Embeds `history` [B, H] int, newest first, H at most `max_history`."""
        known = history > UNKNOWN
        if training and self._settings.history_dropout:
            known &= tf.random.uniform(tf.shape(history)) >= self._settings.history_dropout
        weight = tf.exp(self._recency[: tf.shape(history)[1]]) * tf.cast(known, tf.float32)
        total = tf.reduce_sum(weight, axis=1, keepdims=True)
        # [B, 1, H] @ [B, H, D]: no [B, H, D] product is stored besides the embeddings.
        pooled = tf.squeeze(tf.matmul(weight[:, tf.newaxis, :], self._items(history)), axis=1)
        query = tf.math.divide_no_nan(pooled, total) + tf.where(total > 0, 0.0, self._nothing)
        for layer in self._hidden:
            query = layer(query)
        if self._project is not None:
            query = self._project(query)
        return self._dropout(query, training=training)


class CandidateTower(keras.layers.Layer):
    """Item index [N] int and side features to candidate embedding [N, D] and bias [N], float32.

    The embedding is the sum of the item's own and the means of its features' values' embeddings.
    """

    def __init__(
        self, items: keras.layers.Embedding, num_items: int, features: tuple[SideFeature, ...], settings: ModelSettings
    ) -> None:
        super().__init__(name="candidate_tower")
        self._items = items
        self._num_items = num_items
        self._features = features
        self._tables = {
            f.name: _table(f"item_{f.name}", f.vocabulary_size + FIRST, settings.dim)
            for f in features
            if not f.is_number
        }
        self._dim = settings.dim

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the biases and the directions of the numbers."""
        self._bias = self.add_weight(name="bias", shape=[self._num_items + FIRST], initializer="zeros")
        self._directions = {
            f.name: self.add_weight(name=f"item_{f.name}", shape=[self._dim], initializer="zeros")
            for f in self._features
            if f.is_number
        }
        super().build(input_shape)

    def call(self, index: tf.Tensor, values: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeds items of `index` [N] with side features `values` as in `ItemFeatures`."""
        # The row of the unknown item was never trained: its noise must not reach an answer.
        known = tf.cast(index > UNKNOWN, tf.float32)
        embedding = self._items(index) * known[:, tf.newaxis]
        for feature in self._features:
            value = values[feature.name]
            if feature.is_number:
                embedding += value[:, tf.newaxis] * self._directions[feature.name]
                continue
            present = tf.cast(value > UNKNOWN, tf.float32)
            total = tf.squeeze(tf.matmul(present[:, tf.newaxis, :], self._tables[feature.name](value)), axis=1)
            embedding += tf.math.divide_no_nan(total, tf.reduce_sum(present, axis=1, keepdims=True))
        # An item without training events starts where the least popular trained item stands.
        least = tf.reduce_min(self._bias[FIRST:])
        bias = tf.where(index > UNKNOWN, tf.gather(self._bias, index), least)
        return embedding, bias


class TwoTowerModel(tfrs.models.Model):
    """Trains both towers on batches of `history` [B, H], `item` [B] and `weight` [B].

    Args:
        settings: The towers' settings.
        counts: [num_items] int64, training events an item, in the order of the vocabulary.
        item_features: Side features of the vocabulary's items, in its order.
        features: What `item_features` holds.
        max_history: Largest H.
        full_softmax: Softmax over all items, or over the items of the batch with logQ correction.
        l2: Weight of the squared norm of a batch's embeddings.
    """

    def __init__(
        self,
        settings: ModelSettings,
        counts: np.ndarray,
        item_features: ItemFeatures,
        features: tuple[SideFeature, ...],
        max_history: int,
        full_softmax: bool,
        l2: float,
    ) -> None:
        super().__init__()
        num_items = len(counts)
        candidates = _table("candidate_items", num_items + FIRST, settings.dim)
        history = candidates if settings.shared_item_table else _table("history_items", num_items + FIRST, settings.dim)
        self.query_tower = QueryTower(history, settings, max_history)
        self.candidate_tower = CandidateTower(candidates, num_items, features, settings)
        self._full_softmax = full_softmax
        self._l2 = l2
        self._item_features = {name: tf.constant(value) for name, value in item_features.values.items()}
        self._all_items = tf.range(FIRST, num_items + FIRST)
        self._probability = tf.constant(counts / max(counts.sum(), 1), tf.float32)

    def vocabulary_embeddings(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeddings [num_items, D] and biases [num_items] of the vocabulary's items, in its order."""
        return self.candidate_tower(self._all_items, self._item_features)

    # AutoGraph would rewrite the source of Keras and TFRS for ten seconds, and there is nothing in it to convert.
    @tf.autograph.experimental.do_not_convert
    def train_step(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One step of training on a batch."""
        return super().train_step(inputs)

    def compute_loss(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """The mean loss of a batch; events of unknown items must not be in it."""
        query = self.query_tower(inputs["history"], training=training)
        row = tf.cast(inputs["item"], tf.int32) - FIRST
        if self._full_softmax:
            embedding, bias = self.vocabulary_embeddings()
            loss = losses.full_softmax(query, embedding, bias, row, inputs["weight"])
        else:
            values = {name: tf.gather(value, row) for name, value in self._item_features.items()}
            embedding, bias = self.candidate_tower(row + FIRST, values)
            loss = losses.in_batch_softmax(
                query, embedding, bias, row, tf.gather(self._probability, row), inputs["weight"]
            )
        if self._l2:
            loss += self._l2 * (
                tf.reduce_mean(tf.reduce_sum(query**2, 1)) + tf.reduce_mean(tf.reduce_sum(embedding**2, 1))
            )
        return loss
