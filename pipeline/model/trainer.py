"""Trainer's `run_fn`: reads what Transform made, has the towers trained, exports them, and reports."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from components.errors import InputError
from components.trainer.component import TRAINING_REPORT
from pipeline.code import digest
from pipeline.model.checkpoint import Checkpoint
from pipeline.model.export import TIMESTAMP, export_towers
from pipeline.model.fit import Epoch, best_epoch, train
from pipeline.model.inputs import TrainingData, read_data
from pipeline.model.settings import ModelSettings, TrainingSettings
from pipeline.model.summary import as_text, summarize
from pipeline.model.workers import cluster, distributed


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
