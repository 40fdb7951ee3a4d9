"""A servable of any size without data or training: the project's own towers with random weights, indexed as the
Indexer does. What it answers means nothing; what an answer costs is what a trained model's costs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.serving_load import MODEL, NUM_USERS, item_id, user_id
from components.indexer.index import Index
from components.indexer.saving import save_servable
from components.indexer.settings import IndexerSettings
from pipeline.model.export import export_towers
from pipeline.model.preprocessing import FIRST
from pipeline.model.settings import ModelSettings, TrainingSettings
from pipeline.model.towers import ItemFeatures, TwoTowerModel, Vocabulary

STORED = 50
"""Items of each user's stored history."""
MAX_HISTORY = 50


def write_model(directory: str | Path, num_items: int) -> None:
    """Writes a servable of `num_items` items and `NUM_USERS` users to `directory`."""
    tf.random.set_seed(0)
    chance = np.random.default_rng(0)
    item_ids = np.array([item_id(row).encode() for row in range(num_items)], object)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "items.txt"
        file.write_bytes(b"\n".join(item_ids.tolist()))
        vocabulary = Vocabulary(np.ones(num_items, np.int64), ItemFeatures({}), (), (), 0, MAX_HISTORY)
        model = TwoTowerModel(ModelSettings(), TrainingSettings(), vocabulary, seed=0)
        embedding, bias = model.vocabulary_embeddings()
        model.query_tower({"history": tf.constant([[FIRST]])})
        transform = _Transform(str(file))
        export_towers(model, transform, transform, vocabulary, {}, [], str(Path(folder) / "towers"))
        index = Index(
            item_ids=item_ids,
            display=item_ids,
            embedding=embedding.numpy(),
            bias=bias.numpy(),
            history_embedding=embedding.numpy(),
            history_known=np.ones(num_items, bool),
            popularity=chance.integers(0, 1_000, num_items).astype(np.float32),
            user_ids=np.array([user_id(row).encode() for row in range(NUM_USERS)], object),
            user_embedding=np.zeros([0, embedding.shape[1]], np.float32),
            user_context=np.full(NUM_USERS, b"", object),
            history_values=chance.integers(0, num_items, NUM_USERS * STORED).astype(np.int32),
            history_splits=np.arange(NUM_USERS + 1, dtype=np.int64) * STORED,
        )
        del model
        save_servable(str(Path(folder) / "towers"), index, IndexerSettings(), MODEL, str(directory))


class _Transform(tf.Module):
    """Stands in for Transform's output: the item vocabulary is a file, and there are no features."""

    def __init__(self, file: str) -> None:
        super().__init__()
        lines = tf.lookup.TextFileInitializer(
            file, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        self._table = tf.lookup.StaticHashTable(lines, default_value=-1)

    def transform_features_layer(self) -> Any:
        """As TFTransformOutput's."""
        return self

    def raw_feature_spec(self) -> dict[str, Any]:
        """As TFTransformOutput's."""
        return {"item_id": tf.io.FixedLenFeature([], tf.string)}

    def __call__(self, raw: dict[str, Any]) -> dict[str, Any]:
        if "history" in raw:
            history = raw["history"]
            return {"history": tf.SparseTensor(history.indices, self._index(history.values), history.dense_shape)}
        return {"item_id": raw["item_id"], "item": tf.reshape(self._index(raw["item_id"]), [-1])}

    def _index(self, items: tf.Tensor) -> tf.Tensor:
        return self._table.lookup(items) + FIRST
