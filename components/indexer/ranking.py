"""The second stage inside the graph: the best of the retrieval get the ranker's scores, the others follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from components.closed_forms.linear import NAMES
from components.indexer.compact import Table


class Asked(NamedTuple):
    """What B requests come to."""

    query: tf.Tensor
    """[B, D] float32."""
    history: tf.Tensor
    """[B, H, D] float32, newest first."""
    known: tf.Tensor
    """[B, H] bool, which of the history training saw."""
    personal: tf.Tensor
    """[B] bool; popular items are not ranked."""
    votes: Mapping[str, tf.Tensor]
    """What each part of the linear part adds to the towers' scores, [B, R] float32."""


class SecondStage(tf.Module):
    """Ranks candidates.

    Args:
        part: The towers' `ranking_part`.
        candidates: How many it ranks.
        table: The items' embeddings.
        bias: [N] float32, theirs.
        popularity: [N] float32, their training events.
    """

    def __init__(self, part: Any, candidates: int, table: Table, bias: np.ndarray, popularity: np.ndarray) -> None:
        super().__init__()
        self._part = part
        self._table = table
        self._bias = tf.Variable(bias, trainable=False, name="ranking_bias")
        self._popularity = tf.Variable(popularity, trainable=False, name="ranking_popularity")
        self.candidates = min(candidates, len(bias))

    def apply(
        self, scores: tf.Tensor, best: tf.Tensor, rows: tf.Tensor, asked: Asked, places: tf.Tensor | None = None
    ) -> tf.Tensor:
        """`scores` [B, R] with the candidates' own, see `ranked`.

        Args:
            scores: [B, R].
            best: [B, C], those of the candidates.
            rows: [B, C] int32, which rows of the index these are.
            asked: The requests.
            places: [B, C] int32, where they stand in `scores`; by default at their rows.
        """
        # Where the items run out, what is left may be a row of no item.
        there = tf.where(tf.math.is_inf(best), 0, rows)
        correction = self._part.rank(
            asked.query,
            self._table.gather(there),
            tf.gather(self._bias, there),
            tf.gather(self._popularity, there),
            asked.history,
            asked.known,
            self._votes(asked, there),
        )["correction"]
        return ranked(
            scores, best, rows if places is None else places, tf.where(asked.personal[:, tf.newaxis], correction, 0.0)
        )

    @staticmethod
    def _votes(asked: Asked, rows: tf.Tensor) -> tf.Tensor:
        """The parts' votes for rows [B, C], [B, C, P]."""
        none = tf.zeros(tf.shape(rows))
        votes = [tf.gather(asked.votes[name], rows, batch_dims=1) if name in asked.votes else none for name in NAMES]
        return tf.stack(votes, axis=2)


def ranked(scores: tf.Tensor, best: tf.Tensor, rows: tf.Tensor, correction: tf.Tensor) -> tf.Tensor:
    """Adds to the scores of the candidates, and moves the others so that they come behind, in their order.

    So an item's place depends neither on k nor on what else is in the batch.

    Args:
        scores: [B, R] float32.
        best: [B, C] float32, the highest of them; -inf for no candidate.
        rows: [B, C] int32, where they stand.
        correction: [B, C] float32.

    Returns:
        [B, R] float32.
    """
    found = ~tf.math.is_inf(best)
    moved = best + correction
    lowest, least = (tf.reduce_min(tf.where(found, value, np.inf), axis=1, keepdims=True) for value in (best, moved))
    scores += tf.where(tf.math.is_inf(lowest), 0.0, least - lowest)
    place = tf.where(found)
    cells = tf.stack([tf.cast(place[:, 0], rows.dtype), tf.gather_nd(rows, place)], axis=1)
    return tf.tensor_scatter_nd_update(scores, cells, tf.gather_nd(moved, place))
