"""Exports trained towers as a SavedModel that starts from raw ids and raw catalogue Examples.

A plain `tf.Module`: saving a `tfrs.Model` drags its training state and metrics along.
"""

from __future__ import annotations

import tensorflow as tf
import tensorflow_transform as tft

from pipeline.preprocessing import PADDING
from pipeline.towers import SideFeature, TwoTowerModel


class Towers(tf.Module):
    """Both towers behind their Transform graphs, with the signatures of the Towers contract."""

    def __init__(
        self,
        model: TwoTowerModel,
        graph: tft.TFTransformOutput,
        catalogue_graph: tft.TFTransformOutput,
        features: tuple[SideFeature, ...],
        max_history: int,
    ) -> None:
        super().__init__()
        self._query_tower = model.query_tower
        self._candidate_tower = model.candidate_tower
        # Attached to the module, or their tables would not be saved with it.
        self._transform = graph.transform_features_layer()
        self._transform_catalogue = catalogue_graph.transform_features_layer()
        self._catalogue_spec = catalogue_graph.raw_feature_spec()
        self._features = features
        self._max_history = max_history

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="user_id"),
            tf.TensorSpec([None, None], tf.string, name="history"),
        ],
        autograph=False,
    )
    def query(self, user_id: tf.Tensor, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """Query embeddings [B, D] of histories [B, H], newest first; padding may stand anywhere."""
        del user_id  # part of the contract; this model needs the history alone
        compact = tf.ragged.boolean_mask(history, history != "")[:, : self._max_history]
        index = self._transform({"history": compact.to_sparse()})["history"]
        return {"embedding": self._query_tower(tf.sparse.to_dense(index, PADDING))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")], autograph=False)
    def candidate(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Ids [N], embeddings [N, D] and biases [N] of serialized catalogue Examples [N]."""
        raw = tf.io.parse_example(examples, self._catalogue_spec)
        item = self._transform_catalogue(raw)
        item_id = item["item_id"]
        index = self._transform({"item_id": item_id[:, tf.newaxis]})["item"]
        values = {
            f.name: item[f.name] if f.is_number else tf.sparse.to_dense(item[f.name], PADDING) for f in self._features
        }
        embedding, bias = self._candidate_tower(index, values)
        return {"item_id": item_id, "embedding": embedding, "bias": bias}


def export_towers(
    model: TwoTowerModel,
    graph: tft.TFTransformOutput,
    catalogue_graph: tft.TFTransformOutput,
    features: tuple[SideFeature, ...],
    max_history: int,
    directory: str,
) -> None:
    """Writes the towers' SavedModel to `directory`."""
    towers = Towers(model, graph, catalogue_graph, features, max_history)
    tf.saved_model.save(towers, directory, signatures={"query": towers.query, "candidate": towers.candidate})
