"""ScaNN inside of the servable: which items may be the best for a query, found without looking at all of them.

ScaNN (Guo et al., "Accelerating Large-Scale Inference with Anisotropic Vector Quantization", 2020) keeps a few bits of
each vector; what it finds is scored exactly from the servable's own table.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from components.errors import InputError
from components.indexer import blocks
from components.indexer.index import Index
from components.indexer.items import Items
from components.indexer.ranking import Asked, SecondStage
from components.indexer.rules import Request
from components.indexer.settings import NO_SCANN, IndexSettings
from serving.custom_ops import import_scann

_LEAST = 16
"""ScaNN has 16 centres for each pair of dimensions, and wants as many vectors."""
_TRAINED_ON = 250_000
_DIMENSIONS_PER_BLOCK = 2
_ANISOTROPIC_THRESHOLD = 0.2  # of the paper
_WIDEST = 4
"""A request that needs more than one item in so many as candidates is answered by looking at all."""


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


class ApproximateIndex(tf.Module):
    """Answers from ScaNN's candidates, where those are enough.

    Args:
        index: The items' vectors and popularity.
        items: The items.
        second_stage: What ranks the best of the candidates, if anything.
        settings: How ScaNN searches, and how many candidates.

    Raises:
        InputError: See `ScannSearch`.
    """

    def __init__(self, index: Index, items: Items, second_stage: SecondStage | None, settings: IndexSettings) -> None:
        super().__init__()
        with_bias = np.concatenate([index.embedding, index.bias[:, np.newaxis]], axis=1)
        self._search = ScannSearch(with_bias, settings)
        self._candidates = settings.candidates
        popular = np.argsort(-index.popularity, kind="stable").astype(np.int32)
        self._popular = tf.Variable(popular, trainable=False, name="popular")
        self._items = items
        self._second_stage = second_stage

    def top_k(
        self,
        asked: Asked,
        excluded: tf.Tensor,
        k: tf.Tensor,
        request: Request | None,
        diversity: tf.Tensor | None,
        exact: Callable[[], tuple[tf.Tensor, tf.Tensor]],
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Ids and scores [B, k] of the best of ScaNN's candidates, or what `exact` gives.

        Rules and diversity choose from all of the catalogue, wherever their items stand, and so do requests to which
        too few candidates are left, or which need a great part of the catalogue as candidates.

        Args:
            asked: B requests.
            excluded: [B, X] int64, rows, -1 for none.
            k: [] int32.
            request: Their rules, if they can have any.
            diversity: [B], if it can be above 0.
            exact: Gives the answer by looking at all items.
        """
        wanted = k if self._second_stage is None else tf.maximum(k, self._second_stage.candidates)
        width = wanted + tf.shape(excluded)[1] + self._candidates
        plain = width * _WIDEST <= self._items.count
        if diversity is not None:
            plain &= ~tf.reduce_any(diversity > 0)
        if request is not None:
            for conditions in (request.allow, request.filter, request.boost):
                plain &= tf.reduce_all(conditions == "")

        def candidates() -> tuple[tf.Tensor, tf.Tensor]:
            return self._among_candidates(asked, excluded, k, wanted, width)

        shape = tf.stack([tf.shape(excluded)[0], k])
        scores, rows = tf.cond(plain, candidates, lambda: (tf.fill(shape, -np.inf), tf.zeros(shape, tf.int32)))
        found = tf.reduce_all(tf.math.is_finite(scores))
        return tf.cond(found, lambda: (self._items.ids(rows), scores), exact)

    def _among_candidates(
        self, asked: Asked, excluded: tf.Tensor, k: tf.Tensor, wanted: tf.Tensor, width: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and rows [B, k] of the best of about `width` candidates; with a second stage, of the best `wanted`."""
        one = tf.ones([tf.shape(asked.query)[0], 1])
        rows = self._search.search(tf.concat([asked.query, one], axis=1), width)
        rows = tf.pad(rows, [[0, 0], [0, width - tf.shape(rows)[1]]], constant_values=-1)
        rows = self._with_votes(asked, rows)
        rows = tf.where(asked.personal[:, tf.newaxis], rows, self._popular[: tf.shape(rows)[1]])
        scores = self._items.scores_of(asked, tf.maximum(rows, 0))
        scores = tf.where((rows < 0) | among(rows, excluded), -np.inf, scores)
        scores, place = tf.math.top_k(scores, wanted)
        rows = tf.gather(rows, place, batch_dims=1)
        if self._second_stage is not None:
            count = self._second_stage.candidates
            places = tf.repeat(tf.range(count)[tf.newaxis], tf.shape(rows)[0], axis=0)
            scores = self._second_stage.apply(scores, scores[:, :count], rows[:, :count], asked, places)
            scores, place = tf.math.top_k(scores, k)
            rows = tf.gather(rows, place, batch_dims=1)
        return scores, rows

    def _with_votes(self, asked: Asked, rows: tf.Tensor) -> tf.Tensor:
        """The rows [B, W], and as many again that the linear part has the most votes for; -1 for one that is there."""
        if not asked.votes:
            return rows
        width = tf.minimum(tf.shape(rows)[1], self._items.count)
        _, voted = blocks.best(tf.add_n([*asked.votes.values()]), width, self._items.num_rows)
        return tf.concat([rows, tf.where(among(voted, tf.cast(rows, tf.int64)), -1, voted)], axis=1)


def among(rows: tf.Tensor, listed: tf.Tensor) -> tf.Tensor:
    """Which of the rows [B, M] int32, none negative, are among those [B, X] int64 listed in the same line, [B, M]."""
    rows = tf.cast(rows, tf.int64)
    # One more, that none is equal to, so that there is one at least.
    listed = tf.sort(tf.pad(listed, [[0, 0], [0, 1]], constant_values=-1), axis=1)
    place = tf.minimum(tf.searchsorted(listed, rows), tf.shape(listed)[1] - 1)
    return tf.gather(listed, place, batch_dims=1) == rows
