"""Trainer's `run_fn`: reads what Transform made, trains the two towers, exports them.

The number of passes is chosen on the latest training events by NDCG@10 from exact scores of all items; the test split
never comes near this module.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras

from components.examples import ragged, read_columns, scalars
from components.progress import progress
from components.trainer.component import TRAINING_REPORT
from pipeline.export import export_towers
from pipeline.preprocessing import FIRST, ITEM_COUNTS, ITEM_VOCABULARY, PADDING, UNKNOWN
from pipeline.settings import ModelSettings, TrainingSettings
from pipeline.towers import ItemFeatures, SideFeature, TwoTowerModel


@dataclass(frozen=True)
class Events:
    """N transformed events as columns, in the order of time."""

    history: np.ndarray
    """[N, H] int32 item indices, newest first, padded with 0."""
    item: np.ndarray
    """[N] int32 item indices."""
    weight: np.ndarray
    """[N] float32."""

    def __len__(self) -> int:
        return len(self.item)

    def take(self, rows: Any) -> Events:
        """The events of `rows`, an index array or a slice."""
        return Events(self.history[rows], self.item[rows], self.weight[rows])


def run_fn(fn_args: Any) -> None:
    """Trains and exports the towers; `fn_args` is TFX's `FnArgs` as `components.trainer` extends it."""
    config = fn_args.custom_config
    model_settings = ModelSettings.model_validate(config["model"])
    settings = TrainingSettings.model_validate(config["training"])
    keras.utils.set_random_seed(config["seed"])
    tf.config.experimental.enable_op_determinism()

    graph = tft.TFTransformOutput(fn_args.transform_graph_path)
    catalogue_graph = tft.TFTransformOutput(fn_args.catalogue_graph)
    vocabulary, counts = read_vocabulary(graph)
    features = tuple(
        SideFeature(name, kind == "number", 0 if kind == "number" else catalogue_graph.vocabulary_size_by_name(name))
        for name, kind in config["features"].items()
    )
    item_features = read_item_features(fn_args.catalogue, features, vocabulary)
    events = read_events(fn_args.examples, config["max_history"])

    def build() -> TwoTowerModel:
        keras.utils.set_random_seed(config["seed"])
        model = TwoTowerModel(
            model_settings, counts, item_features, features, config["max_history"], settings.loss == "full", settings.l2
        )
        model.compile(optimizer=keras.optimizers.Adam(settings.learning_rate))
        return model

    model, history = train(build, events, settings, config["seed"], fn_args.model_run_dir)
    export_towers(model, graph, catalogue_graph, features, config["max_history"], fn_args.serving_model_dir)
    best = max(history, key=lambda epoch: epoch["ndcg@10"])
    report = {
        "summary": (
            f"{len(events):,} events, {len(vocabulary):,} items, {settings.loss.replace('_', '-')} softmax; best of "
            f"{len(history)} epochs: {best['epoch']} (validation hit@10 {best['hit@10']:.3f}, "
            f"NDCG@10 {best['ndcg@10']:.3f})"
        ),
        "parameters": sum(int(np.prod(w.shape)) for w in model.trainable_weights),
        "epochs": history,
    }
    with tf.io.gfile.GFile(os.path.join(fn_args.model_run_dir, TRAINING_REPORT), "w") as file:
        json.dump(report, file, indent=2)


def train(
    build: Any, events: Events, settings: TrainingSettings, seed: int, log_dir: str
) -> tuple[TwoTowerModel, list[dict[str, float]]]:
    """Trains with early stopping on the latest events and, if `settings.refit`, again on all of them.

    Args:
        build: Makes a new compiled model, the same each time.
        events: The training events in the order of time.
        settings: Training settings.
        seed: Of the order of events.
        log_dir: Where TensorBoard's logs go.

    Returns:
        The model, and the metrics of each epoch on the validation events.
    """
    cut = len(events) - max(1, round(len(events) * settings.validation_fraction))
    if cut < 1:
        cut = len(events)  # one event: nothing to validate on but itself
    rows = (
        np.unique(np.linspace(cut, len(events) - 1, settings.validation_queries).astype(int))
        if cut < len(events)
        else [0]
    )
    validation = _Validation(events.take(np.asarray(rows)), settings)
    model = build()
    model.fit(
        batches(events.take(slice(cut)), settings.batch_size, seed),
        epochs=settings.epochs,
        verbose=0,
        callbacks=[
            validation,
            keras.callbacks.EarlyStopping("ndcg@10", mode="max", patience=settings.patience, restore_best_weights=True),
            keras.callbacks.TensorBoard(log_dir, write_graph=False),
        ],
    )
    history = validation.history
    if settings.refit and cut < len(events):
        epochs = max(history, key=lambda epoch: epoch["ndcg@10"])["epoch"]
        model = build()
        model.fit(
            batches(events, settings.batch_size, seed),
            epochs=epochs,
            verbose=0,
            callbacks=[
                keras.callbacks.LambdaCallback(
                    on_epoch_begin=lambda epoch, logs: progress(f"refit on all events: epoch {epoch + 1} of {epochs}")
                )
            ],
        )
    return model, history


def batches(events: Events, batch_size: int, seed: int) -> tf.data.Dataset:
    """Shuffled batches of `history`, `item` and `weight`, gathered from columns in memory."""
    columns = {
        "history": tf.constant(events.history),
        "item": tf.constant(events.item),
        "weight": tf.constant(events.weight),
    }
    rows = tf.data.Dataset.range(len(events)).shuffle(len(events), seed=seed).batch(batch_size)
    return rows.map(lambda row: {name: tf.gather(column, row) for name, column in columns.items()}).prefetch(2)


class _Validation(keras.callbacks.Callback):
    """Ranks the true items of held-back events among all items after each epoch."""

    def __init__(self, events: Events, settings: TrainingSettings) -> None:
        super().__init__()
        self.history: list[dict[str, float]] = []
        self._events = events
        self._settings = settings

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if not epoch:
            progress(f"epoch 1 of at most {self._settings.epochs}")

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        rank = exact_ranks(self.model, self._events)
        metrics = {
            "hit@10": float(np.mean(rank < 10)),
            "ndcg@10": float(np.mean(np.where(rank < 10, 1 / np.log2(rank + 2.0), 0))),
        }
        logs.update(metrics)
        self.history.append({"epoch": epoch + 1, "loss": float(logs["loss"]), **metrics})
        progress(
            f"epoch {epoch + 1} of at most {self._settings.epochs}: loss {logs['loss']:.3f}, "
            f"validation hit@10 {metrics['hit@10']:.4f}, NDCG@10 {metrics['ndcg@10']:.4f}"
        )


def exact_ranks(model: TwoTowerModel, events: Events, batch_size: int = 1024) -> np.ndarray:
    """Rank [N] int, 0 the best, of each event's item among all items that are not in its history."""
    embedding, bias = model.vocabulary_embeddings()
    ranks = []
    for start in range(0, len(events), batch_size):
        batch = events.take(slice(start, start + batch_size))
        scores = (tf.matmul(model.query_tower(tf.constant(batch.history)), embedding, transpose_b=True) + bias).numpy()
        query, place = np.nonzero(batch.history > UNKNOWN)
        true = scores[np.arange(len(batch)), batch.item - FIRST]
        scores[query, batch.history[query, place] - FIRST] = -np.inf
        ranks.append((scores > true[:, np.newaxis]).sum(axis=1))
    return np.concatenate(ranks)


def read_vocabulary(graph: tft.TFTransformOutput) -> tuple[list[bytes], np.ndarray]:
    """The items of the training events, most frequent first, and their counts [N] int64."""
    vocabulary = graph.vocabulary_by_name(ITEM_VOCABULARY)
    counts = {}
    for line in graph.vocabulary_by_name(ITEM_COUNTS):
        count, item = line.split(b" ", 1)
        counts[item] = int(count)
    return vocabulary, np.array([counts[item] for item in vocabulary], np.int64)


def read_events(examples: str, max_history: int) -> Events:
    """The transformed training events at URI `examples`, sorted by time and, where that is the same, by content.

    Beam writes rows in another order each time; training must not depend on it.
    """
    table = read_columns(examples, "train", {"item": int, "history": int, "weight": float, "timestamp": int})
    events = Events(
        history=_pad(*ragged(table, "history"), max_history),
        item=scalars(table, "item").astype(np.int32),
        weight=scalars(table, "weight"),
    )
    return events.take(np.lexsort((content_hash(events), scalars(table, "timestamp"))))


def content_hash(events: Events) -> np.ndarray:
    """A number [N] uint64 for what each event holds, equal for equal events."""
    # FNV-1a, a column at a time; unsigned integers wrap around.
    result = np.full(len(events), 14695981039346656037, np.uint64)
    for column in (events.item, events.weight.view(np.int32), *events.history.T):
        result = (result ^ column.astype(np.uint64)) * np.uint64(1099511628211)
    return result


def read_item_features(catalogue: str, features: tuple[SideFeature, ...], vocabulary: list[bytes]) -> ItemFeatures:
    """The side features of the vocabulary's items, in its order, from the transformed catalogue at URI `catalogue`."""
    types = {f.name: float if f.is_number else int for f in features}
    table = read_columns(catalogue, "catalogue", {"item_id": bytes, **types})
    row_of = {item: row for row, item in enumerate(scalars(table, "item_id"))}
    rows = np.array([row_of[item] for item in vocabulary])
    return ItemFeatures(
        {f.name: scalars(table, f.name) if f.is_number else _pad(*ragged(table, f.name)) for f in features}
    ).take(rows)


def _pad(values: np.ndarray, offsets: np.ndarray, width: int | None = None) -> np.ndarray:
    """Ragged int rows to [N, width] int32, padded with 0; by default as wide as the longest row, at least 1."""
    lengths = np.diff(offsets)
    width = width or max(1, int(lengths.max(initial=0)))
    matrix = np.full((len(lengths), width), PADDING, np.int32)
    row = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(values)) - np.repeat(offsets[:-1], lengths)
    kept = place < width
    matrix[row[kept], place[kept]] = values[kept]
    return matrix
