"""The linear part inside the graph: the items of a history vote for items, see `components.closed_forms.linear`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from components.closed_forms.linear import DENSE_UP_TO, Part
from components.indexer.settings import Compact


class Linear(tf.Module):
    """Votes of the parts.

    Args:
        parts: From all items of histories to those that can be answered, which are the first of all rows.
        num_rows: R.
        compact: How the weights are stored: int8 as float16.
    """

    def __init__(self, parts: Sequence[Part], num_rows: int, compact: Compact) -> None:
        super().__init__()
        self._parts: dict[str, _Dense | _Sparse] = {
            part.name: _Dense(part, num_rows)
            if compact == "float32" and part.weights.shape[0] <= DENSE_UP_TO
            else _Sparse(part, num_rows, compact)
            for part in parts
        }

    def votes(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """What each part, by its name, adds to the towers' scores of all rows, [B, R] float32.

        Args:
            history: [B, H] int64, rows of items, newest first; -1 for no item.
        """
        return {name: part.votes(history) for name, part in self._parts.items()}

    def shares(self, history: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """What each place of `history` adds to the votes of all parts for `rows` [B, C] int64, [B, C, H] float32."""
        shape = tf.concat([tf.shape(rows), tf.shape(history)[1:]], axis=0)
        return tf.add_n([tf.zeros(shape), *(part.shares(history, rows) for part in self._parts.values())])


class _Dense(tf.Module):
    """One part of few items: with a table of all weights a batch takes a thirtieth of the time."""

    def __init__(self, part: Part, num_rows: int) -> None:
        super().__init__()
        self._places = tf.constant(part.share * part.places, tf.float32)
        spare = [[0, num_rows - part.weights.shape[1]]] * 2
        table = np.pad(part.weights.toarray(), spare).astype(np.float32)
        self._table = tf.Variable(table, trainable=False, name=f"{part.name}_weights")

    def votes(self, history: tf.Tensor) -> tf.Tensor:
        """`Part.votes` for all rows, [B, R]."""
        there = tf.where(history[:, : self._places.shape[0]] >= 0)
        cells = tf.stack([there[:, 0], tf.gather_nd(history, there)], axis=1)
        shape = tf.stack([tf.shape(history, tf.int64)[0], self._table.shape[0]])
        given = tf.SparseTensor(cells, tf.gather(self._places, there[:, 1]), shape)
        return tf.sparse.sparse_dense_matmul(given, self._table.read_value())

    def shares(self, history: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """What each place of `history` [B, H] adds to the votes for `rows` [B, C], [B, C, H]."""
        width, counted = tf.shape(history)[1], self._places.shape[0]
        places = tf.pad(self._places, [[0, tf.maximum(width - counted, 0)]])[:width]
        from_row, to_row = history[:, tf.newaxis, :], rows[:, :, tf.newaxis]
        zeros = tf.zeros_like(from_row + to_row)
        # Of a variable that was once gathered from, TensorFlow copies all at each later read.
        table = self._table.read_value()
        weights = tf.gather_nd(table, tf.stack([tf.maximum(from_row + zeros, 0), to_row + zeros], axis=3))
        return tf.where(from_row >= 0, weights * places, 0.0)


class _Sparse(tf.Module):
    """One part."""

    def __init__(self, part: Part, num_rows: int, compact: Compact) -> None:
        super().__init__()
        self._num_rows = num_rows
        self._places = tf.constant(part.share * part.places, tf.float32)
        dtype = np.float32 if compact == "float32" else np.float16
        # A gather needs one cell at least; no item has it.
        values, columns = (part.weights.data, part.weights.indices) if part.weights.nnz else (np.zeros(1), np.zeros(1))
        self._splits = tf.Variable(part.weights.indptr.astype(np.int64), trainable=False, name=f"{part.name}_splits")
        self._columns = tf.Variable(columns.astype(np.int32), trainable=False, name=f"{part.name}_columns")
        self._values = tf.Variable(values.astype(dtype), trainable=False, name=f"{part.name}_weights")

    def votes(self, history: tf.Tensor) -> tf.Tensor:
        """`Part.votes` for all rows, [B, R]."""
        batch, rows = tf.shape(history)[0], self._num_rows
        request, _, columns, weights = self._cells(history)
        total = tf.math.unsorted_segment_sum(weights, request * rows + columns, batch * rows)
        return tf.reshape(total, [batch, rows])

    def shares(self, history: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """What each place of `history` [B, H] adds to the votes for `rows` [B, C], [B, C, H]."""
        batch, width = tf.unstack(tf.shape(history))
        count = tf.shape(rows)[1]
        # Of each row of the index the last of the request's places that asks for it, from 1; 0 for none.
        asked = tf.stack([tf.repeat(tf.range(batch, dtype=tf.int64), count), tf.reshape(rows, [-1])], axis=1)
        number = tf.reshape(tf.repeat(tf.range(1, count + 1)[tf.newaxis], batch, axis=0), [-1])
        numbers = tf.tensor_scatter_nd_max(tf.zeros([batch, self._num_rows], tf.int32), asked, number)
        request, place, columns, weights = self._cells(history)
        slot = tf.gather_nd(numbers, tf.stack([request, columns], axis=1))
        segment = (tf.cast(request, tf.int32) * width + tf.cast(place, tf.int32)) * (count + 1) + slot
        total = tf.math.unsorted_segment_sum(weights, segment, batch * width * (count + 1))
        total = tf.transpose(tf.reshape(total, [batch, width, count + 1]), [0, 2, 1])
        return tf.gather(total, tf.gather_nd(numbers, tf.reshape(asked, [batch, count, 2])), batch_dims=1)

    def _cells(self, history: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """All weights of the items of `history` [B, H]: the request and the place that each comes from, the row that it
        is for, int64, and the weight as it counts there, float32; [M] all four."""
        there = tf.where(history[:, : self._places.shape[0]] >= 0)
        row, splits = tf.gather_nd(history, there), self._splits.read_value()
        cells = tf.ragged.range(tf.gather(splits, row), tf.gather(splits, row + 1))
        there = tf.gather(there, cells.value_rowids())
        columns = tf.cast(tf.gather(self._columns.read_value(), cells.values), tf.int64)
        weights = tf.cast(tf.gather(self._values.read_value(), cells.values), tf.float32)
        return there[:, 0], there[:, 1], columns, weights * tf.gather(self._places, there[:, 1])
