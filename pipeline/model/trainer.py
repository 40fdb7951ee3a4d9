"""Trainer's `run_fn`: reads what Transform made, has the towers trained, exports them and reports."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from components.errors import InputError
from components.trainer.report import TRAINING_REPORT
from pipeline.code import digest
from pipeline.model.checkpoint import Checkpoint
from pipeline.model.choice import resolved
from pipeline.model.export import TIMESTAMP, export_towers
from pipeline.model.fit import Epoch, Trained, best_epoch, train, train_as_judged
from pipeline.model.inputs import TrainingData, read_data, read_vocabulary
from pipeline.model.job import Job
from pipeline.model.judged import found_out, read_judged, save_model, save_ranker
from pipeline.model.linear import Linear
from pipeline.model.settings import TrainerSettings
from pipeline.model.summary import as_text, summarize
from pipeline.model.workers import cluster, distributed


def run_fn(fn_args: Any) -> None:
    """Does the job of TFX's `FnArgs`, as `components.trainer` extends them."""
    run(Job.of(fn_args))


def run(job: Job) -> None:
    """Trains and exports the towers, on several workers if settings or environment say so."""
    if not cluster.train_on_workers(job):
        train_and_export(job, tf.distribute.get_strategy())


def train_and_export(job: Job, strategy: tf.distribute.Strategy) -> None:
    """Trains in this process, which may be one of several workers; only the chief of these writes.

    Args:
        job: The training.
        strategy: Says how the work is shared.
    """
    # What ships goes on from what was judged just as that went on from what it was validated with.
    found = job.judged or job.before
    judged = read_judged(found, job.settings) if found else None
    settings = judged.settings if judged else resolved(job.inputs, job.settings)
    job = job.model_copy(update={"settings": settings})
    data = read_data(job.inputs, settings, whole=not job.before)
    checkpoint = Checkpoint(_checkpoint_directory(job), distributed.is_chief(strategy))
    _check_alike(strategy, settings, data, checkpoint)
    if judged:
        before = job.before or (job.judged if settings.training.decay != "none" else "")
        only_new = job.inputs.examples if job.before else ""
        how = (before, only_new, settings.refit_linear)
        trained = train_as_judged(data, judged, settings.seed, checkpoint, strategy, *how)
    else:
        trained = train(data, settings.model, settings.training, settings.seed, job.model_run_dir, checkpoint, strategy)
    if not distributed.is_chief(strategy):
        return
    report = (_later_report if judged else _report)(data, settings, trained, strategy.num_replicas_in_sync)
    tf.io.gfile.makedirs(job.model_run_dir)
    if settings.keeps:
        items, _ = read_vocabulary(tft.TFTransformOutput(job.inputs.transform_graph))
        save_model(trained.model, trained.linear.parts if trained.linear else (), items, job.model_run_dir)
    _export(job, data, trained)
    with tf.io.gfile.GFile(os.path.join(job.model_run_dir, TRAINING_REPORT), "w") as file:
        json.dump(report, file, indent=2)
    if trained.ranker is not None:
        save_ranker(trained.ranker, job.model_run_dir)
    checkpoint.remove()


def _checkpoint_directory(job: Job) -> str | None:
    """A folder of this training's own, by its code, settings and data; None where nothing is to be saved."""
    settings = job.settings
    if not (settings.checkpoints and settings.training.checkpoints):
        return None
    # Another machine may have the same folders somewhere else.
    folder = f"{os.path.dirname(settings.checkpoints)}/"
    uris = [job.inputs.examples, job.inputs.catalogue, job.judged, job.before]
    inputs = [digest(__name__), settings.model_dump(mode="json", exclude={"checkpoints"})]
    inputs += [uri.removeprefix(folder) if uri else uri for uri in uris]
    name = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    return os.path.join(settings.checkpoints, name)


def _check_alike(
    strategy: tf.distribute.Strategy, settings: TrainerSettings, data: TrainingData, checkpoint: Checkpoint
) -> None:
    """Waits for all workers, which must be about to do the same: else they would train apart, or wait for ever."""
    config, done = settings.model_dump(mode="json"), (checkpoint.history, checkpoint.refit)
    same = [digest(__name__), config, data.events.size, data.vocabulary.num_items, done]
    if not distributed.meet(strategy, json.dumps(same, sort_keys=True, default=str)):
        raise InputError(
            "the workers have different code, settings, data or checkpoints: start all of them again, from the same "
            "version of the code, with the same config and the same shared folders"
        )


def _export(job: Job, data: TrainingData, trained: Trained) -> None:
    settings = job.settings
    export_towers(
        trained.model,
        tft.TFTransformOutput(job.inputs.transform_graph),
        tft.TFTransformOutput(job.inputs.catalogue_graph),
        data.vocabulary,
        {**settings.query_features, **({TIMESTAMP: TIMESTAMP} if settings.model.time_features else {})},
        list(settings.user_features),
        job.serving_model_dir,
        trained.ranker,
        settings.model.ranking.candidates,
        trained.linear.parts if trained.linear else (),
        settings.model.task_shares,
    )


def _report(data: TrainingData, settings: TrainerSettings, trained: Trained, workers: int) -> dict[str, Any]:
    """What the training came to, for people, for the report's page, and for the training of the model that is shipped;
    of a model that is not exported yet."""
    history, best = trained.history, best_epoch(trained.history, settings.training)
    return {
        "summary": (
            f"{_what(data, settings)}; "
            f"best of {len(history)} epochs: {best['epoch']} (validation hit@10 {best['hit@10']:.3f}, "
            f"NDCG@10 {best['ndcg@10']:.3f}){_linear_summary(trained.linear)}{_ranking_summary(trained.ranking)}"
        ),
        **_size(trained, workers),
        "settings": found_out(settings),
        "epochs": history,
        **({"linear": _linear_report(trained.linear)} if trained.linear else {}),
        **({"ranking": trained.ranking} if trained.ranker else {}),
    }


def _later_report(data: TrainingData, settings: TrainerSettings, trained: Trained, workers: int) -> dict[str, Any]:
    """What a training by what an earlier one has found out came to, which is not validated."""
    passes = best_epoch(trained.history, settings.training)["epoch"]
    return {
        "summary": f"{_what(data, settings)}; {passes} epochs, as an earlier training found",
        **_size(trained, workers),
        "settings": found_out(settings),
        "epochs": trained.history,
        **({"linear": _linear_report(trained.linear)} if trained.linear else {}),
    }


def _what(data: TrainingData, settings: TrainerSettings) -> str:
    return (
        f"{data.events.size:,} events, {data.vocabulary.num_items:,} items, "
        f"{settings.model.history}, {settings.training.loss.replace('_', '-')} softmax"
    )


def _size(trained: Trained, workers: int) -> dict[str, Any]:
    """The workers and the model's layers."""
    ranker_weights = trained.ranker.trainable_weights if trained.ranker else []
    layers = summarize([*trained.model.trainable_weights, *ranker_weights])
    logging.getLogger(__name__).info("the model:\n%s", as_text(layers))
    return {"workers": workers, "parameters": sum(part["parameters"] for part in layers), "layers": layers}


def _linear_summary(linear: Linear | None) -> str:
    """What the linear part did for the towers, if it was tried."""
    if linear is None:
        return ""
    if not linear.parts:
        return "; linear part: no gain, left out"
    before, after = (linear.metrics[name]["ndcg@10"] for name in ("towers", "together"))
    shares = " and ".join(f"{part.share:g} {part.name}" for part in linear.parts)
    return f"; linear part ({shares}): NDCG@10 {before:.4f} to {after:.4f}"


def _linear_report(linear: Linear) -> dict[str, Any]:
    return {"shares": {part.name: part.share for part in linear.parts}, "ease": linear.ease._asdict(), **linear.metrics}


def _ranking_summary(passes: list[Epoch]) -> str:
    """What the second stage did for the retrieval, if there is one."""
    if not passes:
        return ""
    before, after = passes[0]["ndcg@10"], max(epoch["ndcg@10"] for epoch in passes)
    return f"; ranking: NDCG@10 {before:.4f} to {after:.4f}" if after > before else "; ranking: no gain, left out"
