"""Tables of vectors in full, half or a quarter of the precision, which the graph reads by native ops."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from components.indexer.settings import Compact

_PIECE = 32_768
"""Rows that are brought to full precision at a time: never the whole table, however many requests there are."""


class Table(tf.Module):
    """R vectors of width D, as they are stored, and E columns of full precision beside them.

    float16 has 11 significant bits. int8 is a vector's entries over the largest of them, in 127 steps either way.

    Args:
        vectors: [R, D] float32.
        compact: How they are stored.
        name: Name of the variables.
        exact: [R, E] float32, what must not lose precision, such as counts.
    """

    def __init__(self, vectors: np.ndarray, compact: Compact, name: str, exact: np.ndarray | None = None) -> None:
        super().__init__()
        exact = np.zeros([len(vectors), 0], np.float32) if exact is None else exact
        self._dim, self._rows = vectors.shape[1], len(vectors)
        self._compact = compact
        if compact == "float32":
            # As one table, so that one product needs no copy of anything.
            self._values = tf.Variable(np.concatenate([vectors, exact], axis=1), trainable=False, name=name)
            return
        if compact == "int8":
            vectors, scale = quantised(vectors)
            exact = np.concatenate([scale[:, np.newaxis], exact], axis=1)
        self._values = tf.Variable(vectors.astype(compact), trainable=False, name=name)
        self._exact = tf.Variable(exact, trainable=False, name=f"{name}_exact")

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """The vectors at rows of any shape, float32 [..., D]."""
        # Of a variable that was once gathered from, TensorFlow copies all at each later read: gather from what is read.
        values = self._values.read_value()
        if self._compact == "float32":
            return tf.gather(values, rows)[..., : self._dim]
        vectors = tf.cast(tf.gather(values, rows), tf.float32)
        return vectors * tf.gather(self._exact.read_value(), rows)[..., :1] if self._compact == "int8" else vectors

    def columns(self, rows: tf.Tensor) -> tf.Tensor:
        """The columns of full precision at rows of any shape, float32 [..., E]."""
        if self._compact == "float32":
            return tf.gather(self._values.read_value(), rows)[..., self._dim :]
        exact = tf.gather(self._exact.read_value(), rows)
        return exact[..., 1:] if self._compact == "int8" else exact

    def pairs(self, queries: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Products [B, M] of queries [B, D + E] with rows [B, M] of their own, float32."""
        if self._compact == "float32":
            gathered = tf.gather(self._values.read_value(), rows)
        else:
            gathered = tf.concat([self.gather(rows), self.columns(rows)], axis=2)
        return tf.squeeze(tf.matmul(gathered, queries[:, :, tf.newaxis]), axis=2)

    def products(self, queries: tf.Tensor) -> tf.Tensor:
        """Products [B, R] of queries [B, D + E] and all rows, float32."""
        if self._compact == "float32":
            return tf.matmul(queries, self._values, transpose_b=True)
        values, exact = tf.convert_to_tensor(self._values), tf.convert_to_tensor(self._exact)
        directions, columns = queries[:, : self._dim], queries[:, self._dim :]

        def piece(number: tf.Tensor, found: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            vectors = tf.cast(values[number * _PIECE : (number + 1) * _PIECE], tf.float32)
            return number + 1, found.write(number, tf.matmul(vectors, directions, transpose_b=True))

        pieces = -(-self._rows // _PIECE)
        found = tf.TensorArray(tf.float32, pieces, infer_shape=False, element_shape=[None, None])
        _, found = tf.while_loop(lambda number, _: number < pieces, piece, (0, found), parallel_iterations=1)
        products = tf.ensure_shape(tf.transpose(found.concat()), [None, self._rows])
        if self._compact == "int8":
            # The scale of a row is that of its product: one step for each row, not for each of its entries.
            products, exact = products * exact[:, 0], exact[:, 1:]
        return products + tf.matmul(columns, exact, transpose_b=True) if exact.shape[1] else products


def quantised(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounds vectors [R, D] to int8 [R, D] times a scale [R] float32 of their own."""
    scale = (np.abs(vectors).max(axis=1, initial=0) / 127).astype(np.float32)
    steps = np.divide(vectors, scale[:, np.newaxis], out=np.zeros_like(vectors), where=scale[:, np.newaxis] > 0)
    return np.rint(steps).astype(np.int8), scale
