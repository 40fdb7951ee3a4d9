"""Trainer's `run_fn`: reads what Transform made, trains the two towers, exports them.

The number of passes is chosen on training events that are held back, by a metric from exact scores of all items; the
test split never comes near this module.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras

from components.errors import InputError
from components.examples.reading import ragged, read_columns, scalars
from components.progress import progress
from components.trainer.component import TRAINING_REPORT
from pipeline.code import digest
from pipeline.model.checkpoint import Checkpoint, get_state, set_state
from pipeline.model.export import TIMESTAMP, export_towers
from pipeline.model.optimizers import make_optimizer
from pipeline.model.preprocessing import (
    FIRST,
    ITEM_COUNTS,
    ITEM_VOCABULARY,
    QUERY_PREFIX,
    TIME_FEATURES,
    UNKNOWN,
    USER_VOCABULARY,
)
from pipeline.model.ranker import Ranker, fit_ranker, ranking_metrics
from pipeline.model.reading import Events, Log, content_hash, pad, read_log, with_other_items
from pipeline.model.settings import ModelSettings, TrainingSettings
from pipeline.model.summary import as_text, summarize
from pipeline.model.towers import ItemFeatures, SideFeature, TwoTowerModel, Vocabulary
from pipeline.model.workers import cluster, distributed

_SCORES = 1 << 26
"""Scores of all items that are held at a time: 256 MiB."""

Epoch = dict[str, float]
"""What one pass came to: `epoch` from 1, `loss`, `seconds`, and on the validation events `hit@10` and `ndcg@10`."""


@dataclass(frozen=True)
class TrainingData:
    """All that a training needs of the data."""

    events: Log
    vocabulary: Vocabulary
    hold_out: str
    """Which events are held back for validation: `latest`, `last_of_user` or `any`."""


@dataclass(frozen=True)
class Trained:
    """What a training comes to."""

    model: TwoTowerModel
    history: list[Epoch]
    """The epochs of the first training."""
    ranker: Ranker | None = None
    ranking: list[Epoch] = field(default_factory=list)
    """What the ranker's passes came to; epoch 0 is the retrieval alone."""


def run_fn(fn_args: Any) -> None:
    """Trains and exports the towers, on several workers if settings or environment say so.

    Args:
        fn_args: TFX's `FnArgs` as `components.trainer` extends it.
    """
    if not cluster.train_on_workers(fn_args):
        train_and_export(fn_args, tf.distribute.get_strategy())


def train_and_export(fn_args: Any, strategy: tf.distribute.Strategy) -> None:
    """Trains in this process, which may be one of several workers; only the chief of these writes.

    Args:
        fn_args: As for `run_fn`.
        strategy: Says how the work is shared.
    """
    config = fn_args.custom_config
    model_settings = ModelSettings.model_validate(config["model"])
    settings = TrainingSettings.model_validate(config["training"])
    if "epochs" in config:
        settings = settings.model_copy(update={"epochs": config["epochs"]})
    data = read_data(fn_args.examples, fn_args.transform_graph_path, fn_args.catalogue, fn_args.catalogue_graph, config)
    checkpoint = None
    if settings.checkpoints and config.get("checkpoints"):
        inputs = json.dumps([digest(__name__), config, fn_args.examples, fn_args.catalogue], sort_keys=True)
        directory = os.path.join(config["checkpoints"], hashlib.sha256(inputs.encode()).hexdigest()[:16])
        checkpoint = Checkpoint(directory, distributed.is_chief(strategy))
    _check_alike(strategy, config, data, checkpoint)
    trained = train(data, model_settings, settings, config["seed"], fn_args.model_run_dir, checkpoint, strategy)
    if not distributed.is_chief(strategy):
        return
    model, history = trained.model, trained.history
    export_towers(
        model,
        tft.TFTransformOutput(fn_args.transform_graph_path),
        tft.TFTransformOutput(fn_args.catalogue_graph),
        data.vocabulary,
        {**config["query_features"], **({TIMESTAMP: TIMESTAMP} if model_settings.time_features else {})},
        config["user_features"],
        fn_args.serving_model_dir,
        trained.ranker,
        model_settings.ranking.candidates,
    )
    best = best_epoch(history, settings)
    ranker_weights = trained.ranker.trainable_weights if trained.ranker else []
    layers = summarize([*model.trainable_weights, *ranker_weights])
    logging.getLogger(__name__).info("the model:\n%s", as_text(layers))
    report = {
        "summary": (
            f"{data.events.size:,} events, {data.vocabulary.num_items:,} items, {settings.loss.replace('_', '-')} "
            f"softmax; best of {len(history)} epochs: {best['epoch']} (validation hit@10 {best['hit@10']:.3f}, "
            f"NDCG@10 {best['ndcg@10']:.3f}){_ranking_summary(trained.ranking)}"
        ),
        "workers": strategy.num_replicas_in_sync,
        "parameters": sum(part["parameters"] for part in layers),
        "layers": layers,
        "epochs": history,
        **({"ranking": trained.ranking} if trained.ranker else {}),
    }
    with tf.io.gfile.GFile(os.path.join(fn_args.model_run_dir, TRAINING_REPORT), "w") as file:
        json.dump(report, file, indent=2)
    if checkpoint:
        checkpoint.remove()


def _check_alike(
    strategy: tf.distribute.Strategy, config: Mapping[str, Any], data: TrainingData, checkpoint: Checkpoint | None
) -> None:
    """Waits for all workers, which must be about to do the same: else they would train apart, or wait for ever."""
    done = (checkpoint.history, checkpoint.refit) if checkpoint else ()
    same = [digest(__name__), config, data.events.size, data.vocabulary.num_items, done]
    if not distributed.meet(strategy, json.dumps(same, sort_keys=True, default=str)):
        raise InputError(
            "the workers have different code, settings, data or checkpoints: start all of them again, from the same "
            "version of the code, with the same config and the same shared folders"
        )


def _ranking_summary(passes: list[Epoch]) -> str:
    """What the second stage did for the retrieval, if there is one."""
    if not passes:
        return ""
    before, after = passes[0]["ndcg@10"], max(epoch["ndcg@10"] for epoch in passes)
    return f"; ranking: NDCG@10 {before:.4f} to {after:.4f}" if after > before else "; ranking: no gain, left out"


def read_data(
    examples: str, transform_graph: str, catalogue: str, catalogue_graph: str, custom_config: Mapping[str, Any]
) -> TrainingData:
    """Reads what the two Transforms left.

    Args:
        examples: URI of the transformed events.
        transform_graph: URI of their graph.
        catalogue: URI of the transformed items.
        catalogue_graph: URI of their graph.
        custom_config: As `create_pipeline` gives it to the Trainer.
    """
    graph = tft.TFTransformOutput(transform_graph)
    items, counts = read_vocabulary(graph)
    candidate_features = side_features(custom_config["features"], tft.TFTransformOutput(catalogue_graph), "")
    settings = custom_config["model"]
    in_memory = TrainingSettings.model_validate(custom_config["training"]).events_in_memory
    query_features = side_features(custom_config["query_features"], graph, QUERY_PREFIX) + tuple(
        SideFeature(name, False, TIME_FEATURES[name][1]) for name in settings["time_features"]
    )
    max_history = custom_config["max_history"]
    return TrainingData(
        events=read_log(examples, max_history, query_features, settings["user_id"], in_memory),
        vocabulary=Vocabulary(
            counts=counts,
            item_features=read_item_features(catalogue, candidate_features, items),
            candidate_features=candidate_features,
            query_features=query_features,
            num_users=graph.vocabulary_size_by_name(USER_VOCABULARY) if settings["user_id"] else 0,
            max_history=max_history,
        ),
        hold_out=custom_config["hold_out"],
    )


def train(
    data: TrainingData,
    model_settings: ModelSettings,
    settings: TrainingSettings,
    seed: int,
    log_dir: str,
    checkpoint: Checkpoint | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> Trained:
    """Trains with early stopping on events held back and, if `settings.refit`, again on all events.

    A ranker is learned in between, from the events held back.

    Args:
        data: The data.
        model_settings: The towers' settings.
        settings: Training settings.
        seed: Of the first weights, the order of events and all noise.
        log_dir: Where TensorBoard's logs go.
        checkpoint: Where to save each pass and to go on from.
        strategy: How the work is shared among replicas; by default there is one. All workers come to the same model,
            but only the chief learns a ranker and logs.
    """
    strategy = strategy or tf.distribute.get_strategy()
    chief = distributed.is_chief(strategy)
    writer = tf.summary.create_file_writer(log_dir) if chief else tf.summary.create_noop_writer()

    def log(epoch: Epoch) -> None:
        with writer.as_default(step=int(epoch["epoch"])):
            for name in ("loss", "hit@10", "ndcg@10"):
                tf.summary.scalar(name, epoch[name])
        writer.flush()

    with strategy.scope():
        model = _compiled(data, model_settings, settings, seed)
    beginning = get_state(model)
    ranking = model_settings.ranking
    history = _fit_until_best(model, data, settings, seed, log, checkpoint, ranking.enabled or not settings.refit)
    trained = Trained(model, history)
    best = [weight.numpy() for weight in model.trainable_weights] if ranking.enabled else []
    if ranking.enabled and chief:
        unseen = _held_back(data, settings, ranking.queries)
        ranker, passes = fit_ranker(model, data.vocabulary.counts, unseen, ranking, seed)
        trained = Trained(model, history, ranker, passes)
    if settings.refit and data.events.size > 1:
        epochs = int(best_epoch(history, settings)["epoch"])
        # The same model again, for its steps are compiled already.
        set_state(model, beginning)
        average = _Average(settings.average)
        done = checkpoint.refit if checkpoint else 0
        if checkpoint and done:
            checkpoint.apply(model)
            average = _Average(settings.average, checkpoint.others("average"), done)
        others = settings.histories == "others"
        events = data.events.map(lambda part: with_other_items(part, part)) if others else data.events
        for epoch, loss, _ in _epochs(model, events, settings, seed, done, epochs):
            progress(f"refit on all events: epoch {epoch} of {epochs}, loss {loss:.3f}")
            average.add(model)
            if checkpoint:
                checkpoint.save(model, history, refit=epoch, average=average.weights, best=best)
        average.apply(model)
    return trained


def validate(
    data: TrainingData,
    model_settings: ModelSettings,
    settings: TrainingSettings,
    seed: int,
    on_epoch: Callable[[Epoch], None],
) -> list[Epoch]:
    """Trains once with early stopping on events held back, calling `on_epoch` after each pass; it may raise to stop."""
    model = _compiled(data, model_settings, settings, seed)
    return _fit_until_best(model, data, settings, seed, on_epoch, None, False)


def best_epoch(history: list[Epoch], settings: TrainingSettings) -> Epoch:
    """The first epoch with the best validation metric."""
    return max(history, key=lambda epoch: epoch[settings.stop_on])


def held_out(events: Events, hold_out: str, settings: TrainingSettings) -> np.ndarray:
    """Rows, ascending, of the events to validate on.

    Args:
        events: The training events.
        hold_out: `latest`: the latest ones. `last_of_user`: each user's last, as many users as are wanted. `any`:
            evenly spread by what they hold.
        settings: Says how many.
    """
    count = max(1, round(len(events) * settings.validation_fraction))
    if hold_out == "latest":
        return np.arange(len(events) - count, len(events))
    if hold_out == "last_of_user":
        last = len(events) - 1 - np.unique(events.user[::-1], return_index=True)[1]
        rows = last[np.argsort(events.user[last], kind="stable")]
    else:
        rows = np.argsort(content_hash(events), kind="stable")
    return np.sort(rows[:count])


def _compiled(
    data: TrainingData, model_settings: ModelSettings, settings: TrainingSettings, seed: int
) -> TwoTowerModel:
    """A new model, always with the same weights, built and ready to train."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    model = TwoTowerModel(model_settings, settings, data.vocabulary, seed)
    model.compile(optimizer=make_optimizer(settings), jit_compile=settings.jit_compile)
    model.compute_loss(data.events.first.columns())
    model.optimizer.build(model.trainable_variables)
    return model


def _fit_until_best(
    model: TwoTowerModel,
    data: TrainingData,
    settings: TrainingSettings,
    seed: int,
    on_epoch: Callable[[Epoch], None],
    checkpoint: Checkpoint | None,
    keep_best: bool,
) -> list[Epoch]:
    """Trains on all events but those held back, until the metric on these has not been better for `patience` passes.

    With `keep_best` the model ends with the average after the best pass.

    Returns:
        All passes.
    """
    events = data.events.map(lambda part: _split(part, data.hold_out, settings)[0])
    queries = _held_back(data, settings, settings.validation_queries)
    queries = queries.take(np.unique(np.linspace(0, len(queries) - 1, settings.validation_queries).astype(int)))
    history: list[Epoch] = []
    average = _Average(settings.average)
    best: list[np.ndarray] = []
    if checkpoint and checkpoint.history:
        history = checkpoint.history
        best = checkpoint.others("best")
        if not checkpoint.refit:
            checkpoint.apply(model)
            average = _Average(settings.average, checkpoint.others("average"), len(history))
    last = len(history) if _finished(history, settings) else settings.epochs
    if len(history) < last:
        progress(f"epoch {len(history) + 1} of at most {settings.epochs}")
    for epoch, loss, seconds in _epochs(model, events, settings, seed, len(history), last):
        average.add(model)
        trained = [weight.numpy() for weight in model.trainable_weights]
        average.apply(model)
        metrics = ranking_metrics(exact_ranks(model, queries))
        _assign(model, trained)
        history.append({"epoch": epoch, "loss": loss, "seconds": round(seconds, 3), **metrics})
        progress(
            f"epoch {epoch} of at most {settings.epochs}: loss {loss:.3f}, "
            f"validation hit@10 {metrics['hit@10']:.4f}, NDCG@10 {metrics['ndcg@10']:.4f}"
        )
        if keep_best and best_epoch(history, settings) is history[-1]:
            best = average.weights
        if checkpoint:
            checkpoint.save(model, history, average=average.weights, best=best)
        on_epoch(history[-1])
        if _finished(history, settings):
            break
    _assign(model, best)
    return history


def _held_back(data: TrainingData, settings: TrainingSettings, count: int) -> Events:
    """The events held back; of a log in parts about `count` of them."""
    return data.events.sample(lambda part: _split(part, data.hold_out, settings)[1], count)


def _split(part: Events, hold_out: str, settings: TrainingSettings) -> tuple[Events, Events]:
    """A part's events to train on and those held back, with the histories that they are learned from."""
    rows = held_out(part, hold_out, settings)
    kept = np.ones(len(part), bool)
    kept[rows] = len(part) == 1  # one event: nothing to validate on but itself
    events, queries = part.take(kept), part.take(rows)
    if settings.histories == "others":
        return with_other_items(events, events), with_other_items(queries, events)
    return events, queries


class _Average:
    """Exponential moving average of a model's weights over the passes, without bias to the first."""

    def __init__(self, decay: float, weights: list[np.ndarray] | None = None, passes: int = 0) -> None:
        self.weights = weights or []
        self._decay = decay
        self._passes = passes

    def add(self, model: TwoTowerModel) -> None:
        """Takes in the weights after one more pass."""
        current = [weight.numpy() for weight in model.trainable_weights]
        self._passes += 1
        kept = self._decay * (1 - self._decay ** (self._passes - 1)) / (1 - self._decay**self._passes)
        self.weights = [kept * old + (1 - kept) * new for old, new in zip(self.weights or current, current)]

    def apply(self, model: TwoTowerModel) -> None:
        """Gives the model the average."""
        _assign(model, self.weights)


def _assign(model: TwoTowerModel, weights: list[np.ndarray]) -> None:
    for weight, value in zip(model.trainable_weights, weights):
        weight.assign(value)


def _finished(history: list[Epoch], settings: TrainingSettings) -> bool:
    if not history:
        return False
    return len(history) - best_epoch(history, settings)["epoch"] >= settings.patience or len(history) >= settings.epochs


def _epochs(
    model: TwoTowerModel, events: Log, settings: TrainingSettings, seed: int, done: int, epochs: int
) -> Iterator[tuple[int, float, float]]:
    """Trains passes `done + 1` to `epochs`, yielding each one's number, mean loss and seconds."""
    for epoch in range(done, epochs):
        start = time.perf_counter()
        whole = batches(events, settings.batch_size, seed, epoch)
        result = model.fit(**distributed.shared(whole, model.distribute_strategy), epochs=1, verbose=0)
        loss = float(result.history["loss"][0])
        if not np.isfinite(loss):
            raise InputError(
                f"training diverged: the loss of epoch {epoch + 1} is {loss}; lower training.learning_rate (now "
                f"{settings.learning_rate:g})"
            )
        yield epoch + 1, loss, time.perf_counter() - start


def batches(log: Log, batch_size: int, seed: int, epoch: int) -> tf.data.Dataset:
    """Batches of the query tower's inputs, `item` and `weight`, gathered from columns in memory.

    The order is a function of seed and epoch, so that a resumed training goes on alike. A log in parts comes a part
    after the other, each shuffled.
    """

    def gathered() -> Iterator[dict[str, np.ndarray]]:
        chance = np.random.default_rng([seed, epoch])
        for number in chance.permutation(len(log.parts)):
            events = log.parts[number]()
            columns, order = events.columns(), chance.permutation(len(events))
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                yield {name: column[rows] for name, column in columns.items()}

    first = log.first.columns()
    signature = {name: tf.TensorSpec([None, *column.shape[1:]], column.dtype) for name, column in first.items()}
    options = tf.data.Options()
    # There is nothing to tune, and at the end of a pass the tuner's thread may keep it waiting for up to its period,
    # which doubles all the time: 10 s after 20.
    options.autotune.enabled = False
    dataset = tf.data.Dataset.from_generator(gathered, output_signature=signature)
    # Where Keras doesn't know how many there are it begins a step too many, which the model counts.
    count = tf.data.experimental.assert_cardinality(log.steps(batch_size))
    return dataset.apply(count).prefetch(2).with_options(options)


def exact_ranks(model: TwoTowerModel, events: Events, batch_size: int | None = None) -> np.ndarray:
    """Rank [N] int, 0 the best, of each event's item among all items that are not in its history."""
    embedding, bias = model.vocabulary_embeddings()
    batch_size = batch_size or max(1, min(1024, _SCORES // len(bias)))
    ranks = []
    for start in range(0, len(events), batch_size):
        batch = events.take(slice(start, start + batch_size))
        query = model.query_tower({name: tf.constant(column) for name, column in batch.inputs.items()})
        scores = (tf.matmul(query, embedding, transpose_b=True) + bias).numpy()
        true = scores[np.arange(len(batch)), batch.item - FIRST]
        history = batch.inputs["history"]
        row, place = np.nonzero(history > UNKNOWN)
        scores[row, history[row, place] - FIRST] = -np.inf
        # Not >, for which a diverged model's NaN would be the best of ranks.
        ranks.append((~(scores <= true[:, np.newaxis])).sum(axis=1))
    return np.concatenate(ranks)


def side_features(types: Mapping[str, str], graph: tft.TFTransformOutput, prefix: str) -> tuple[SideFeature, ...]:
    """What a tower must know of features, from their types and the vocabularies in `graph`."""
    return tuple(
        SideFeature(name, kind == "number", 0 if kind == "number" else graph.vocabulary_size_by_name(prefix + name))
        for name, kind in types.items()
    )


def read_vocabulary(graph: tft.TFTransformOutput) -> tuple[list[bytes], np.ndarray]:
    """The items of the training events, most frequent first, and their counts [N] int64."""
    vocabulary = graph.vocabulary_by_name(ITEM_VOCABULARY)
    counts = {}
    for line in graph.vocabulary_by_name(ITEM_COUNTS):
        count, item = line.split(b" ", 1)
        counts[item] = int(count)
    return vocabulary, np.array([counts[item] for item in vocabulary], np.int64)


def read_item_features(catalogue: str, features: tuple[SideFeature, ...], vocabulary: list[bytes]) -> ItemFeatures:
    """The side features of the vocabulary's items, in its order, from the transformed catalogue at URI `catalogue`."""
    types = {f.name: float if f.is_number else int for f in features}
    table = read_columns(catalogue, "catalogue", {"item_id": bytes, **types})
    row_of = {item: row for row, item in enumerate(scalars(table, "item_id"))}
    rows = np.array([row_of[item] for item in vocabulary])
    return ItemFeatures(
        {f.name: scalars(table, f.name) if f.is_number else pad(*ragged(table, f.name)) for f in features}
    ).take(rows)
