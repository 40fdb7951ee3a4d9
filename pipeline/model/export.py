"""Exports trained towers as a SavedModel that starts from raw ids and raw catalogue Examples.

A plain `tf.Module`: saving a `tfrs.Model` drags its training state and metrics along.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from components import saved_model
from components.closed_forms.linear import FILE, NAMES, Part, to_bytes
from pipeline.model.preprocessing import ITEM_VOCABULARY, NO_TIME, PADDING, QUERY_PREFIX, UNKNOWN
from pipeline.model.ranker import Ranker, features
from pipeline.model.towers import QueryTower, TwoTowerModel, Vocabulary

MANIFEST = "towers.json"
TIMESTAMP = "timestamp"
_PIECE = 32
"""Queries that are made at a time where one item after the other is left out."""


class QueryPart(tf.Module):
    """The query tower without its tables of items and users, which the Indexer stores in its own order and precision.

    Args:
        tower: Without its tables.
        transform: Transform's graph for events; needed where there is a context only.
        vocabulary: What the tower was made for.
        context: Features that a request brings, and their types.
        dim: D.
        shares: What each of T tasks counts by default, of 1 in all; empty without tasks. With them `combine` and
            `explain` take one more input, `shares` [B, T] float32.
    """

    def __init__(
        self,
        tower: QueryTower,
        transform: Any,
        vocabulary: Vocabulary,
        context: Mapping[str, str],
        dim: int,
        shares: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self._tower = tower
        # Attached to the module, or its vocabularies would not be saved with it.
        self._transform: Any = transform if context else None
        self._vocabulary = vocabulary
        self._context = context
        asked = [
            tf.TensorSpec([None, None, dim], tf.float32, name="items"),
            tf.TensorSpec([None, None], tf.bool, name="known"),
            tf.TensorSpec([None, dim], tf.float32, name="user"),
            tf.TensorSpec([None, None], tf.string, name="context"),
        ]
        candidates = tf.TensorSpec([None, None, dim], tf.float32, name="candidates")
        given = [tf.TensorSpec([None, len(shares)], tf.float32, name="shares")] if shares else []
        self.combine = tf.function(self._combine, input_signature=[*asked, *given], autograph=False)
        self.explain = tf.function(self._explain, input_signature=[*asked, candidates, *given], autograph=False)

    def _combine(
        self,
        items: tf.Tensor,
        known: tf.Tensor,
        user: tf.Tensor,
        context: tf.Tensor,
        shares: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Query embeddings [B, D].

        Args:
            items: [B, H, D] embeddings of histories, newest first, H at most `max_history`.
            known: [B, H] which of them training saw; the others count for nothing.
            user: [B, D], zeros for users that training did not see.
            context: [B, C] serialized Examples; of each feature the last that a row has counts.
            shares: [B, T], what each task counts, of 1 in all; where there are tasks.
        """
        return self._tower.combine(items, known, user, self._inputs(context), shares=shares)

    def _explain(
        self,
        items: tf.Tensor,
        known: tf.Tensor,
        user: tf.Tensor,
        context: tf.Tensor,
        candidates: tf.Tensor,
        shares: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """What the products of a query, of the inputs of `combine`, with candidates [B, C, D] come from.

        Where the tower is a sum, the terms of that. Elsewhere what an item, the user's id or a feature carries is how
        much less the product would be without it (Li, Monroe and Jurafsky, "Understanding neural networks through
        representation erasure", 2016); to what there is without any of them the rest is what they carry only together.

        Returns:
            `contributions` [B, C, H] float32 and `parts` [B, C, P] float32, which add up to the products; `part_names`
            [P] string and `method` [] string.
        """
        # Names as in `serving.contract`, which isn't imported, or each change of it would run the Trainer again.
        inputs = self._inputs(context)
        names = ["user_id", *("feature:" + feature.name for feature in self._vocabulary.query_features)]
        if self._tower.is_sum:
            share, *alone, by_name = self._tower.terms(items, known, user, inputs)
            of_features = [by_name[feature.name] for feature in self._vocabulary.query_features]
            parts, by_tasks = tf.stack([*alone, *of_features], axis=1), []
            if shares is not None:
                query = tf.reduce_sum(share[:, :, tf.newaxis] * items, axis=1) + tf.reduce_sum(parts, axis=1)
                candidates, added = self._tower.seen_by_tasks(candidates, query, shares)
                by_tasks = [added[:, :, tf.newaxis]]
            contributions = tf.matmul(candidates, items, transpose_b=True) * share[:, tf.newaxis, :]
            parts = tf.concat([*by_tasks, tf.matmul(candidates, parts, transpose_b=True)], axis=2)
            names = [*(["tasks"] if by_tasks else []), "empty_history", *names]
        else:
            queries = self._erased(items, known, user, inputs, shares)
            products = tf.matmul(candidates, queries, transpose_b=True)
            whole, empty, width = products[:, :, :1], products[:, :, -1:], tf.shape(known)[1]
            carried = whole - products[:, :, 1:-1]
            contributions = tf.where(known[:, tf.newaxis], carried[:, :, :width], 0.0)  # no rounding for others
            carried = tf.concat([contributions, carried[:, :, width:]], axis=2)
            rest = whole - empty - tf.reduce_sum(carried, axis=2, keepdims=True)
            parts = tf.concat([empty, rest, carried[:, :, width:]], axis=2)
            names = ["empty_history", "rest", *names]
        return {
            "contributions": contributions,
            "parts": parts,
            "part_names": tf.constant(names),
            "method": tf.constant("exact" if self._tower.is_sum else "attribution"),
        }

    def _erased(
        self,
        items: tf.Tensor,
        known: tf.Tensor,
        user: tf.Tensor,
        inputs: Mapping[str, tf.Tensor],
        shares: tf.Tensor | None,
    ) -> tf.Tensor:
        """Queries [B, 1 + H + 1 + F + 1, D]: whole, without each item, the user's id, each feature, and without all."""
        batch, width = tf.unstack(tf.shape(known))
        variants = 3 + width + len(inputs)

        def query(start: tf.Tensor) -> tf.Tensor:
            number = tf.minimum(start + tf.range(_PIECE), batch * variants - 1)
            row, left_out = number // variants, number % variants - 1

            def kept(value: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
                gone = (left_out == place) | (left_out == variants - 2)
                gone = tf.reshape(gone, [-1, *[1] * (len(value.shape) - 1)])
                return tf.where(gone, tf.zeros([], value.dtype), tf.gather(value, row))

            there = (tf.range(width) != left_out[:, tf.newaxis]) & (left_out != variants - 2)[:, tf.newaxis]
            return self._tower.combine(
                tf.gather(items, row),
                tf.gather(known, row) & there,
                kept(user, width),
                {name: kept(value, width + 1 + place) for place, (name, value) in enumerate(inputs.items())},
                shares=None if shares is None else tf.gather(shares, row),
            )

        # Piece by piece, so that long histories are not in memory once for each of their items.
        found = tf.map_fn(
            query,
            tf.range(0, batch * variants, _PIECE),
            parallel_iterations=1,
            fn_output_signature=tf.TensorSpec([_PIECE, user.shape[1]], tf.float32),
        )
        return tf.reshape(tf.reshape(found, [-1, user.shape[1]])[: batch * variants], [batch, variants, user.shape[1]])

    def _inputs(self, context: tf.Tensor) -> dict[str, tf.Tensor]:
        """The query features of contexts [B, C], as the tower takes them."""
        inputs = {}
        if self._context:
            transformed = self._transform(self._parse(context))
            for feature in self._vocabulary.query_features:
                value = transformed[QUERY_PREFIX + feature.name]
                inputs[QUERY_PREFIX + feature.name] = value if feature.is_number else tf.sparse.to_dense(value, PADDING)
        return inputs

    def _parse(self, context: tf.Tensor) -> dict[str, tf.Tensor | tf.SparseTensor]:
        """The raw features of contexts [B, C], as the Transform graph wants them."""
        kinds = {"number": tf.float32, "timestamp": tf.int64}
        dtypes = {name: kinds.get(kind, tf.string) for name, kind in self._context.items()}
        spec = {name: tf.io.RaggedFeature(dtype) for name, dtype in dtypes.items()}
        parsed = tf.io.parse_example(tf.reshape(context, [-1]), spec)
        rows, width = tf.unstack(tf.shape(context))
        raw = {}
        for name, values in parsed.items():
            there = tf.reshape(values.row_lengths() > 0, [rows, width])
            last = tf.reduce_max(tf.where(there, tf.range(width), -1), axis=1)
            picked = tf.gather(values, tf.range(rows) * width + tf.maximum(last, 0))
            raw[name] = picked.to_sparse()
            if self._context[name] == TIMESTAMP:
                raw[name] = picked.to_tensor(NO_TIME, shape=[None, 1])
        return raw


class RankingPart(tf.Module):
    """The ranker on what the Indexer stores of candidates and histories; D is `dim`."""

    def __init__(self, ranker: Ranker, dim: int) -> None:
        super().__init__()
        self._ranker = ranker
        self.rank = tf.function(
            self._rank,
            input_signature=[
                tf.TensorSpec([None, dim], tf.float32, name="query"),
                tf.TensorSpec([None, None, dim], tf.float32, name="embedding"),
                tf.TensorSpec([None, None], tf.float32, name="bias"),
                tf.TensorSpec([None, None], tf.float32, name="popularity"),
                tf.TensorSpec([None, None, dim], tf.float32, name="history"),
                tf.TensorSpec([None, None], tf.bool, name="known"),
                tf.TensorSpec([None, None, len(NAMES)], tf.float32, name="votes"),
            ],
            autograph=False,
        )

    def _rank(self, *values: tf.Tensor) -> dict[str, tf.Tensor]:
        """What is added to the retrieval scores of candidates, [B, C]; the inputs are those of `features`."""
        return {"correction": self._ranker(features(*values))}


class Towers(tf.Module):
    """Both towers behind their Transform graphs, with the signatures of the Towers contract."""

    def __init__(
        self,
        model: TwoTowerModel,
        graph: tft.TFTransformOutput,
        catalogue_graph: tft.TFTransformOutput,
        vocabulary: Vocabulary,
        context: Mapping[str, str],
        ranker: Ranker | None,
        shares: Sequence[float],
    ) -> None:
        super().__init__()
        items, users = model.query_tower.take_tables()
        self._history_items = tf.Variable(items, trainable=False, name="history_items")
        self._users = None if users is None else tf.Variable(users, trainable=False, name="users")
        self._candidate_tower = model.candidate_tower
        # Attached to the module, or their tables would not be saved with it.
        self._transform = graph.transform_features_layer()
        self._transform_catalogue = catalogue_graph.transform_features_layer()
        self._catalogue_spec = catalogue_graph.raw_feature_spec()
        self._vocabulary = vocabulary
        self.query_part = QueryPart(model.query_tower, self._transform, vocabulary, context, items.shape[1], shares)
        self._shares = shares
        self.ranking_part = RankingPart(ranker, items.shape[1]) if ranker else None

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="user_id"),
            tf.TensorSpec([None, None], tf.string, name="history"),
            tf.TensorSpec([None, None], tf.string, name="context"),
        ],
        autograph=False,
    )
    def query(self, user_id: tf.Tensor, history: tf.Tensor, context: tf.Tensor) -> dict[str, tf.Tensor]:
        """Query embeddings [B, D] of users [B], histories [B, H] and contexts [B, C].

        Histories are newest first; padding may stand anywhere. Contexts are serialized Examples; of each feature the
        last that a row has counts.
        """
        compact = tf.ragged.boolean_mask(history, history != "")[:, : self._vocabulary.max_history]
        index = tf.sparse.to_dense(self._transform({"history": compact.to_sparse()})["history"], PADDING)
        items, users = tf.gather(self._history_items, index), self.user(user_id)["embedding"]
        shares = [tf.repeat([[*self._shares]], tf.size(user_id), axis=0)] if self._shares else []
        return {"embedding": self.query_part.combine(items, index > UNKNOWN, users, context, *shares)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="ids")], autograph=False)
    def history_item(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """What items [N] are embedded as in a history [N, D], and whether training saw them [N] bool."""
        index = self._transform({"item_id": ids[:, tf.newaxis]})["item"]
        return {"embedding": tf.gather(self._history_items, index), "known": index > UNKNOWN}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="ids")], autograph=False)
    def user(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the ids of users [N] add to a query [N, D]: zeros for users that training did not see."""
        if self._users is None:
            return {"embedding": tf.zeros([tf.size(ids), self._history_items.shape[1]])}
        index = self._transform({"user_id": ids[:, tf.newaxis]})["user"]
        known = tf.cast(index > UNKNOWN, tf.float32)[:, tf.newaxis]
        return {"embedding": tf.gather(self._users, index) * known}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")], autograph=False)
    def candidate(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Ids [N], embeddings [N, D] and biases [N] of serialized catalogue Examples [N]."""
        raw = tf.io.parse_example(examples, self._catalogue_spec)
        item = self._transform_catalogue(raw)
        item_id = item["item_id"]
        index = self._transform({"item_id": item_id[:, tf.newaxis]})["item"]
        values = {
            f.name: item[f.name] if f.is_dense else tf.sparse.to_dense(item[f.name], PADDING)
            for f in self._vocabulary.candidate_features
        }
        embedding, bias = self._candidate_tower(index, values)
        return {"item_id": item_id, "embedding": embedding, "bias": bias}


def export_towers(
    model: TwoTowerModel,
    graph: tft.TFTransformOutput,
    catalogue_graph: tft.TFTransformOutput,
    vocabulary: Vocabulary,
    context: Mapping[str, str],
    user_features: list[str],
    directory: str,
    ranker: Ranker | None = None,
    candidates: int = 0,
    linear: Sequence[Part] = (),
    tasks: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Writes the towers' SavedModel to `directory`.

    Args:
        model: Trained; it can't be trained any further.
        graph: Transform's output for events.
        catalogue_graph: Transform's output for items.
        vocabulary: What the model was made for.
        context: Features that a request brings, and their types.
        user_features: Those of them that belong to the user.
        directory: Where to.
        ranker: The second stage, if there is one; it makes the signature `rank`.
        candidates: Items that it ranks.
        linear: The linear part, if there is one.
        tasks: What each of the model's tasks counts by default, of 1 in all.
    """
    towers = Towers(model, graph, catalogue_graph, vocabulary, context, ranker, [*tasks.values()])
    signatures = {name: getattr(towers, name) for name in ("query", "candidate", "history_item", "user")}
    if towers.ranking_part:
        signatures["rank"] = towers.ranking_part.rank
    saved_model.save(towers, directory, signatures)
    manifest = {
        "context": [{"name": n, "type": t} for n, t in context.items()],
        "user_features": user_features,
        "max_history": vocabulary.max_history,
        **({"candidates": candidates} if ranker else {}),
        **({"tasks": [{"name": n, "weight": w} for n, w in tasks.items()]} if tasks else {}),
    }
    extra = os.path.join(directory, "assets.extra")
    tf.io.gfile.makedirs(extra)
    with tf.io.gfile.GFile(os.path.join(extra, MANIFEST), "w") as file:
        json.dump(manifest, file, indent=2)
    if linear:
        with tf.io.gfile.GFile(os.path.join(extra, FILE), "wb") as file:
            file.write(to_bytes(linear, graph.vocabulary_by_name(ITEM_VOCABULARY)))
