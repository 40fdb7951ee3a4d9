"""The items inside the graph: their ids, and the table of vectors that gives their scores."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from components.indexer.blocks import rows_for
from components.indexer.compact import Table
from components.indexer.index import Index
from components.indexer.lookup import line_numbers, lines
from components.indexer.ranking import Asked
from components.indexer.settings import Compact


class Items(tf.Module):
    """N items in the first of R rows; the others, see `blocks.rows_for`, are no item's.

    Args:
        index: The items.
        file: Text file with their ids, one a line, in the order of `index`.
        compact: How their vectors are stored.
    """

    def __init__(self, index: Index, file: str, compact: Compact) -> None:
        super().__init__()
        self._row_of = line_numbers(file)
        # From the same file, so that the ids are stored once.
        self._id_of = lines(file)
        self.count = len(index.item_ids)
        self.num_rows = rows_for(self.count)
        spare = [[0, self.num_rows - self.count], [0, 0]]
        embedding = np.pad(index.embedding, spare)
        # One product with [embedding, 1, 0] gives the scores, one with [0, 0, 1] the popularity.
        columns = np.pad(np.stack([index.bias, index.popularity], axis=1), spare)
        self.table = Table(embedding, compact, "items", columns)
        length = np.maximum(np.linalg.norm(embedding, axis=1), 1e-12)
        # To be read as a whole and never gathered from, see `Table.gather`.
        self._inverse_length = tf.Variable(1 / length, trainable=False, name="inverse_length")

    def rows(self, ids: tf.Tensor) -> tf.Tensor:
        """Rows of ids of any shape, int64; -1 for an unknown one."""
        return self._row_of.lookup(ids)

    def ids(self, rows: tf.Tensor) -> tf.Tensor:
        """Ids of rows of any shape, the empty string for a row of no item."""
        return self._id_of.lookup(tf.cast(rows, tf.int64))

    def scores(self, asked: Asked) -> tf.Tensor:
        """Scores of all rows [B, R]."""
        return self.table.products(_weighted(asked))

    def scores_of(self, asked: Asked, rows: tf.Tensor) -> tf.Tensor:
        """Scores of rows [B, M] that each request has of its own."""
        return self.table.pairs(_weighted(asked), rows)

    def alone(self, asked: Asked, rows: tf.Tensor) -> tf.Tensor:
        """What the scores of rows [B, M] are without a query: the biases, or the popularity."""
        return self.table.pairs(_weighted(asked._replace(query=tf.zeros_like(asked.query))), rows)

    def directions(self, rows: tf.Tensor) -> tf.Tensor:
        """The vectors at rows of any shape, at length 1: [..., D]."""
        return self.table.gather(rows) * tf.gather(self._inverse_length.read_value(), rows)[..., tf.newaxis]

    def cosines(self, rows: tf.Tensor) -> tf.Tensor:
        """Cosines of the vectors at rows [B] with those of all rows, [B, R]."""
        products = self.table.products(tf.pad(self.directions(rows), [[0, 0], [0, 2]]))
        return products * self._inverse_length.read_value()


def _weighted(asked: Asked) -> tf.Tensor:
    """Queries [B, D + 2] for the columns of the items' table: embedding, bias and popularity."""
    weight = tf.cast(asked.personal, tf.float32)[:, tf.newaxis]
    return tf.concat([asked.query, weight, 1 - weight], axis=1)
