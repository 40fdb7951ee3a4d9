"""`recommender tune`: searches the config's space for the settings that do best on the validation events.

The study lies in a database, so that a search that was stopped, however it was, goes on where it stopped. The seed of a
trial follows from the number of trials before it, so that such a search finds what an undisturbed one finds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from rich.markup import escape
from rich.table import Table
from sqlalchemy.exc import DatabaseError, OperationalError

from components.errors import InputError
from components.progress import progress
from pipeline.code import PROPERTY
from pipeline.config import Config, merged
from pipeline.config.tuning import Dimension, check_value, is_whole
from pipeline.failures import DONE
from pipeline.local.output import working
from pipeline.local.run import at_terminal, prepare
from pipeline.model.job import Transformed
from pipeline.model.settings import ModelSettings, TrainerSettings, TrainingSettings
from pipeline.terminal import Outcome, Terminal, check_interrupts, listening, print_table
from serving.files import write_atomically

OnEpoch = Callable[[Mapping[str, float]], None]
"""Called after each epoch; what it raises ends the training."""

Train = Callable[[ModelSettings, TrainingSettings, OnEpoch], object]
"""Trains once; raises MemoryError if the machine is too small for it."""

STUDIES, BEST = "studies.sqlite", "best.yaml"
"""The files of `<output>/<name>/tuning`."""

_CONFIGURED, _BEST_EPOCH = "configured", "best_epoch"
"""What is noted on a trial: that it is the config as it stands, and its best epoch."""

_STARTUP_TRIALS = 5
_WARMUP_EPOCHS = 3
_LABELS = {"ndcg@10": "NDCG@10", "hit@10": "hit@10"}


class _DivergedError(Exception):
    """The loss of a trial is not finite."""


def tune(config: Config) -> Outcome:
    """Runs the pipeline as far as Transform, searches, and says what is best.

    Returns:
        The exit code, and the facts: `name`, `metric`, `best` (its value of the metric, and the values by key),
        `overrides`, a file for `recommender run --overrides`, and `trials`, the best first.
    """
    return at_terminal(config, lambda root, terminal: _tune(config, root, terminal))


def _tune(config: Config, root: Path, terminal: Terminal) -> Outcome:
    folder = root / "tuning"
    folder.mkdir(exist_ok=True)
    with listening(terminal), working(config, root):
        storage = open_storage(folder / STUDIES)
        dag, metadata = prepare(config, root, terminal)
        from tfx.utils import json_utils

        from pipeline.local.runner import run_pipeline

        results = run_pipeline(dag, metadata, terminal, before="Trainer")
        [trainer] = (node for node in dag.components if node.id == "Trainer")
        custom_config = json_utils.loads(trainer.exec_properties["custom_config"])

        def uri(node: str, key: str) -> str:
            return results[node].outputs[key].uri

        data = [os.path.join(uri("InteractionGen", "examples"), "Split-train"), uri("CatalogueGen", "examples")]
        # Where checkpoints lie is nothing to a trial, and another place on another machine.
        given = {**custom_config, "checkpoints": None, PROPERTY: trainer.exec_properties[PROPERTY]}
        study = open_study(storage, study_name(config, given, data))
        inputs = Transformed(
            examples=uri("Transform", "transformed_examples"),
            transform_graph=uri("Transform", "transform_graph"),
            catalogue=uri("CatalogueTransform", "transformed_examples"),
            catalogue_graph=uri("CatalogueTransform", "transform_graph"),
        )
        settings, train = _trainer(inputs, TrainerSettings.model_validate(custom_config))
        search(config, study, train, terminal, (settings.model, settings.training))
        write_best(folder / BEST, study, config)
    print_table(terminal.console, trial_table(study, config))
    terminal.console.print(
        f"[bold]{_LABELS[config.training.stop_on]} {study.best_value:.4f}[/] on the validation events. Take it with "
        f"[bold]recommender run --overrides {escape(str(folder / BEST))}[/]",
        soft_wrap=True,
        highlight=False,
    )
    facts = {
        "name": config.name,
        "metric": config.training.stop_on,
        "best": {"value": study.best_value, "values": _values(study.best_trial, config)},
        "overrides": folder / BEST,
        "trials": [_facts(number, trial, config) for number, trial in _ranked(study, config)],
    }
    return Outcome(DONE, facts)


def _trainer(inputs: Transformed, settings: TrainerSettings) -> tuple[TrainerSettings, Train]:
    """Reads what Transform made; returns the settings with what the data decides, and what trains on it."""
    import tensorflow as tf
    import tf_keras as keras

    from pipeline.model.choice import resolved
    from pipeline.model.fit import validate
    from pipeline.model.inputs import read_data

    settings = resolved(inputs, settings)
    data = read_data(inputs, settings)

    def train(model: ModelSettings, training: TrainingSettings, on_epoch: OnEpoch) -> object:
        if model.history == "auto":
            model = model.model_copy(update={"history": settings.model.history})
        try:
            return validate(data, model, training, settings.seed, on_epoch=on_epoch)
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(str(error)) from error
        finally:
            keras.backend.clear_session()  # or each trial's graphs stay in memory

    return settings, train


def study_name(config: Config, given: Mapping[str, Any], folders: Sequence[str]) -> str:
    """A digest of all that decides a trial's metrics: space, data, and what the Trainer is given, its code included.

    Args:
        config: The config.
        given: The Trainer's settings and its code's digest.
        folders: The examples of training events and of items as they are before Transform, which writes the same rows
            in another order each time.
    """
    space = config.tuning.model_dump(mode="json", include={"space"})
    digest = hashlib.sha256(json.dumps([space, given], sort_keys=True).encode())
    for folder in folders:
        for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def open_storage(path: Path) -> optuna.storages.RDBStorage:
    """Opens the database of studies, or makes it.

    Raises:
        InputError: It is damaged, or of another version of Optuna.
    """
    # What Optuna has to say goes where all logging goes: to the log file.
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        for name in optuna.get_all_study_names(storage):
            optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
    except OperationalError:  # such as a full disk
        raise
    except (DatabaseError, RuntimeError) as error:
        raise InputError(
            f"{path}: the trials of earlier searches can't be read ({str(error).splitlines()[0]}); remove or rename "
            "the file to begin anew"
        ) from error
    return storage


def open_study(storage: optuna.storages.BaseStorage, name: str) -> optuna.Study:
    """Opens a study, or makes it; trials that were stopped on their way are lined up to be made again."""
    pruner = optuna.pruners.MedianPruner(_STARTUP_TRIALS, n_warmup_steps=_WARMUP_EPOCHS)
    study = optuna.create_study(
        storage=storage, study_name=name, direction="maximize", load_if_exists=True, pruner=pruner
    )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params, trial.user_attrs)
    return study


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that came to an end, pruned ones too, in the order of their making."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def search(
    config: Config,
    study: optuna.Study,
    train: Train,
    terminal: Terminal,
    start: tuple[ModelSettings, TrainingSettings] | None = None,
) -> None:
    """Makes the trials that the study lacks; the first is the config as it stands, as far as the space has it.

    Args:
        config: The config, whose `tuning` says what to search.
        study: From `open_study`.
        train: What a trial does.
        terminal: Where to say so.
        start: The config's settings with what the data decides; by default as they are for pooling.

    Raises:
        InputError: Every trial was pruned.
    """
    settings = config.tuning
    if not study.trials:
        model = config.model.resolved()
        study.enqueue_trial(*_as_configured(config, *(start or (model, config.training.resolved(model.history, 0)))))
    before = len(finished(study))
    if before:
        terminal.console.print(f"{before} trials are there from an earlier call", highlight=False)
    started = time.monotonic()
    for number in range(before, settings.trials):
        if settings.timeout is not None and time.monotonic() - started > settings.timeout:
            terminal.console.print(
                f"tuning.timeout {settings.timeout:g} s is over after {number} of {settings.trials} trials; the same "
                "command goes on",
                highlight=False,
            )
            break
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=_STARTUP_TRIALS, seed=config.seed + number)
        _make_trial(config, study, train, terminal, f"trial {number + 1} of {settings.trials}")
    if all(trial.state == TrialState.PRUNED for trial in finished(study)):
        raise InputError("no trial came to its end: narrow tuning.space, or allow more with tuning.trials")


def _make_trial(config: Config, study: optuna.Study, train: Train, terminal: Terminal, title: str) -> None:
    """Makes a trial; an error or an interrupt leaves it as running, for `open_study`."""
    metric, label = config.training.stop_on, _LABELS[config.training.stop_on]
    trial = study.ask()
    values = {key: _suggest(trial, key, dimension) for key, dimension in config.tuning.space.items()}
    terminal.start(title)
    progress(_shown(values))
    started = time.monotonic()
    best: dict[str, float] = {}
    pruned = ""

    def on_epoch(epoch: Mapping[str, float]) -> None:
        check_interrupts()
        if not math.isfinite(epoch["loss"]):
            best.clear()  # ranks among scores that are no numbers mean nothing
            raise _DivergedError
        if epoch[metric] > best.get(metric, -1.0):
            best.update(epoch)
        progress(f"epoch {epoch['epoch']:.0f}, {label} {epoch[metric]:.4f}, best {best[metric]:.4f}; {_shown(values)}")
        trial.report(epoch[metric], int(epoch["epoch"]))
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        train(*with_values(config, values), on_epoch)
    except optuna.TrialPruned:
        pruned = "below the median"
    except _DivergedError:
        pruned = "the loss is no longer a number"
    except ValidationError as error:
        pruned = f"not valid together: {error.errors()[0]['msg']}"
    except MemoryError:
        logging.getLogger(__name__).exception("%s failed", title)
        pruned = "out of memory"
    check_interrupts()
    if best:
        trial.set_user_attr(_BEST_EPOCH, best)
    if pruned:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, best[metric])
    reached = f"{label} {best[metric]:.4f} at epoch {best['epoch']:.0f}" if best else ""
    summary = "; ".join(filter(None, (reached, pruned, _shown(values))))
    terminal.end(title, "pruned" if pruned else "done", time.monotonic() - started, summary)


def with_values(config: Config, values: Mapping[str, Any]) -> tuple[ModelSettings, TrainingSettings]:
    """The config's settings with the values of a trial, by key.

    Raises:
        ValidationError: They don't go together.
    """
    content = merged(config.model_dump(mode="json", include={"model", "training"}), _nested(values))
    return ModelSettings.model_validate(content["model"]), TrainingSettings.model_validate(content["training"])


def trial_table(study: optuna.Study, config: Config) -> Table:
    """The trials that came to an end: the best first, pruned ones last."""
    metric = config.training.stop_on
    metrics = [metric, *(name for name in _LABELS if name != metric)]
    table = Table(title="trials by their best epoch on the validation events", title_justify="left")
    for name in ("trial", *(_LABELS[name] for name in metrics), "epoch", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("values", overflow="fold")

    for number, trial in _ranked(study, config):
        best = trial.user_attrs.get(_BEST_EPOCH)
        notes = " (as configured)" * (_CONFIGURED in trial.user_attrs) + " (pruned)" * (
            trial.state == TrialState.PRUNED
        )
        table.add_row(
            f"{number}{notes}",
            *(f"{best[name]:.4f}" if best else "" for name in metrics),
            f"{best['epoch']:.0f}" if best else "",
            f"{trial.duration.total_seconds():.0f}" if trial.duration else "",
            escape(_shown(_values(trial, config))),
        )
    return table


def _ranked(study: optuna.Study, config: Config) -> list[tuple[int, FrozenTrial]]:
    """The trials that came to an end with their numbers: the best first, pruned ones last."""

    def rank(row: tuple[int, FrozenTrial]) -> tuple[bool, float]:
        best = row[1].user_attrs.get(_BEST_EPOCH, {})
        return row[1].state == TrialState.PRUNED, -best.get(config.training.stop_on, 0.0)

    return sorted(enumerate(finished(study), start=1), key=rank)


def _facts(number: int, trial: FrozenTrial, config: Config) -> dict[str, Any]:
    """What is known of a trial; `best_epoch` is null if it has none."""
    return {
        "trial": number,
        "values": _values(trial, config),
        "pruned": trial.state == TrialState.PRUNED,
        "configured": _CONFIGURED in trial.user_attrs,
        "best_epoch": trial.user_attrs.get(_BEST_EPOCH),
        "seconds": trial.duration.total_seconds() if trial.duration else None,
    }


def write_best(path: Path, study: optuna.Study, config: Config) -> None:
    """Writes the best trial's values as YAML that `--overrides` takes."""
    head = (
        f"# {config.name}: the best of {len(finished(study))} trials of recommender tune, "
        f"{_LABELS[config.training.stop_on]} {study.best_value:.4f} on the validation events.\n"
        "# For recommender run --overrides.\n"
    )
    write_atomically(path, head + yaml.safe_dump(_nested(_values(study.best_trial, config))))


def _as_configured(
    config: Config, model: ModelSettings, training: TrainingSettings
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and notes of the trial of the config as it stands, as far as the space has it."""
    content = {"model": model.model_dump(mode="json"), "training": training.model_dump(mode="json")}
    params = {}
    for key, dimension in config.tuning.space.items():
        section, name = key.split(".")
        param = _param(key, dimension, content[section][name])
        if param is not None:
            params[key] = param
    return params, {_CONFIGURED: True} if len(params) == len(config.tuning.space) else {}


def _param(key: str, dimension: Dimension, value: Any) -> Any:
    """What stands for a key's value in the study; None if the space lacks the value."""
    if dimension.choices is not None:
        text = json.dumps(value)
        return text if text in _choices(key, dimension) else None
    if not isinstance(value, (int, float)) or not dimension.low <= value <= dimension.high:
        return None
    steps = (value - dimension.low) / (dimension.step or 1.0)
    return value if dimension.step is None or math.isclose(steps, round(steps), abs_tol=1e-9) else None


def _choices(key: str, dimension: Dimension) -> list[str]:
    """The choices as JSON, for a study keeps no lists; each once."""
    return list(dict.fromkeys(json.dumps(to_jsonable_python(check_value(key, c))) for c in dimension.choices or ()))


def _suggest(trial: optuna.Trial, key: str, dimension: Dimension) -> Any:
    """The trial's value for a key."""
    if dimension.choices is not None:
        return json.loads(trial.suggest_categorical(key, _choices(key, dimension)))
    low, high, step = dimension.low, dimension.high, dimension.step
    if is_whole(key, dimension):
        return trial.suggest_int(key, int(low), int(high), step=int(step or 1), log=dimension.log)
    return trial.suggest_float(key, low, high, step=step, log=dimension.log)


def _values(trial: FrozenTrial, config: Config) -> dict[str, Any]:
    """A finished trial's values, by key."""
    return {
        key: trial.params[key] if dimension.choices is None else json.loads(trial.params[key])
        for key, dimension in config.tuning.space.items()
    }


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"model.dim": 64}` to `{"model": {"dim": 64}}`."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        section, name = key.split(".")
        result.setdefault(section, {})[name] = value
    return result


def _shown(values: Mapping[str, Any]) -> str:
    """`dim 64, learning_rate 0.004`."""
    texts = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in values.values())
    return ", ".join(f"{key.split('.')[1]} {text}" for key, text in zip(values, texts))
