"""A small log in which every item has its follower, and what Transform and Trainer make of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from components.examples.interactions import PLACE
from pipeline.model.settings import ModelSettings, TrainerSettings, TrainingSettings

ITEMS = [f"item {n}, é" for n in range(6)]
NEW = "never bought"
HOUR = 3_600_000_000
FEATURES = {"genres": "categories", "title": "text", "year": "number", "about": "vector"}
QUERY_FEATURES = {"device": "category", "age": "number"}
IN_CONTEXT = {"query_features": ("device", "age"), "time_features": ("hour", "weekday"), "user_id": True}
"""Settings of a model that takes all of a context."""
Rows = list[dict[str, Any]]
STRING = tf.io.FixedLenFeature([1], tf.string)
EVENT_SPEC = {
    "user_id": STRING,
    "item_id": STRING,
    "event": STRING,
    "device": tf.io.VarLenFeature(tf.string),
    "age": tf.io.VarLenFeature(tf.float32),
    "history": tf.io.VarLenFeature(tf.string),
    "weight": tf.io.FixedLenFeature([1], tf.float32),
    "timestamp": tf.io.FixedLenFeature([1], tf.int64),
    PLACE: tf.io.FixedLenFeature([1], tf.int64),
}
ITEM_SPEC = {
    "item_id": STRING,
    "genres": tf.io.VarLenFeature(tf.string),
    "title": tf.io.VarLenFeature(tf.string),
    "year": tf.io.VarLenFeature(tf.float32),
    "about": tf.io.FixedLenFeature([2], tf.float32),
}


def events() -> Rows:
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
        row["event"] = ["buy" if odd else "view"]
        row[PLACE] = [0]
    rows[0] |= {"device": [], "age": []}
    return rows


def items() -> Rows:
    """The items' features, and an item that nobody had."""
    rows = [
        {
            "item_id": [item],
            "genres": ["even" if n % 2 == 0 else "odd", "all"],
            "title": [f"The Thing, {n}"],
            "year": [n],
            "about": [n / 10, -0.5],
        }
        for n, item in enumerate(ITEMS)
    ]
    return [*rows, {"item_id": [NEW], "genres": ["even", "unheard of"], "title": [], "year": [], "about": [0, 0]}]


def transform(
    pipeline: beam.Pipeline,
    rows: Rows,
    spec: dict[str, Any],
    preprocessing_fn: Callable[[dict[str, Any]], dict[str, Any]],
    root: Path,
    split: str,
    batch_size: int | None = None,
) -> None:
    """Has `rows` transformed as TFX's Transform does it, to `examples` and `graph` under `root`."""
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    with tft_beam.Context(temp_dir=str(root / "temporary"), desired_batch_size=batch_size):
        data = (pipeline | f"{root} rows" >> beam.Create(rows), metadata)
        analyze_and_transform = tft_beam.AnalyzeAndTransformDataset(preprocessing_fn)
        (values, values_metadata), graph = data | f"{root} transform" >> analyze_and_transform
        graph | f"{root} graph" >> tft_beam.WriteTransformFn(str(root / "graph"))
        metadata | f"{root} metadata" >> tft_beam.WriteMetadata(str(root / "graph" / "metadata"), pipeline)
        encode = tft.coders.ExampleProtoCoder(values_metadata.schema).encode
        files = str(root / "examples" / f"Split-{split}" / "data")
        write = beam.io.WriteToTFRecord(files, file_name_suffix=".gz", num_shards=1)
        values | f"{root} encode" >> beam.Map(encode) | f"{root} write" >> write


def make_settings(model: dict[str, Any] | None = None, **training: Any) -> TrainerSettings:
    """Settings of a training that learns the log by heart."""
    settings = ModelSettings(**{"dim": 8, "dropout": 0.0, "history_dropout": 0.0, **(model or {})})
    return TrainerSettings(
        seed=1,
        features=FEATURES,
        query_features={name: QUERY_FEATURES[name] for name in settings.query_features},
        user_features=tuple(name for name in settings.query_features if name == "age"),
        max_history=5,
        hold_out="latest",
        model=settings,
        training=TrainingSettings(**{"epochs": 6, "patience": 6, "batch_size": 16, "learning_rate": 0.05, **training}),
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
    """A row of `items` as a serialized Example."""
    result = tf.train.Example()
    for name, values in row.items():
        feature = result.features.feature[name]
        if name in ("year", "about"):
            feature.float_list.value.extend(values)
        else:
            feature.bytes_list.value.extend(value.encode() for value in values)
    return result.SerializeToString()


def rank(towers: Any, histories: list[list[str]]) -> tuple[list[str], np.ndarray]:
    """Ids [N] of the items and their scores [B, N] for histories."""
    answer = towers.signatures["candidate"](examples=tf.constant([example(row) for row in items()]))
    width = max(len(history) for history in histories)
    padded = [history + [""] * (width - len(history)) for history in histories]
    scores = ask(towers.signatures["query"], padded) @ answer["embedding"].numpy().T + answer["bias"].numpy()
    return [item.decode() for item in answer["item_id"].numpy()], scores
