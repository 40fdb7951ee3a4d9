"""From scores to a list: the best items that are not excluded, at a wish of those the most different ones."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from components.indexer import blocks
from components.indexer.diversity import diverse
from components.indexer.vectors import Vectors

MINIMUM_MAX_K = 1_000
"""Every servable takes a k of up to this, or of up to the number of what there is."""


class TopK(tf.Module):
    """Chooses rows by their scores.

    Args:
        items: What is chosen from, items or users.
        diversity_candidates: Of how many best items a diverse list is chosen; at least of k.
    """

    def __init__(self, items: Vectors, diversity_candidates: int) -> None:
        super().__init__()
        self._items = items
        self.max_k = max(items.total, MINIMUM_MAX_K)
        self._diversity_candidates = diversity_candidates

    def top_k(
        self,
        scores: tf.Tensor,
        excluded: tf.Tensor,
        k: tf.Tensor,
        diversity: tf.Tensor | None = None,
        own_k: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Ids and scores [B, k] of the best, best first, padded with the empty string and -inf.

        Args:
            scores: [B, R].
            excluded: [B, X] int64, rows, -1 for none.
            k: [] int32.
            diversity: [B], from 0 to 1; None for 0.
            own_k: [B] int32, for a row that needs only its first ones; None for k.
        """
        scores = self.left(scores, excluded)
        count = tf.minimum(k, self._items.count)
        if diversity is None:
            scores, rows = self.best(scores, count)
        else:
            scores, rows = tf.cond(
                tf.reduce_any(diversity > 0),
                lambda: self._diverse(scores, count, diversity, k if own_k is None else own_k),
                lambda: self.best(scores, count),
            )
        item_ids = tf.where(tf.math.is_inf(scores), "", self._items.ids(rows))
        padding = [[0, 0], [0, k - count]]
        return tf.pad(item_ids, padding, constant_values=""), tf.pad(scores, padding, constant_values=-np.inf)

    def checked_k(self, k: tf.Tensor) -> tf.Tensor:
        """`k`, if it is one that the contract allows."""
        with tf.control_dependencies(
            [
                tf.debugging.Assert(k >= 1, ["k must be at least 1"]),
                tf.debugging.Assert(k <= self.max_k, [f"k must be at most {self.max_k}"]),
            ]
        ):
            return tf.identity(k)

    def left(self, scores: tf.Tensor, excluded: tf.Tensor) -> tf.Tensor:
        """Scores [B, R] with -inf in the rows `excluded` [B, X], -1 for none, and in those of no item."""
        if self._items.num_rows > self._items.count:
            spare = tf.range(self._items.count, self._items.num_rows, dtype=tf.int64)[tf.newaxis]
            excluded = tf.concat([excluded, tf.repeat(spare, tf.shape(scores)[0], axis=0)], axis=1)
        place = tf.where(excluded >= 0)
        cells = tf.stack([place[:, 0], tf.gather_nd(excluded, place)], axis=1)
        return tf.tensor_scatter_nd_update(scores, cells, tf.fill([tf.shape(cells)[0]], -np.inf))

    def best(self, scores: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and rows [B, count] of the best of `scores` [B, R]."""
        return blocks.best(scores, count, self._items.num_rows)

    def _diverse(
        self, scores: tf.Tensor, count: tf.Tensor, diversity: tf.Tensor, own_k: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and rows [B, count] of a diverse choice of each row's best, at least of its `own_k` ([B] or one)."""
        pool = tf.broadcast_to(tf.maximum(own_k, self._diversity_candidates), tf.shape(diversity))
        scores, rows = self.best(scores, tf.minimum(tf.reduce_max(pool), self._items.count))
        places = diverse(scores, self._items.directions(rows), diversity, pool, count)
        return tf.gather(scores, places, batch_dims=1), tf.gather(rows, places, batch_dims=1)
