"""How alike items are, inside the graph: by what they come with and by the direction of their embeddings."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from components.indexer.compact import Table
from components.indexer.index import Index
from components.indexer.items import Items
from components.indexer.settings import IndexerSettings


class Similarity(tf.Module):
    """Products of the items' vectors of `components.indexer.similar`, and cosines of the candidate tower's.

    Args:
        index: Its `cooccurrence`; without that only the cosines count.
        items: The items.
        settings: `similar.embedding_weight` and `compact`.
    """

    def __init__(self, index: Index, items: Items, settings: IndexerSettings) -> None:
        super().__init__()
        self._items = items
        self._embedding_weight = settings.similar.embedding_weight
        self._cooccurrence = None
        if len(index.cooccurrence):
            vectors = np.pad(index.cooccurrence, [[0, items.num_rows - items.count], [0, 0]])
            self._cooccurrence = Table(vectors, settings.compact, "cooccurrence")

    def scores(self, rows: tf.Tensor) -> tf.Tensor:
        """How alike each of the rows [B] is to all rows, [B, R]."""
        cosines = self._items.cosines(rows)
        if self._cooccurrence is None:
            return cosines
        return self._cooccurrence.products(self._cooccurrence.gather(rows)) + self._embedding_weight * cosines
