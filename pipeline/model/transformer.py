"""A causal transformer over histories: what a user wants next, at every place of a sequence at once.

As SASRec has it (Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018), with blocks as they are
built today: RMS norms in front (Zhang and Sennrich, 2019), SwiGLU (Shazeer, 2020), gates on what a block adds (LiGR:
Borisyuk et al., "From features to transformers", 2025), and learned weights of distances in the place of embedded
positions, so that what is learned at one place of a sequence holds at every other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras as keras

SEQUENCES, OF, AT = "sequences", "sequence", "at"
"""What a batch has beside its events' columns: items [S, T] newest first, and of each event [B] which sequence its
history is in and where that begins; -1 for an event without a history."""

_FAR = -1e9
"""Added to the logits of what is not attended to; not infinite, for a place may attend to nothing."""
_WIDER = 2
"""Width of a block's hidden layer, times that of the embeddings."""

Drop = Callable[[tf.Tensor], tf.Tensor]
"""Leaves out entries of a tensor in training, and scales the others."""


class Transformer(keras.layers.Layer):
    """Sequences [S, T, D], newest first, to what comes after each place [S, T, D], or after one [S, D].

    Its functions are `encode` and `encode_at`, not `call`, whose arguments Keras would want to save with the model.

    Args:
        blocks: How many.
        heads: Of the attention of each.
        dim: D, a multiple of `heads`.
        places: The most places of a sequence.
    """

    def __init__(self, blocks: int, heads: int, dim: int, places: int) -> None:
        super().__init__(name="transformer")
        self._places = places
        self._blocks = [_Block(heads, dim, places, f"block_{number}") for number in range(blocks)]
        self._norm = _Norm("norm", dim)

    def encode(self, items: tf.Tensor, known: tf.Tensor, drop: Drop = tf.identity) -> tf.Tensor:
        """Looks at each place at itself and all that is older.

        Args:
            items: [S, T, D] float32 embeddings, newest first.
            known: [S, T] bool, the places that are attended to.
            drop: What training leaves out.
        """
        value, seen = drop(items), self._seen(tf.range(tf.shape(items)[1])[tf.newaxis], known)
        for block in self._blocks:
            value = block.add(value, *seen, drop)
        return self._norm(value)

    def encode_at(self, items: tf.Tensor, known: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
        """What `encode` has at one place of each sequence; the last block is not asked about the others.

        Args:
            items: As in `encode`.
            known: As in `encode`.
            at: [S] int32, the places.
        """
        at = at[:, tf.newaxis]
        value, seen = items, self._seen(tf.range(tf.shape(items)[1])[tf.newaxis], known)
        for block in self._blocks[:-1]:
            value = block.add(value, *seen)
        return tf.squeeze(self._norm(self._blocks[-1].add(value, *self._seen(at, known), at=at)), axis=1)

    def _seen(self, at: tf.Tensor, known: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Which places [S, T] those of `at` [S or 1, A] attend to, and how much older they are, [S or 1, A, T]."""
        distance = tf.range(tf.shape(known)[1]) - at[:, :, tf.newaxis]
        return (distance >= 0) & known[:, tf.newaxis, :], tf.clip_by_value(distance, 0, self._places - 1)


class _Norm(keras.layers.Layer):
    """Scales rows to a root mean square that is learned for each entry."""

    def __init__(self, name: str, dim: int) -> None:
        super().__init__(name=name)
        self._scale = self.add_weight(name="scale", shape=[dim], initializer="ones")

    def call(self, value: tf.Tensor) -> tf.Tensor:
        square = tf.reduce_mean(value * value, axis=-1, keepdims=True)
        return value * tf.math.rsqrt(square + 1e-6) * self._scale


class _Block(keras.layers.Layer):
    """Attention, then a hidden layer, each behind a norm and added to what it starts from through a gate."""

    def __init__(self, heads: int, dim: int, places: int, name: str) -> None:
        super().__init__(name=name)
        self._heads = heads
        self._dim = dim
        small, even = 0.02, dim**-0.5  # a block starts as a small correction

        def dense(width: int, name: str, deviation: float, bias: bool = False) -> Any:
            drawn = keras.initializers.RandomNormal(stddev=deviation)
            return keras.layers.Dense(width, kernel_initializer=drawn, use_bias=bias, name=name)

        self._norms = [_Norm(f"norm_{number}", dim) for number in range(2)]
        self._parts = dense(3 * dim, "query_key_value", even)
        self._mix = dense(dim, "mix", small)
        self._wide = dense(2 * _WIDER * dim, "wide", even)
        self._narrow = dense(dim, "narrow", small)
        self._gates = [dense(dim, f"gate_{number}", even, bias=True) for number in range(2)]
        self._distances = self.add_weight(name="distances", shape=[places, heads], initializer="zeros")

    def add(
        self,
        value: tf.Tensor,
        older: tf.Tensor,
        distance: tf.Tensor,
        drop: Drop = tf.identity,
        at: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """`value` [S, T, D] with what the block adds; where `at` [S, A] is given, at these places, [S, A, D]."""
        normed = self._norms[0](value)
        attended = self._attended(normed, older, distance, at)
        value, normed = _taken(value, at), _taken(normed, at)
        value += drop(attended * tf.sigmoid(self._gates[0](normed)))
        normed = self._norms[1](value)
        linear, gate = tf.split(self._wide(normed), 2, axis=-1)
        return value + drop(self._narrow(linear * tf.nn.silu(gate)) * tf.sigmoid(self._gates[1](normed)))

    def _attended(self, normed: tf.Tensor, older: tf.Tensor, distance: tf.Tensor, at: tf.Tensor | None) -> tf.Tensor:
        width = self._dim // self._heads
        query, key, value = tf.split(self._parts(normed), 3, axis=-1)
        query, key, value = (
            tf.transpose(tf.reshape(part, [tf.shape(part)[0], -1, self._heads, width]), [0, 2, 1, 3])
            for part in (_taken(query, at), key, value)
        )
        logits = tf.matmul(query, key, transpose_b=True) * width**-0.5
        logits += tf.transpose(tf.gather(self._distances, distance), [0, 3, 1, 2])
        weights = tf.nn.softmax(tf.where(older[:, tf.newaxis], logits, _FAR))
        mixed = tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3])
        return self._mix(tf.reshape(mixed, [tf.shape(normed)[0], -1, self._dim]))


def _taken(value: tf.Tensor, at: tf.Tensor | None) -> tf.Tensor:
    """`value` [S, T, D] at places `at` [S, A] alone, if these are given."""
    return value if at is None else tf.gather(value, at, batch_dims=1)
