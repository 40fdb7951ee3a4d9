"""Fitting the towers: passes, their average, early stopping, the refit, and going on after a kill."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipeline.model import fit, inputs, trainer, validation
from pipeline.model.checkpoint import Checkpoint
from pipeline.model.job import Job
from pipeline.model.preprocessing import FIRST
from pipeline.model.reading import Log, read_log
from pipeline.model.settings import ModelSettings, TrainingSettings
from pipeline.model.towers import ItemFeatures, SideFeature, Vocabulary
from tests.pipeline.model.small_log import ITEMS, fn_args, rank
from tests.pipeline.model.tiny_data import some_events, write_log

HISTORY = 3
GENRES = SideFeature("genres", False, 9)
pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def test_batches_are_a_function_of_seed_and_epoch() -> None:
    some = some_events([1] * 20, list(range(2, 22)))

    def order(seed: int, epoch: int) -> list[int]:
        return [item for batch in fit.batches(Log.of(some), 8, seed, epoch) for item in batch["item"].numpy().tolist()]

    assert sorted(order(1, 0)) == list(range(2, 22))
    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_passes_over_parts_have_each_event_once_in_an_order_of_seed_and_epoch(tmp_path: Path) -> None:
    logs = [
        read_log(write_log(tmp_path / str(shuffle), shuffle=shuffle), HISTORY, (GENRES,), in_memory=100)
        for shuffle in (1, 2)
    ]

    def items(log: Log, seed: int, epoch: int) -> list[int]:
        return [item for batch in fit.batches(log, 16, seed, epoch) for item in batch["item"].numpy().tolist()]

    assert logs[0].steps(16) == len(list(fit.batches(logs[0], 16, 1, 0)))
    first = items(logs[0], 1, 0)
    assert first == items(logs[0], 1, 0) == items(logs[1], 1, 0)
    assert first != items(logs[0], 1, 1)
    assert first != items(logs[0], 2, 0)
    assert sorted(first) == sorted(itertools.chain(*(part().item.tolist() for part in logs[0].parts)))


@pytest.mark.parametrize(
    ("refit", "stop_after", "ranking"), [(True, 2, False), (True, 5, False), (False, 2, False), (True, 5, True)]
)
def test_a_stopped_training_goes_on_to_the_same_weights(
    workspace: Path, tmp_path: Path, refit: bool, stop_after: int, ranking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = {"history_dropout": 0.3, "dropout": 0.3}
    args = fn_args(workspace, tmp_path, {**noise, "ranking": {"enabled": ranking}}, epochs=4, patience=9, refit=refit)
    job = Job.of(args)
    data = inputs.read_data(job.inputs, job.settings)

    def weights(checkpoint: Checkpoint | None) -> list[np.ndarray]:
        trained = fit.train(
            data,
            job.settings.model,
            job.settings.training,
            1,
            str(tmp_path / "logs"),
            checkpoint,
        )
        assert len(trained.history) == 4
        return trained.model.get_weights() + (trained.ranker.get_weights() if trained.ranker else [])

    undisturbed = weights(None)
    save, saved = Checkpoint.save, []

    def killed(self: Checkpoint, *args: Any, **kwargs: Any) -> None:
        save(self, *args, **kwargs)
        saved.append(1)
        if len(saved) == stop_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        weights(Checkpoint(str(tmp_path / "state")))
    monkeypatch.setattr(
        Checkpoint, "save", lambda self, *args, **kwargs: saved.append(1) or save(self, *args, **kwargs)
    )
    resumed = weights(Checkpoint(str(tmp_path / "state")))
    # As many passes as the undisturbed training, the stopped one among them.
    best = fit.best_epoch(Checkpoint(str(tmp_path / "state")).history, TrainingSettings())["epoch"]
    assert len(saved) == 4 + (best if refit else 0)
    for one, other in zip(undisturbed, resumed):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("passes", "expected"), [(1, 10.0), (2, (0.5 * 10 + 20) / 1.5), (3, (0.25 * 10 + 0.5 * 20 + 60) / 1.75)]
)
def test_the_average_is_exponential_and_unbiased(passes: int, expected: float) -> None:
    weight = tf.Variable(0.0)
    average = fit.MovingAverage(0.5)
    for value in (10.0, 20.0, 60.0)[:passes]:
        weight.assign(value)
        average.add(SimpleNamespace(trainable_weights=[weight]))
    average.apply(SimpleNamespace(trainable_weights=[weight]))
    assert float(weight) == pytest.approx(expected)


def test_validation_calls_back_and_can_be_stopped(workspace: Path, tmp_path: Path) -> None:
    args = fn_args(workspace, tmp_path)
    job = Job.of(args)
    data = inputs.read_data(job.inputs, job.settings)
    model, settings = ModelSettings(dim=4), TrainingSettings(epochs=3, patience=3, batch_size=32)
    seen: list[fit.Epoch] = []
    assert fit.validate(data, model, settings, 1, seen.append) == seen
    assert len(seen) == 3

    def stop(epoch: fit.Epoch) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        fit.validate(data, model, settings, 1, stop)


def test_training_is_repeatable(workspace: Path, trained: Path, tmp_path: Path) -> None:
    trainer.run_fn(fn_args(workspace, tmp_path))
    first, second = (tf.saved_model.load(str(root / "model")) for root in (trained, tmp_path))
    _, a = rank(first, [[ITEMS[0]], []])
    _, b = rank(second, [[ITEMS[0]], []])
    assert np.array_equal(a, b)


def test_a_log_in_parts_trains_alike_each_time(workspace: Path, tmp_path: Path) -> None:
    reports = []
    for name in ("one", "other"):
        trainer.run_fn(fn_args(workspace, tmp_path / name, epochs=2, events_in_memory=100))
        reports.append(json.loads((tmp_path / name / "run" / "training.json").read_text()))
    metrics = [[(epoch["loss"], epoch["ndcg@10"]) for epoch in report["epochs"]] for report in reports]
    assert reports[0]["summary"].startswith("248 events, 6 items")
    assert metrics[0] == metrics[1]
    # Histories tell these items; who guesses has 0.49 with six of them.
    assert reports[0]["epochs"][-1]["ndcg@10"] > 0.6


def test_training_stops_early_and_keeps_the_best_epoch(workspace: Path, tmp_path: Path) -> None:
    # So large a step ruins the model, so that a later epoch is not better for long.
    trainer.run_fn(fn_args(workspace, tmp_path, epochs=50, patience=1, learning_rate=3.0))
    report = json.loads((tmp_path / "run" / "training.json").read_text())
    assert len(report["epochs"]) < 50


@pytest.mark.parametrize("events_left", [1, 2])
@pytest.mark.parametrize("hold_out", ["latest", "last_of_user", "any"])
def test_so_few_events_still_train(events_left: int, hold_out: str, tmp_path: Path) -> None:
    few = some_events([1] * events_left, [FIRST] * events_left)
    vocabulary = Vocabulary(np.array([1]), ItemFeatures({}), (), (), num_users=0, max_history=2)
    data = inputs.TrainingData(Log.of(few), vocabulary, hold_out)
    trained = fit.train(data, ModelSettings(dim=2), TrainingSettings(epochs=1), 1, str(tmp_path))
    assert validation.exact_ranks(trained.model, few).tolist() == [0] * events_left
    assert len(trained.history) == 1
