"""A small log in which every item has its follower, and what Transform and Trainer make of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from pipeline.model.settings import ModelSettings, TrainingSettings

ITEMS = [f"item {n}, é" for n in range(6)]
NEW = "never bought"
HOUR = 3_600_000_000
FEATURES = {"genres": "categories", "title": "text", "year": "number"}
QUERY_FEATURES = {"device": "category", "age": "number"}
STRING = tf.io.FixedLenFeature([1], tf.string)
EVENT_SPEC = {
    "user_id": STRING,
    "item_id": STRING,
    "device": tf.io.VarLenFeature(tf.string),
    "age": tf.io.VarLenFeature(tf.float32),
    "history": tf.io.VarLenFeature(tf.string),
    "weight": tf.io.FixedLenFeature([1], tf.float32),
    "timestamp": tf.io.FixedLenFeature([1], tf.int64),
}
ITEM_SPEC = {
    "item_id": STRING,
    "genres": tf.io.VarLenFeature(tf.string),
    "title": tf.io.VarLenFeature(tf.string),
    "year": tf.io.VarLenFeature(tf.float32),
}


def events() -> list[dict[str, Any]]:
    """Item n is followed by item n + 1; item 0 is the most frequent."""
    rows = []
    for time in range(240):
        n = time % len(ITEMS)
        history = [ITEMS[n - 1], ITEMS[n - 2]][: time // 6 % 3]
        rows.append({"item_id": [ITEMS[n]], "history": history, "timestamp": [time * HOUR]})
    rows += [{"item_id": [ITEMS[0]], "history": [], "timestamp": [(240 + t) * HOUR]} for t in range(8)]
    for place, row in enumerate(rows):
        odd = float(place % 2)
        row |= {"user_id": [f"user {place % 7}"], "weight": [2 + 2 * odd], "device": ["tv"], "age": [odd]}
    rows[0] |= {"device": [], "age": []}
    return rows


def items() -> list[dict[str, Any]]:
    rows = [
        {
            "item_id": [item],
            "genres": ["even" if n % 2 == 0 else "odd", "all"],
            "title": [f"The Thing, {n}"],
            "year": [n],
        }
        for n, item in enumerate(ITEMS)
    ]
    return [*rows, {"item_id": [NEW], "genres": ["even", "unheard of"], "title": [], "year": []}]


def transform(
    rows: Any, spec: Any, function: Any, config: Any, root: Path, split: str, batch_size: int | None = None
) -> None:
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    context = tft_beam.Context(temp_dir=tempfile.mkdtemp(), desired_batch_size=batch_size)
    with beam.Pipeline(runner="FnApiRunner") as pipeline, context:
        data = (pipeline | beam.Create(rows), metadata)
        transformed, graph = data | tft_beam.AnalyzeAndTransformDataset(lambda inputs: function(inputs, config))
        graph | tft_beam.WriteTransformFn(str(root / "graph"))
        metadata | tft_beam.WriteMetadata(str(root / "graph" / "metadata"), pipeline)
        values, values_metadata = transformed
        coder = tft.coders.ExampleProtoCoder(values_metadata.schema)
        (
            values
            | beam.Map(coder.encode)
            | beam.io.WriteToTFRecord(
                str(root / "examples" / f"Split-{split}" / "data"), file_name_suffix=".gz", num_shards=1
            )
        )


def fn_args(
    workspace: Path, output: Path, model: dict[str, Any] | None = None, **training_settings: Any
) -> SimpleNamespace:
    settings = {"epochs": 12, "patience": 12, "batch_size": 8, "learning_rate": 0.05, **training_settings}
    model_settings = ModelSettings(**{"dim": 8, "dropout": 0.0, "history_dropout": 0.0, **(model or {})})
    return SimpleNamespace(
        custom_config={
            "seed": 1,
            "features": FEATURES,
            "query_features": {name: QUERY_FEATURES[name] for name in model_settings.query_features},
            "user_features": [name for name in model_settings.query_features if name == "age"],
            "max_history": 5,
            "hold_out": "latest",
            "checkpoints": str(output / "checkpoints"),
            "model": model_settings.model_dump(mode="json"),
            "training": TrainingSettings(**settings).model_dump(mode="json"),
        },
        transform_graph_path=str(workspace / "events" / "graph"),
        catalogue_graph=str(workspace / "items" / "graph"),
        examples=str(workspace / "events" / "examples"),
        catalogue=str(workspace / "items" / "examples"),
        model_run_dir=str(output / "run"),
        serving_model_dir=str(output / "model"),
    )


def ask(
    query: Any, histories: list[list[str]], users: list[str] | None = None, contexts: list[list[bytes]] | None = None
) -> np.ndarray:
    """Embeddings [B, D] from the signature `query`."""
    return query(
        user_id=tf.constant(users or [""] * len(histories)),
        history=tf.constant(histories),
        context=tf.constant(contexts or [[b"", b""]] * len(histories)),
    )["embedding"].numpy()


def example(row: dict[str, Any]) -> bytes:
    result = tf.train.Example()
    for name, values in row.items():
        feature = result.features.feature[name]
        if name == "year":
            feature.float_list.value.extend(values)
        else:
            feature.bytes_list.value.extend(value.encode() for value in values)
    return result.SerializeToString()


def rank(towers: Any, histories: list[list[str]]) -> tuple[list[str], np.ndarray]:
    answer = towers.signatures["candidate"](examples=tf.constant([example(row) for row in items()]))
    width = max(len(history) for history in histories)
    padded = [history + [""] * (width - len(history)) for history in histories]
    scores = ask(towers.signatures["query"], padded) @ answer["embedding"].numpy().T + answer["bias"].numpy()
    return [item.decode() for item in answer["item_id"].numpy()], scores


def context(device: str | None = None, age: float | None = None, timestamp: int | None = None) -> bytes:
    result = tf.train.Example()
    if device is not None:
        result.features.feature["device"].bytes_list.value.append(device.encode())
    if age is not None:
        result.features.feature["age"].float_list.value.append(age)
    if timestamp is not None:
        result.features.feature["timestamp"].int64_list.value.append(timestamp)
    return result.SerializeToString()
