"""Exports trained towers as a SavedModel that starts from raw ids and raw catalogue Examples.

A plain `tf.Module`: saving a `tfrs.Model` drags its training state and metrics along.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

import tensorflow as tf
import tensorflow_transform as tft

from pipeline.preprocessing import NO_TIME, PADDING, QUERY_PREFIX
from pipeline.towers import TwoTowerModel, Vocabulary

MANIFEST = "towers.json"
TIMESTAMP = "timestamp"


class Towers(tf.Module):
    """Both towers behind their Transform graphs, with the signatures of the Towers contract."""

    def __init__(
        self,
        model: TwoTowerModel,
        graph: tft.TFTransformOutput,
        catalogue_graph: tft.TFTransformOutput,
        vocabulary: Vocabulary,
        context: Mapping[str, str],
    ) -> None:
        super().__init__()
        self._query_tower = model.query_tower
        self._candidate_tower = model.candidate_tower
        # Attached to the module, or their tables would not be saved with it.
        self._transform = graph.transform_features_layer()
        self._transform_catalogue = catalogue_graph.transform_features_layer()
        self._catalogue_spec = catalogue_graph.raw_feature_spec()
        self._vocabulary = vocabulary
        self._context = context

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
        raw = {"history": compact.to_sparse(), **self._parse(context)}
        if self._vocabulary.num_users:
            raw["user_id"] = user_id[:, tf.newaxis]
        transformed = self._transform(raw)
        inputs = {"history": tf.sparse.to_dense(transformed["history"], PADDING)}
        if self._vocabulary.num_users:
            inputs["user"] = transformed["user"]
        for feature in self._vocabulary.query_features:
            name = QUERY_PREFIX + feature.name
            value = transformed[name]
            inputs[name] = value if feature.is_number else tf.sparse.to_dense(value, PADDING)
        return {"embedding": self._query_tower(inputs)}

    def _parse(self, context: tf.Tensor) -> dict[str, tf.Tensor | tf.SparseTensor]:
        """The raw features of contexts [B, C], as the Transform graph wants them."""
        if not self._context:
            return {}
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

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")], autograph=False)
    def candidate(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Ids [N], embeddings [N, D] and biases [N] of serialized catalogue Examples [N]."""
        raw = tf.io.parse_example(examples, self._catalogue_spec)
        item = self._transform_catalogue(raw)
        item_id = item["item_id"]
        index = self._transform({"item_id": item_id[:, tf.newaxis]})["item"]
        values = {
            f.name: item[f.name] if f.is_number else tf.sparse.to_dense(item[f.name], PADDING)
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
    """
    model.query_tower.fold()
    towers = Towers(model, graph, catalogue_graph, vocabulary, context)
    tf.saved_model.save(towers, directory, signatures={"query": towers.query, "candidate": towers.candidate})
    manifest = {"context": [{"name": n, "type": t} for n, t in context.items()], "user_features": user_features}
    extra = os.path.join(directory, "assets.extra")
    tf.io.gfile.makedirs(extra)
    with tf.io.gfile.GFile(os.path.join(extra, MANIFEST), "w") as file:
        json.dump(manifest, file, indent=2)
