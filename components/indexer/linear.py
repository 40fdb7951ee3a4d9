"""The linear part inside the graph: the items of a history vote for items, see `components.closed_forms.linear`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from components.closed_forms.linear import Part
from components.indexer.settings import Compact


class Linear(tf.Module):
    """Votes of the parts.

    Args:
        parts: For the N items, which are the first of all rows.
        num_rows: R.
        compact: How the weights are stored: int8 as float16.
    """

    def __init__(self, parts: Sequence[Part], num_rows: int, compact: Compact) -> None:
        super().__init__()
        self._parts = {part.name: _Votes(part, num_rows, compact) for part in parts}

    def votes(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """What each part, by its name, adds to the towers' scores of all rows, [B, R] float32.

        Args:
            history: [B, H] int64, rows of items, newest first; -1 for no item.
        """
        return {name: part.votes(history) for name, part in self._parts.items()}


class _Votes(tf.Module):
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
        history = history[:, : self._places.shape[0]]
        batch = tf.shape(history)[0]
        place = tf.where(history >= 0)
        row, splits = tf.gather_nd(history, place), self._splits.read_value()
        cells = tf.ragged.range(tf.gather(splits, row), tf.gather(splits, row + 1))
        of = cells.value_rowids()  # the item of a history that votes
        weights = tf.cast(tf.gather(self._values.read_value(), cells.values), tf.float32)
        weights *= tf.gather(tf.gather(self._places, place[:, 1]), of)
        columns = tf.cast(tf.gather(self._columns.read_value(), cells.values), tf.int64)
        segment = tf.gather(place[:, 0], of) * self._num_rows + columns
        total = tf.math.unsorted_segment_sum(weights, segment, batch * self._num_rows)
        return tf.reshape(total, [batch, self._num_rows])
