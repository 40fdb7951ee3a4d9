"""The second stage: a ranker that corrects the scores of the candidates that the towers retrieve.

What it looks at keeps its meaning when the towers are trained again, so a ranker for the first training serves the
second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras as keras

from components.closed_forms.linear import NAMES
from pipeline.model.settings import RankingSettings

_LAST = 5
"""Newest items of the history of which each has a feature, and the closest ones that are averaged."""
NUM_FEATURES = 4 + _LAST + 2 + len(NAMES)
"""F, see `features`."""


def features(
    query: tf.Tensor,
    embedding: tf.Tensor,
    bias: tf.Tensor,
    popularity: tf.Tensor,
    history: tf.Tensor,
    known: tf.Tensor,
    votes: tf.Tensor,
) -> tf.Tensor:
    """What the ranker sees of candidates: [B, C, F] float32.

    The retrieval score, with the linear part's votes; the item's bias; the logarithm of 1 + its events, and of 1 + the
    items in the history; how near the candidate is to each of the last five items, newest first; how near to the
    nearest, and to the five nearest on average. Near is the dot product with what the item is embedded as in a history,
    which its side features are part of; an item that training did not see, and one that is not there, is at 0. At last
    the votes.

    Args:
        query: [B, D] float32.
        embedding: [B, C, D] float32, the candidates'.
        bias: [B, C] float32.
        popularity: [B, C] float32, training events of each.
        history: [B, H, D] float32, newest first.
        known: [B, H] bool, which of them training saw.
        votes: [B, C, P] float32, what each of the linear part's `NAMES` adds to the towers' score.
    """
    score = tf.squeeze(tf.matmul(embedding, query[:, :, tf.newaxis]), axis=2) + bias
    score += tf.reduce_sum(votes, axis=2)
    seen = tf.cast(known, tf.float32)
    near = tf.matmul(embedding, history, transpose_b=True) * seen[:, tf.newaxis, :]
    # A batch is as wide as its longest history; what a row sees must not depend on that.
    near = tf.pad(near, [[0, 0], [0, 0], [0, _LAST]])
    nearest = tf.math.top_k(near, _LAST).values
    length = tf.math.log1p(tf.reduce_sum(seen, axis=1, keepdims=True)) + tf.zeros_like(score)
    alone = tf.stack([score, bias, tf.math.log1p(popularity), length], axis=2)
    closest = [nearest[:, :, :1], tf.reduce_mean(nearest, axis=2, keepdims=True)]
    return tf.concat([alone, near[:, :, :_LAST], *closest, votes], axis=2)


class Ranker(keras.layers.Layer):
    """Features [B, C, F] to what is added to the retrieval scores, [B, C]: at first nothing.

    Cross layers multiply features with one another (Wang et al., "DCN V2: Improved deep & cross network and practical
    lessons for web-scale learning to rank systems", WWW 2021); ReLU layers can follow.
    """

    def __init__(self, settings: RankingSettings) -> None:
        super().__init__(name="ranker")
        self._cross = [tfrs.layers.dcn.Cross() for _ in range(settings.cross_layers)]
        self._hidden = [keras.layers.Dense(width, activation="relu") for width in settings.layers]
        self._project = keras.layers.Dense(1, kernel_initializer="zeros")

    def build(self, input_shape: Any) -> None:
        """Creates mean and deviation of the features, for `adapt` to set."""
        self._mean = self.add_weight(name="mean", shape=[NUM_FEATURES], initializer="zeros", trainable=False)
        self._deviation = self.add_weight(name="deviation", shape=[NUM_FEATURES], initializer="ones", trainable=False)
        super().build(input_shape)

    def adapt(self, values: np.ndarray) -> None:
        """Takes mean and deviation of features from `values` [M, F]."""
        self._mean.assign(values.mean(axis=0, dtype=np.float64))
        self._deviation.assign(np.maximum(values.std(axis=0, dtype=np.float64), 1e-6))

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """The corrections of candidates with features `values`."""
        first = (values - self._mean) / self._deviation
        value = first
        for layer in self._cross:
            value = layer(first, value)
        for layer in self._hidden:
            value = layer(value)
        return tf.squeeze(self._project(value), axis=2)


class RankingLoss:
    """The mean loss of a batch of lists, by TFRS's ranking task.

    Softmax is the cross-entropy of the event's item in its list, times the event's weight if that is the target.
    Pointwise is the mean of the candidates' own: the label of the event's item is 1, or the event's weight as a share
    of `greatest`, that of the others is 0.
    """

    def __init__(self, settings: RankingSettings, greatest: float) -> None:
        kinds = {"softmax": keras.losses.CategoricalCrossentropy, "pointwise": keras.losses.BinaryCrossentropy}
        self._task = tfrs.tasks.Ranking(loss=kinds[settings.loss](from_logits=True))
        self._settings = settings
        self._greatest = greatest

    def __call__(self, scores: tf.Tensor, place: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """A scalar, of scores [B, N], the places [B] of the events' items, and the events' weights [B]."""
        labels = tf.one_hot(place, tf.shape(scores)[1])
        if self._settings.target == "event":
            return self._task(labels, scores, compute_metrics=False)
        if self._settings.loss == "softmax":
            return self._task(labels, scores, sample_weight=weight, compute_metrics=False)
        return self._task(labels * weight[:, tf.newaxis] / self._greatest, scores, compute_metrics=False)
