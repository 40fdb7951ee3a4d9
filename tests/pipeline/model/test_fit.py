"""Fitting the towers: passes, their average, early stopping, the refit, and going on after a kill."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipeline.model import fit
from pipeline.model.checkpoint import Checkpoint
from pipeline.model.inputs import TrainingData
from pipeline.model.preprocessing import FIRST
from pipeline.model.reading import Events, Log, read_log
from pipeline.model.settings import ModelSettings, RankingSettings, TrainingSettings
from pipeline.model.towers import ItemFeatures, SideFeature, Vocabulary
from pipeline.model.transformer import AT, OF, SEQUENCES
from pipeline.model.validation import exact_ranks, held_back, ranking_metrics
from tests.pipeline.model.tiny_data import ITEMS, followers, some_events, two_tasks, write_log

HISTORY = 3
GENRES = SideFeature("genres", False, 9)


def items_of(batches: tf.data.Dataset) -> list[int]:
    return [item for batch in batches for item in batch["item"].numpy().tolist()]


@pytest.mark.slow
@pytest.mark.smoke
def test_batches_are_a_function_of_seed_and_epoch() -> None:
    some = some_events([1] * 20, list(range(2, 22)))

    def order(seed: int, epoch: int) -> list[int]:
        return items_of(fit.batches(Log.of(some), 8, seed, lambda: epoch))

    assert sorted(order(1, 0)) == list(range(2, 22))
    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    epochs = iter([0, 1, 0])
    every = fit.batches(Log.of(some), 8, 1, lambda: next(epochs))
    assert [items_of(every) for _ in range(3)] == [order(1, 0), order(1, 1), order(1, 0)]


@pytest.mark.slow
@pytest.mark.smoke
def test_passes_over_parts_have_each_event_once_in_an_order_of_seed_and_epoch(tmp_path: Path) -> None:
    logs = [
        read_log(write_log(tmp_path / str(shuffle), shuffle=shuffle), HISTORY, (GENRES,), in_memory=100)
        for shuffle in (1, 2)
    ]

    def items(log: Log, seed: int, epoch: int) -> list[int]:
        return items_of(fit.batches(log, 16, seed, lambda: epoch))

    assert logs[0].steps(16) == len(list(fit.batches(logs[0], 16, 1, lambda: 0)))
    first = items(logs[0], 1, 0)
    assert first == items(logs[0], 1, 0) == items(logs[1], 1, 0)
    assert first != items(logs[0], 1, 1)
    assert first != items(logs[0], 2, 0)
    assert sorted(first) == sorted(itertools.chain(*(part().item.tolist() for part in logs[0].parts)))


@pytest.mark.slow
@pytest.mark.smoke
def test_sequences_have_each_event_once_in_an_order_of_seed_and_epoch(tmp_path: Path) -> None:
    log = read_log(write_log(tmp_path), HISTORY, (GENRES,), in_memory=100)

    def batches(seed: int, epoch: int) -> tf.data.Dataset:
        return fit.sequence_batches(log, 5, 4, seed, lambda: epoch)

    first = items_of(batches(1, 0))
    assert first == items_of(batches(1, 0))
    assert first != items_of(batches(1, 1))
    assert first != items_of(batches(2, 0))
    assert sorted(first) == sorted(itertools.chain(*(part().item.tolist() for part in log.parts)))
    made = list(batches(1, 0))
    assert len(made) == int(batches(1, 0).cardinality())
    assert {"item", "weight", "query_genres", SEQUENCES, OF, AT} == set(made[0])
    [whole] = fit.sequence_batches(read_log(write_log(tmp_path / "again"), HISTORY), 5, None, 1, lambda: 0)
    assert len(whole["item"]) == 400, "as many as a step should have are more than there are"
    assert all(batch[SEQUENCES].shape[0] <= 4 and batch[SEQUENCES].shape[1] <= 5 for batch in made)


@pytest.mark.slow
@pytest.mark.smoke
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


# ---------------------------------------------------------------- whole trainings

NOISY = {"dim": 8, "history_dropout": 0.3, "dropout": 0.3}


def settings_of(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**{"epochs": 4, "patience": 9, "batch_size": 32, "learning_rate": 0.05, **changes})


def trains(test: Any) -> Any:
    """Marks a test that trains, for which TensorFlow makes a graph in a second or two."""
    return pytest.mark.slow(pytest.mark.smoke(test))


Weights = Callable[..., list[np.ndarray]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Trains the towers, and a ranker if asked for, and returns all weights that come of it."""

    def train(
        refit: bool = True, ranking: bool = False, checkpoint: Checkpoint | None = None, history: str = "pooling"
    ) -> list[np.ndarray]:
        trained = fit.train(
            followers(),
            ModelSettings(**NOISY, history=history, ranking=RankingSettings(enabled=ranking)),
            settings_of(refit=refit, learning_rate=0.01, batch_sequences=2),
            1,
            str(tmp_path_factory.mktemp("logs")),
            checkpoint,
        )
        assert len(trained.history) == 4
        return trained.model.get_weights() + (trained.ranker.get_weights() if trained.ranker else [])

    return train


@pytest.fixture(scope="module")
def undisturbed(weights: Weights) -> Weights:
    """What a training that is not stopped comes to; each is done once."""
    return functools.cache(weights)


@pytest.mark.slow
@pytest.mark.smoke
@trains
def test_training_is_repeatable(weights: Weights, undisturbed: Weights) -> None:
    for one, other in zip(undisturbed(True, False), weights(True, False)):
        assert np.array_equal(one, other)


@trains
def test_training_from_sequences_is_repeatable(weights: Weights) -> None:
    for one, other in zip(weights(history="transformer"), weights(history="transformer")):
        assert np.array_equal(one, other)


@pytest.mark.slow
@pytest.mark.smoke
@trains
def test_compiled_steps_learn_the_same_from_sequences(tmp_path: Path) -> None:
    model = ModelSettings(dim=8, history="transformer", dropout=0)

    def losses(compiled: bool) -> list[float]:
        settings = settings_of(epochs=3, patience=9, loss="full", jit_compile=compiled, refit=False)
        return [epoch["loss"] for epoch in fit.train(followers(), model, settings, 1, str(tmp_path)).history]

    np.testing.assert_allclose(losses(True), losses(False), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.smoke
@trains
@pytest.mark.parametrize("stop_after", [2, 4, 5])
def test_a_stopped_training_with_a_decaying_rate_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    settings = settings_of(epochs=4, patience=9, decay="cosine")

    def weights(checkpoint: Checkpoint) -> list[np.ndarray]:
        trained = fit.train(followers(), ModelSettings(dim=4), settings, 1, str(tmp_path), checkpoint)
        return [weight.numpy() for weight in trained.model.trainable_weights]

    expected, save, saved = weights(Checkpoint(None)), Checkpoint.save, []

    def killed(self: Checkpoint, *args: Any, **kwargs: Any) -> None:
        save(self, *args, **kwargs)
        saved.append(1)
        if len(saved) == stop_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            weights(Checkpoint(str(tmp_path / "checkpoint")))
    for one, other in zip(expected, weights(Checkpoint(str(tmp_path / "checkpoint")))):
        assert np.array_equal(one, other)


@pytest.mark.slow
@pytest.mark.smoke
@trains
@pytest.mark.parametrize(
    ("refit", "stop_after", "ranking"), [(True, 2, False), (True, 5, False), (False, 2, False), (True, 5, True)]
)
def test_a_stopped_training_goes_on_to_the_same_weights(
    weights: Weights,
    undisturbed: Weights,
    tmp_path: Path,
    refit: bool,
    stop_after: int,
    ranking: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = undisturbed(refit, ranking)
    save, saved = Checkpoint.save, []

    def killed(self: Checkpoint, *args: Any, **kwargs: Any) -> None:
        save(self, *args, **kwargs)
        saved.append(1)
        if len(saved) == stop_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        weights(refit, ranking, Checkpoint(str(tmp_path)))
    monkeypatch.setattr(
        Checkpoint, "save", lambda self, *args, **kwargs: saved.append(1) or save(self, *args, **kwargs)
    )
    resumed = weights(refit, ranking, Checkpoint(str(tmp_path)))
    # As many passes as the undisturbed training, the stopped one among them.
    best = fit.best_epoch(Checkpoint(str(tmp_path)).history, TrainingSettings())["epoch"]
    assert best == 3
    assert len(saved) == 4 + (best if refit else 0)
    for one, other in zip(expected, resumed):
        assert np.array_equal(one, other)


@pytest.mark.slow
@pytest.mark.smoke
@trains
def test_validation_calls_back_and_can_be_stopped() -> None:
    seen: list[fit.Epoch] = []
    model, settings = ModelSettings(dim=4), settings_of(epochs=3)
    assert fit.validate(followers(), model, settings, 1, seen.append) == seen
    assert [epoch["epoch"] for epoch in seen] == [1, 2, 3]

    def stop(epoch: fit.Epoch) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        fit.validate(followers(), model, settings, 1, stop)


@pytest.mark.slow
@pytest.mark.smoke
@trains
def test_a_log_in_parts_trains_alike_each_time(tmp_path: Path) -> None:
    model, settings = ModelSettings(dim=8, dropout=0, history_dropout=0), settings_of(batch_size=8)
    one, other = (fit.train(followers(parts=3), model, settings, 1, str(tmp_path)) for _ in range(2))
    assert [epoch["loss"] for epoch in one.history] == [epoch["loss"] for epoch in other.history]
    for first, second in zip(one.model.get_weights(), other.model.get_weights()):
        assert np.array_equal(first, second)
    # Half of the events held back have a history, which tells their item; who guesses has 0.58.
    assert one.history[-1]["ndcg@10"] > 0.75


@pytest.mark.slow
@pytest.mark.smoke
@trains
def test_training_stops_early_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    # So large a step ruins the model, so that a later epoch is not better for long.
    settings = settings_of(epochs=50, patience=2, learning_rate=3.0, refit=False)
    data = followers()
    trained = fit.train(data, ModelSettings(dim=8), settings, 1, str(tmp_path))
    best = fit.best_epoch(trained.history, settings)
    assert len(trained.history) == best["epoch"] + 2 < 50
    found = ranking_metrics(exact_ranks(trained.model, held_back(data, settings, 100)))
    assert found == {name: best[name] for name in found}


@pytest.mark.slow
@pytest.mark.smoke
@trains
def test_a_rate_that_decays_is_half_a_cosine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = settings_of(epochs=4, patience=9, learning_rate=0.02, decay="cosine", refit=False)
    settings = settings.resolved("pooling", 6)
    data, rates = followers(), []
    model = fit._compiled(data, ModelSettings(dim=4), settings, 1)
    fitted = type(model).fit

    def fit_(self: Any, *args: Any, **kwargs: Any) -> Any:
        rates.append(float(self.optimizer.learning_rate))
        return fitted(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "fit", fit_)
    assert [epoch for epoch, _, _ in fit._epochs(model, data.events, settings, 1, 0, 4)] == [1, 2, 3, 4]
    assert rates == pytest.approx([0.02, 0.01 * (1 + 0.5**0.5), 0.01, 0.01 * (1 - 0.5**0.5)])
    # The refit makes the last quarter of the passes that were best, at the rates of these, from where the first ended.
    rates.clear()
    trained = fit.train(data, ModelSettings(dim=4), settings.model_copy(update={"refit": True}), 1, str(tmp_path))
    assert len(trained.history) == 4
    best = int(fit.best_epoch(trained.history, settings)["epoch"])
    assert rates[4:] == [rates[best - 1]]
    again = fit.train(data, ModelSettings(dim=4), settings, 1, str(tmp_path))
    beginning = fit._compiled(data, ModelSettings(dim=4), settings, 1)

    def apart(one: Any, other: Any) -> float:
        weights = zip(one.trainable_weights, other.trainable_weights)
        return float(np.concatenate([np.abs(first - second).ravel() for first, second in weights]).mean())

    assert 0 < apart(trained.model, again.model) < 0.5 * apart(again.model, beginning)


@pytest.mark.slow
@pytest.mark.smoke
@trains
@pytest.mark.parametrize("events_left", [1, 2])
def test_so_few_events_still_train(events_left: int, tmp_path: Path) -> None:
    few = some_events([1] * events_left, [FIRST] * events_left)
    vocabulary = Vocabulary(np.array([1]), ItemFeatures({}), (), (), num_users=0, max_history=2)
    data = TrainingData(Log.of(few), vocabulary, "latest")
    trained = fit.train(data, ModelSettings(dim=2), TrainingSettings(epochs=1), 1, str(tmp_path))
    assert exact_ranks(trained.model, few).tolist() == [0] * events_left
    assert len(trained.history) == 1


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("settings", [{}, {"normalize": True}, {"history": "transformer"}], ids=str)
def test_each_task_learns_what_its_own_events_show(settings: dict[str, Any], tmp_path: Path) -> None:
    """After each item the first task's events have another one than the second's."""
    data = two_tasks()
    tasks = {"first": {"events": ["a"]}, "second": {"events": ["b"]}}
    model_settings = ModelSettings(
        **{"dim": 8, "attention_heads": 2, "dropout": 0, "history_dropout": 0, "tasks": tasks, **settings},
        linear={"enabled": False},
    )
    training = TrainingSettings(
        epochs=12, patience=12, batch_size=32, batch_sequences=32, learning_rate=0.02, l2=0, refit=False
    )
    model = fit.train(data, model_settings, training, 1, str(tmp_path)).model
    histories = {"history": FIRST + tf.range(ITEMS)[:, tf.newaxis]}
    embedding, bias = model.vocabulary_embeddings()

    def best(*shares: float) -> list[list[int]]:
        """The two best items after each of the six."""
        query = model.query_tower(histories, shares=tf.constant([shares] * ITEMS))
        return tf.math.top_k(tf.matmul(query, embedding, transpose_b=True) + bias, 2).indices.numpy().tolist()

    assert [items[0] for items in best(1.0, 0.0)] == [(n + 1) % ITEMS for n in range(ITEMS)]
    assert [items[0] for items in best(0.0, 1.0)] == [(n + 3) % ITEMS for n in range(ITEMS)]
    # As both matter by default, both are wanted then; and it is by this that passes are compared.
    assert [set(items) for items in best(0.5, 0.5)] == [{(n + 1) % ITEMS, (n + 3) % ITEMS} for n in range(ITEMS)]
    [events] = [part() for part in data.events.parts]
    asked, best_of_all = events.take(slice(100, 120)), best(0.5, 0.5)
    before = asked.inputs["history"][:, 0] - FIRST
    expected = [best_of_all[row].index(item) for row, item in zip(before, asked.item - FIRST)]
    assert exact_ranks(model, asked).tolist() == expected


@trains
def test_what_is_rejected_after_an_item_is_ranked_lower_there(tmp_path: Path) -> None:
    """After item n comes n + 1; in half of the log n + 2 is rejected there as well."""
    data = followers()
    [events] = [part() for part in data.events.parts]
    rejected = events.take(events.inputs["history"][:, 0] > 0)
    item = FIRST + (rejected.inputs["history"][:, 0] - FIRST + 2) % ITEMS
    both = {name: np.concatenate([events.inputs[name], rejected.inputs[name]]) for name in events.inputs}
    order = np.argsort(np.concatenate([events.moment, rejected.moment]), kind="stable")
    together = Events(
        np.arange(len(order)),
        np.concatenate([events.user, rejected.user])[order],
        np.concatenate([events.item, item.astype(np.int32)])[order],
        np.concatenate([events.weight, -rejected.weight])[order],
        np.concatenate([events.moment, rejected.moment])[order],
        {name: column[order] for name, column in both.items()},
    )

    def mean_score(log: Log) -> float:
        settings = settings_of(epochs=6, refit=False)
        model = ModelSettings(dim=8, linear={"enabled": False})
        trained = fit.train(dataclasses.replace(data, events=log), model, settings, 1, str(tmp_path)).model
        embedding, bias = (part.numpy() for part in trained.vocabulary_embeddings())
        query = trained.query_tower({"history": tf.constant(rejected.inputs["history"])}).numpy()
        scores = query @ embedding.T + bias
        logits = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return float(logits[np.arange(len(item)), item - FIRST].mean())

    assert mean_score(Log.of(together)) < mean_score(data.events) - 0.5
