"""Fits the two towers: passes over the events, with early stopping, and again over all of them.

The number of passes is chosen on training events that are held back, by a metric from exact scores of all items; the
test split never comes near this module.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import tensorflow as tf
import tf_keras as keras

from components.closed_forms.linear import Part
from components.errors import InputError
from components.progress import progress
from pipeline.model.checkpoint import Checkpoint, get_state, set_state
from pipeline.model.fit_ranker import fit_ranker
from pipeline.model.inputs import TrainingData
from pipeline.model.judged import Judged, go_on
from pipeline.model.linear import Linear, learn, read_all_pairs, read_pairs, refitted, with_shares
from pipeline.model.optimizers import make_optimizer
from pipeline.model.ranker import Ranker
from pipeline.model.reading import Events, Log, with_other_items
from pipeline.model.sequences import Sequences, batches_of, cut, in_few_shapes
from pipeline.model.settings import ModelSettings, TrainingSettings
from pipeline.model.towers import TwoTowerModel
from pipeline.model.transformer import SEQUENCES
from pipeline.model.validation import exact_ranks, held_back, ranking_metrics, split
from pipeline.model.workers import distributed

_PLACES = 6_000
"""Events a step, when they are learned from whole sequences."""

Epoch = dict[str, float]
"""What one pass came to: `epoch` from 1, `loss`, `seconds`, and on the validation events `hit@10` and `ndcg@10`."""


@dataclass(frozen=True)
class Trained:
    """What a training comes to."""

    model: TwoTowerModel
    history: list[Epoch]
    """The epochs of the first training."""
    ranker: Ranker | None = None
    linear: Linear | None = None
    """The linear part, where it was tried."""
    ranking: list[Epoch] = field(default_factory=list)
    """What the ranker's passes came to; epoch 0 is the retrieval alone."""


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

    Linear part and ranker are learned in between, from the events held back.

    Args:
        data: The data.
        model_settings: The towers' settings.
        settings: Training settings.
        seed: Of the first weights, the order of events and all noise.
        log_dir: Where TensorBoard's logs go.
        checkpoint: Where to save each pass and to go on from.
        strategy: How the work is shared among replicas; by default there is one. All workers come to the same model,
            but only the chief learns a linear part and a ranker, and logs.
    """
    model_settings = model_settings.resolved()
    settings = settings.resolved(model_settings.history, data.vocabulary.num_items)
    strategy = strategy or tf.distribute.get_strategy()
    checkpoint = checkpoint or Checkpoint(None)
    chief = distributed.is_chief(strategy)
    with strategy.scope():
        model = _compiled(data, model_settings, settings, seed)
    beginning = get_state(model)
    linear, ranking = model_settings.linear, model_settings.ranking
    with_linear = linear.enabled and model_settings.history != "none" and data.vocabulary.max_history > 0
    keep_best = with_linear or ranking.enabled or not settings.refit or settings.decay != "none"
    history = _fit_until_best(model, data, settings, seed, _tensorboard(log_dir, chief), checkpoint, keep_best)
    trained = Trained(model, history)
    best = [weight.numpy() for weight in model.trainable_weights] if keep_best else []
    if with_linear and chief:
        pairs = read_pairs(data.events.map(lambda part: split(part, data.hold_out, settings)[0]), linear.max_events)
        trained = replace(trained, linear=learn(model, pairs, held_back(data, settings, linear.queries), linear))
    if ranking.enabled and chief:
        unseen, parts = held_back(data, settings, ranking.queries), trained.linear.parts if trained.linear else ()
        ranker, passes = fit_ranker(model, data.vocabulary.counts, unseen, ranking, seed, parts)
        trained = replace(trained, ranker=ranker, ranking=passes)
    if settings.refit and data.events.size > 1:
        # Where the learning rate decays the model begins where it is and makes the last quarter of the passes again:
        # what the events held back add is little beside what it would cost to learn all anew.
        first = 0 if settings.decay == "none" else before_last_quarter(history, settings)
        if settings.decay == "none":
            set_state(model, beginning)  # the same model again, for its steps are compiled already
        _refit(model, data.events, settings, seed, history, checkpoint, best, first)
        if trained.linear is not None:
            pairs, size = read_pairs(data.events, linear.max_events), (data.vocabulary.num_items, model.max_history)
            trained = replace(trained, linear=refitted(trained.linear, pairs, *size, linear))
    return trained


def train_as_judged(
    data: TrainingData,
    judged: Judged,
    seed: int,
    checkpoint: Checkpoint | None = None,
    strategy: tf.distribute.Strategy | None = None,
    before: str = "",
    only_new: str = "",
    refit_linear: bool = False,
) -> Trained:
    """Trains on all events, or on those that are new, by what an earlier training has found out, without validation.

    Args:
        data: The data.
        judged: The earlier training.
        seed: As for `train`.
        checkpoint: Likewise.
        strategy: Likewise.
        before: URI of the run of a training to go on from, with the last quarter of its passes; empty to begin anew
            and to make all.
        only_new: URI of the transformed events, if they are but those that came since; the linear part is then that of
            before.
        refit_linear: Whether it is fitted to all events, those of before too, all the same.

    Returns:
        The new model with the earlier training's passes and second stage.
    """
    model_settings, settings = judged.settings.model, judged.settings.training
    strategy = strategy or tf.distribute.get_strategy()
    first = 0
    parts: tuple[Part, ...] = ()
    with strategy.scope():
        model = _compiled(data, model_settings, settings, seed)
        if before:
            parts = go_on(model, before, data.vocabulary.num_items)
            first = before_last_quarter(judged.epochs, settings)
    _refit(model, data.events, settings, seed, judged.epochs, checkpoint or Checkpoint(None), [], first)
    trained = Trained(model, judged.epochs, judged.ranker)
    if judged.ease is None or not distributed.is_chief(strategy):
        return trained
    if only_new and not refit_linear:
        return replace(trained, linear=Linear(parts, judged.ease, {}))
    progress("fitting the linear part")
    most, size = model_settings.linear.max_events, data.vocabulary.num_items
    pairs = read_all_pairs(only_new, most) if only_new else read_pairs(data.events, most)
    parts = with_shares(judged.shares, pairs, size, model.max_history, judged.ease, model_settings.linear)
    return replace(trained, linear=Linear(parts, judged.ease, {}))


def validate(
    data: TrainingData,
    model_settings: ModelSettings,
    settings: TrainingSettings,
    seed: int,
    on_epoch: Callable[[Epoch], None],
) -> list[Epoch]:
    """Trains once with early stopping on events held back, calling `on_epoch` after each pass; it may raise to stop."""
    settings = settings.resolved(model_settings.resolved().history, data.vocabulary.num_items)
    model = _compiled(data, model_settings, settings, seed)
    return _fit_until_best(model, data, settings, seed, on_epoch, Checkpoint(None), False)


def best_epoch(history: list[Epoch], settings: TrainingSettings) -> Epoch:
    """The first epoch with the best validation metric."""
    return max(history, key=lambda epoch: epoch[settings.stop_on])


def before_last_quarter(history: list[Epoch], settings: TrainingSettings) -> int:
    """The pass after which the last quarter of those up to the best one begins."""
    last = int(best_epoch(history, settings)["epoch"])
    return last - math.ceil(last / 4)


def _compiled(
    data: TrainingData, model_settings: ModelSettings, settings: TrainingSettings, seed: int
) -> TwoTowerModel:
    """A new model, always with the same weights, built and ready to train."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    negatives = data.events.negatives > 0
    model = TwoTowerModel(model_settings, settings, data.vocabulary, seed, negatives, data.may_repeat)
    model.compile(optimizer=make_optimizer(settings), jit_compile=bool(settings.jit_compile))
    model.compute_loss(data.events.first.columns())
    model.optimizer.build(model.trainable_variables)
    return model


def _fit_until_best(
    model: TwoTowerModel,
    data: TrainingData,
    settings: TrainingSettings,
    seed: int,
    on_epoch: Callable[[Epoch], None],
    checkpoint: Checkpoint,
    keep_best: bool,
) -> list[Epoch]:
    """Trains on all events but those held back, until the metric on these has not been better for `patience` passes.

    With `keep_best` the model ends with the average after the best pass.

    Returns:
        All passes.
    """
    events = data.events.map(lambda part: split(part, data.hold_out, settings)[0])
    queries = held_back(data, settings, settings.validation_queries)
    queries = queries.take(np.unique(np.linspace(0, len(queries) - 1, settings.validation_queries).astype(int)))
    history, best = list(checkpoint.history), checkpoint.others("best")
    average = _resumed(model, checkpoint, settings, 0 if checkpoint.refit else len(history))
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
        checkpoint.save(model, history, average=average.weights, best=best)
        on_epoch(history[-1])
        if _finished(history, settings):
            break
    _assign(model, best)
    return history


def _refit(
    model: TwoTowerModel,
    events: Log,
    settings: TrainingSettings,
    seed: int,
    history: list[Epoch],
    checkpoint: Checkpoint,
    best: list[np.ndarray],
    first: int = 0,
) -> None:
    """Trains on all events, from the pass after `first` to the best of `history`, which is saved with each, as `best`
    is."""
    average = _resumed(model, checkpoint, settings, checkpoint.refit)
    if settings.histories == "others":
        events = events.map(lambda part: with_other_items(part, part))
    last = int(best_epoch(history, settings)["epoch"])
    for epoch, loss, _ in _epochs(model, events, settings, seed, first + checkpoint.refit, last):
        progress(f"refit on all events: epoch {epoch - first} of {last - first}, loss {loss:.3f}")
        average.add(model)
        checkpoint.save(model, history, refit=epoch - first, average=average.weights, best=best)
    average.apply(model)


def _tensorboard(log_dir: str, chief: bool) -> Callable[[Epoch], None]:
    """Logs passes for TensorBoard, if this is the chief."""
    writer = tf.summary.create_file_writer(log_dir) if chief else tf.summary.create_noop_writer()

    def log(epoch: Epoch) -> None:
        with writer.as_default(step=int(epoch["epoch"])):
            for name in ("loss", "hit@10", "ndcg@10"):
                tf.summary.scalar(name, epoch[name])
        writer.flush()

    return log


class MovingAverage:
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


def _resumed(model: TwoTowerModel, checkpoint: Checkpoint, settings: TrainingSettings, done: int) -> MovingAverage:
    """The average of the `done` passes that a checkpoint has; the model gets the state after them."""
    if not done:
        return MovingAverage(settings.average)
    checkpoint.apply(model)
    return MovingAverage(settings.average, checkpoint.others("average"), done)


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
    epoch = done
    # One for all passes: each only has an order of its own, and to make one traces functions anew.
    if model.learns_from_sequences:
        compiled = bool(settings.jit_compile)
        whole = sequence_batches(events, model.max_history, settings.batch_sequences, seed, lambda: epoch, compiled)
    else:
        whole = batches(events, settings.batch_size, seed, lambda: epoch)
    given = distributed.shared(whole, model.distribute_strategy)
    for epoch in range(done, epochs):
        if settings.decay == "cosine":
            rate = settings.rate * 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs))
            model.optimizer.learning_rate.assign(rate)
        start = time.perf_counter()
        result = model.fit(**given, epochs=1, verbose=0)
        loss = float(result.history["loss"][0])
        if not np.isfinite(loss):
            raise InputError(
                f"training diverged: the loss of epoch {epoch + 1} is {loss}; lower training.learning_rate (now "
                f"{settings.rate:g})"
            )
        yield epoch + 1, loss, time.perf_counter() - start


def batches(log: Log, batch_size: int, seed: int, epoch: Callable[[], int]) -> tf.data.Dataset:
    """Batches of the query tower's inputs, `item` and `weight`, gathered from columns in memory.

    The order is a function of the seed and of what `epoch` says as a pass begins, so that a resumed training goes on
    alike. A log in parts comes a part after the other, each shuffled.
    """

    def gathered() -> Iterator[dict[str, np.ndarray]]:
        chance = np.random.default_rng([seed, epoch()])
        for number in chance.permutation(len(log.parts)):
            events = log.parts[number]()
            columns, order = events.columns(), chance.permutation(len(events))
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                yield {name: column[rows] for name, column in columns.items()}

    return _dataset(gathered, log.first.columns(), log.steps(batch_size))


def sequence_batches(
    log: Log, places: int, batch_size: int | None, seed: int, epoch: Callable[[], int], few_shapes: bool = False
) -> tf.data.Dataset:
    """The same as whole sequences: batches of `batch_size` pieces of at most `places` items, see `sequences.cut`.

    By default they are so many that a batch has about `_PLACES` events. With `few_shapes` some come again, to fill it,
    without a weight.
    """

    @functools.lru_cache(maxsize=1)
    def pieces(number: int) -> tuple[Events, Sequences]:
        events = log.parts[number]()
        return events, cut(events, places)

    def gathered() -> Iterator[dict[str, np.ndarray]]:
        chance = np.random.default_rng([seed, epoch()])
        for number in chance.permutation(len(log.parts)):
            events, sequences = pieces(number)
            columns = _without_history(events)
            for rows, made in batches_of(sequences, size, chance):
                count = len(rows)
                if few_shapes:
                    rows, made = in_few_shapes(rows, made, size, places)
                batch = {**{name: column[rows] for name, column in columns.items()}, **made}
                # The mean is that of those that count.
                batch["weight"] = batch["weight"] * np.float32(len(rows) / count) * (np.arange(len(rows)) < count)
                yield batch

    _, one = next(batches_of(cut(log.first, places), 1, np.random.default_rng(0)))
    counts = [len(pieces(number)[1]) for number in range(len(log.parts))]
    size = batch_size or max(1, round(_PLACES * sum(counts) / log.size))
    steps = sum(-(-count // size) for count in counts)
    return _dataset(gathered, {**_without_history(log.first), **one}, steps)


def _without_history(events: Events) -> dict[str, np.ndarray]:
    return {name: column for name, column in events.columns().items() if name != "history"}


def _dataset(
    gathered: Callable[[], Iterator[dict[str, np.ndarray]]], first: dict[str, np.ndarray], steps: int
) -> tf.data.Dataset:
    """What is gathered, of which `first` has the columns, as so many steps."""
    signature = {
        name: tf.TensorSpec([None, None] if name == SEQUENCES else [None, *column.shape[1:]], column.dtype)
        for name, column in first.items()
    }
    options = tf.data.Options()
    # There is nothing to tune, and at the end of a pass the tuner's thread may keep it waiting for up to its period,
    # which doubles all the time: 10 s after 20.
    options.autotune.enabled = False
    dataset = tf.data.Dataset.from_generator(gathered, output_signature=signature)
    # Where Keras doesn't know how many there are it begins a step too many, which the model counts.
    return dataset.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2).with_options(options)
