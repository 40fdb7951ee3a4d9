"""What can be found by its vector, inside the graph: ids, and directions and the cosines between them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from components.indexer.blocks import rows_for
from components.indexer.compact import Table
from components.indexer.settings import Compact


class Vectors(tf.Module):
    """N ids with a vector each in the first of R rows; the others, see `blocks.rows_for`, are nobody's.

    Args:
        row_of: A lookup table from an id to its row, -1 for an unknown one.
        id_of: One from a row to its id, the empty string for a row of none.
        vectors: [N, D] float32.
        columns: [N, E] float32, what is stored exactly beside them.
        compact: How the vectors are stored.
        name: Name of the table's variables.
    """

    def __init__(
        self,
        row_of: tf.lookup.StaticHashTable,
        id_of: tf.lookup.StaticHashTable,
        vectors: np.ndarray,
        columns: np.ndarray,
        compact: Compact,
        name: str,
    ) -> None:
        super().__init__()
        self._row_of, self._id_of = row_of, id_of
        self.count, self.dim = vectors.shape
        self.total = self.count  # how many ids there are, of which a shard has some
        self.num_rows = rows_for(self.count)
        spare = [[0, self.num_rows - self.count], [0, 0]]
        vectors = np.pad(vectors, spare)
        self.table = Table(vectors, compact, name, np.pad(columns, spare))
        self._beside = columns.shape[1]
        length = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
        # To be read as a whole and never gathered from, see `Table.gather`.
        self._inverse_length = tf.Variable(1 / length, trainable=False, name=f"{name}_inverse_length")

    def rows(self, ids: tf.Tensor) -> tf.Tensor:
        """Rows of ids of any shape, int64; -1 for an unknown one."""
        return self._row_of.lookup(ids)

    def ids(self, rows: tf.Tensor) -> tf.Tensor:
        """Ids of rows of any shape, the empty string for a row of none."""
        return self._id_of.lookup(tf.cast(rows, tf.int64))

    def directions(self, rows: tf.Tensor) -> tf.Tensor:
        """The vectors at rows of any shape, at length 1: [..., D]."""
        return self.table.gather(rows) * tf.gather(self._inverse_length.read_value(), rows)[..., tf.newaxis]

    def cosines(self, rows: tf.Tensor) -> tf.Tensor:
        """Cosines of the vectors at rows [B] with those of all rows, [B, R]."""
        products = self.table.products(tf.pad(self.directions(rows), [[0, 0], [0, self._beside]]))
        return products * self._inverse_length.read_value()
