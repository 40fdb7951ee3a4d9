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

    Rows are those of the M items that can be answered. Histories and what users had are of all N items that there are:
    in a shard these have rows of their own.

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
        self._first = index.first
        self.total = len(index.item_ids)

    def rows(self, ids: tf.Tensor) -> tf.Tensor:
        """Rows of ids of any shape, int64; -1 for an item that can't be answered."""
        return self.candidates(self.rows_of_all(ids))

    def ids(self, rows: tf.Tensor) -> tf.Tensor:
        """Ids of rows of any shape."""
        return self.ids_of_all(tf.cast(rows, tf.int64) + self._first if self._first else rows)

    def rows_of_all(self, ids: tf.Tensor) -> tf.Tensor:
        """Rows among all N items of ids of any shape, int64; -1 for an unknown one."""
        return super().rows(ids)

    def ids_of_all(self, rows: tf.Tensor) -> tf.Tensor:
        """Ids of rows among all N items, of any shape; the empty string for a row of none."""
        return super().ids(rows)

    def candidates(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows of what has rows of any shape among all N items, int64; -1 for an item that can't be answered."""
        if self.count == self.total:
            return rows
        own = rows - self._first
        return tf.where((own >= 0) & (own < self.count), own, -1)

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
