"""The items inside the graph: their ids, and the table of vectors that gives their scores."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from components.indexer.index import Index
from components.indexer.lookup import line_numbers, lines
from components.indexer.ranking import Asked
from components.indexer.settings import Compact
from components.indexer.vectors import Vectors


class Items(Vectors):
    """The items, and beside their vectors the biases and the popularity.

    Args:
        index: The items.
        file: Text file with their ids, one a line, in the order of `index`.
        compact: How their vectors are stored.
    """

    def __init__(self, index: Index, file: str, compact: Compact) -> None:
        # One product with [embedding, 1, 0] gives the scores, one with [0, 0, 1] the popularity.
        columns = np.stack([index.bias, index.popularity], axis=1)
        # Both tables are of the same file, so that the ids are stored once.
        super().__init__(line_numbers(file), lines(file), index.embedding, columns, compact, "items")

    def biases(self, rows: tf.Tensor) -> tf.Tensor:
        """The items' biases at rows of any shape, float32."""
        return self.table.columns(rows)[..., 0]

    def scores(self, asked: Asked) -> tf.Tensor:
        """Scores of all rows [B, R]."""
        scores = self.table.products(_weighted(asked))
        return tf.add_n([scores, *asked.votes.values()]) if asked.votes else scores

    def scores_of(self, asked: Asked, rows: tf.Tensor) -> tf.Tensor:
        """Scores of rows [B, M] that each request has of its own."""
        votes = [tf.gather(votes, rows, batch_dims=1) for votes in asked.votes.values()]
        return tf.add_n([self.table.pairs(_weighted(asked), rows), *votes])

    def alone(self, asked: Asked, rows: tf.Tensor) -> tf.Tensor:
        """What the scores of rows [B, M] are without a query: the biases, or the popularity."""
        return self.table.pairs(_weighted(asked._replace(query=tf.zeros_like(asked.query))), rows)


def _weighted(asked: Asked) -> tf.Tensor:
    """Queries [B, D + 2] for the columns of the items' table: embedding, bias and popularity."""
    weight = tf.cast(asked.personal, tf.float32)[:, tf.newaxis]
    return tf.concat([asked.query, weight, 1 - weight], axis=1)
