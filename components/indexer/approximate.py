"""ScaNN inside of the servable: which items may be the best for a query, found without looking at all of them.

ScaNN (Guo et al., "Accelerating Large-Scale Inference with Anisotropic Vector Quantization", 2020) keeps a few bits of
each vector; what it finds is scored exactly from the servable's own table.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from components.errors import InputError
from components.indexer.settings import NO_SCANN, IndexSettings
from serving.server.custom_ops import import_scann

_LEAST = 16
"""ScaNN has 16 centres for each pair of dimensions, and wants as many vectors."""
_TRAINED_ON = 250_000
_DIMENSIONS_PER_BLOCK = 2
_ANISOTROPIC_THRESHOLD = 0.2  # of the paper


class ScannSearch(tf.Module):
    """Finds rows with high products.

    Args:
        vectors: [N, D] float32.
        settings: Leaves, and the share of them that a query looks at.

    Raises:
        InputError: The package `scann` doesn't work here, or there are too few vectors.
    """

    def __init__(self, vectors: np.ndarray, settings: IndexSettings) -> None:
        super().__init__()
        try:
            self._ops = import_scann()
        except ImportError as error:
            raise InputError(NO_SCANN) from error
        if len(vectors) < _LEAST:
            raise InputError(
                f"serving.index.type scann needs at least {_LEAST} items, not {len(vectors)}: set it to exact"
            )
        leaves = settings.leaves or max(1, round(math.sqrt(len(vectors))))
        searcher = (
            self._ops.builder(vectors, 1, "dot_product")
            .tree(
                min(leaves, len(vectors)),
                max(1, math.ceil(leaves * settings.searched)),
                training_sample_size=min(len(vectors), _TRAINED_ON),
            )
            .score_ah(_DIMENSIONS_PER_BLOCK, anisotropic_quantization_threshold=_ANISOTROPIC_THRESHOLD)
            .build()
        )
        self._state = searcher.serialize_to_module()

    def search(self, queries: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """Rows [B, W] int32 of high products with queries [B, D], W at most `width`, each once; -1 for none."""
        searcher = self._ops.searcher_from_module(self._state)
        rows, products = searcher.search_batched(queries, final_num_neighbors=width)
        return tf.where(tf.math.is_finite(products), tf.cast(rows, tf.int32), -1)
