"""The Beam pipeline of the Evaluator: queries, answers, statistics, TFMA's metrics by slice, TFMA's validation."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from components.errors import InputError
from components.evaluation_report import (
    CANDIDATE,
    CHAMPION,
    COUNT,
    OVERALL,
    Check,
    Interval,
    Intervals,
    Lead,
    Report,
    Table,
)
from components.evaluator import baselines, validation
from components.evaluator.answers import QUERY_FEATURES, JudgedModel
from components.evaluator.baselines.reading import read_training_events
from components.evaluator.bootstrap import interval
from components.evaluator.earlier import KEY, QUERY_SPLIT, Fair, Night, are_the_same, count_users, find_fair, read_fair
from components.evaluator.extractor import (
    HISTORY_LENGTH,
    ITEM_POPULARITY,
    REQUESTS,
    answer_extractor,
    release_models,
    slice_features,
    users_that_count,
)
from components.evaluator.items import Items, read_items
from components.evaluator.servable import check_servable, context_features, left_out, served_depth
from components.evaluator.settings import EvaluatorSettings, Threshold
from components.examples import reading
from components.examples.interactions import EXCLUDED
from components.examples.sampling import read_sampled, share_of_users
from components.metrics import METRICS, tfma_metrics
from components.progress import progress
from serving import contract

_TFMA_COUNT, _USER_COUNT = "example_count", "user_count"


def evaluate(
    make_pipeline: Callable[[], beam.Pipeline],
    interactions: str,
    catalogue: str,
    item_features: Sequence[str],
    servables: Mapping[str, str],
    settings: EvaluatorSettings,
    output: str,
    night: Night | None = None,
) -> Report:
    """Judges servables on point-in-time queries, beside the baselines.

    Args:
        make_pipeline: makes the Beam pipeline to run on.
        interactions: URI of an Examples artifact with the splits `train` (baselines) and `eval` (queries).
        catalogue: URI of the catalogue's Examples.
        item_features: the features of the catalogue, of one or several categories, by which items are alike or not.
        servables: "candidate", and "champion" if there is one, to a SavedModel's directory.
        settings: what is measured and what must be reached.
        output: directory for TFMA's files, which `tfma.load_eval_result(output, model_name=...)` reads; those of the
            champion's own queries are in its folder `own_night`.
        night: what is known of the night when the champion was pushed.

    Returns:
        The report, not yet saved.

    Raises:
        InputError: there are no queries, a servable can't be judged, a slice's feature is no category, or a threshold
            is on what can't be measured.
    """
    for name, path in servables.items():
        check_servable(path, name)
    _check_queries(interactions, settings)
    exclude = left_out(servables[CANDIDATE])
    if not isinstance(exclude, str):
        _check_types(interactions, exclude, settings)

    models = {name: JudgedModel(path, served_depth(path, settings.depth)) for name, path in servables.items()}
    features = _query_features(servables, settings)
    # Beam's workers read what is fitted here: beside the output, which they share, unless that is in an object store.
    with tempfile.TemporaryDirectory(dir=output if os.path.isdir(output) else None) as fitted:
        items = _fit(interactions, catalogue, item_features, settings, exclude == contract.ALL, fitted)
        metrics = _measured(settings, has_features=items.features is not None)
        _ask(make_pipeline, interactions, features, models, fitted, settings, metrics, exclude, output)
        report = _report(output, list(metrics), models, settings, exclude, night or Night())
        if CHAMPION in models:
            own = _on_own_queries(make_pipeline, interactions, night, models, items, settings, exclude, output)
            every, said = (*report.checks, *own[0]), own[1]
            report = dataclasses.replace(
                report, checks=every, blessed=all(check.passed for check in every), own_night=said
            )
        elif night and night.metrics:
            said = (
                "the champion has seen the queries, and the model that was judged for it is gone: only its lead counts"
            )
            report = dataclasses.replace(report, own_night=said)
    return report


def _on_own_queries(
    make_pipeline: Callable[[], beam.Pipeline],
    interactions: str,
    night: Night | None,
    models: Mapping[str, JudgedModel],
    items: Items,
    settings: EvaluatorSettings,
    exclude: str | list[str],
    output: str,
) -> tuple[list[Check], str]:
    """Asks candidate and champion what the champion was judged by; returns the checks, and what was done in words."""
    queries, fair_by = (night.queries, night.fair_by) if night else ("", "")
    if queries and are_the_same(queries, interactions):
        return [], "the champion was judged by the same queries"
    if not queries or not fair_by:
        return [], "the champion's own queries are not there to be asked"
    fair = find_fair(interactions, items.ids, fair_by)
    settings = settings.model_copy(
        update={
            "slices": (),
            "list_ks": (),
            "baselines": settings.baselines.model_copy(update={"names": ()}),
            "thresholds": {
                name: Threshold(max_drop=threshold.max_drop, certain=threshold.certain)
                for name, threshold in settings.thresholds.items()
                if threshold.max_drop is not None and name in settings.ranking_metrics()
            },
        }
    )
    if not settings.thresholds:
        return [], "the champion's own queries were not asked: no threshold has max_drop"
    users = count_users(queries, fair)
    if users < users_that_count(settings):
        return [], (
            f"the champion's own queries were not asked: those that tonight's training had no part in are of {users} "
            f"users, fewer than evaluation.min_slice_size"
        )
    features = {**_query_features({name: model.path for name, model in models.items()}, settings), **KEY}
    own, metrics = os.path.join(output, "own_night"), settings.ranking_metrics()
    with tempfile.TemporaryDirectory(dir=output if os.path.isdir(output) else None) as fitted:
        items.save(fitted)
        baselines.save({}, fitted)
        _ask(make_pipeline, queries, features, models, fitted, settings, metrics, exclude, own, fair)
    found = _read_results(own, list(metrics), settings)
    checks = validation.check_thresholds(
        found.table, found.columns, set(), settings, lambda *of: _difference(found, settings, *of)
    )
    asked = int(found.table[CANDIDATE][OVERALL][COUNT])
    return [dataclasses.replace(check, own_night=True) for check in checks], (
        f"{asked:,} of the champion's own queries were asked too: those that tonight's training had no part in"
    )


def _ask(
    make_pipeline: Callable[[], beam.Pipeline],
    interactions: str,
    features: reading.Features,
    models: Mapping[str, JudgedModel],
    fitted: str,
    settings: EvaluatorSettings,
    metrics: Mapping[str, tuple[str, int]],
    exclude: str | list[str],
    output: str,
    fair: Fair | None = None,
) -> None:
    """Asks models and baselines the queries, of which `fair` may leave some out, and writes TFMA's files."""
    config = eval_config(settings, metrics, has_champion=CHAMPION in models)
    extractors = [
        answer_extractor(models, fitted, settings, exclude),
        tfma.extractors.SliceKeyExtractor(eval_config=config, materialize=False),
    ]
    share = share_of_users(interactions, QUERY_SPLIT, settings.max_queries) if settings.max_queries else 1.0
    how = (features, REQUESTS * settings.batch_size, share)
    progress(f"asking {', '.join([*models, *settings.baselines.names])}")
    servables = {name: model.path for name, model in models.items()}
    with make_pipeline() as pipeline:
        _ = (
            pipeline
            | "QueryFiles" >> beam.Create(reading.split_files(interactions, QUERY_SPLIT))
            | "ReadQueries" >> (beam.FlatMap(read_fair, *how, fair) if fair else beam.FlatMap(read_sampled, *how))
            | "ToExtracts" >> tfma.BatchedInputsToExtracts()
            # What tfma.ExtractEvaluateAndWriteResults is made of; that one would want the models to load itself.
            | "Evaluate"
            >> tfma.ExtractAndEvaluate(
                extractors=extractors,
                evaluators=[tfma.evaluators.MetricsPlotsAndValidationsEvaluator(eval_config=config)],
            )
            | "Write" >> tfma.WriteResults(writers=_writers(config, output, interactions, servables))
        )
    release_models()


def _report(
    output: str,
    metrics: Sequence[str],
    models: Mapping[str, JudgedModel],
    settings: EvaluatorSettings,
    exclude: str | list[str],
    night: Night,
) -> Report:
    """Makes the report from what TFMA wrote."""
    found = _read_results(output, metrics, settings)
    failures = validation.tfma_failures(tfma.load_validation_result(output))
    checks = validation.check_thresholds(
        found.table, found.columns, failures, settings, lambda *of: _difference(found, settings, *of), night
    )
    return Report(
        metrics=found.table,
        checks=tuple(checks),
        blessed=all(check.passed for check in checks),
        headline=settings.headline,
        depths={name: model.depth for name, model in models.items()},
        exclude=exclude,
        left_out=found.left_out,
        batch_size=settings.batch_size,
        min_slice_size=settings.min_slice_size,
        intervals=_intervals(found, settings),
        confidence_level=settings.confidence_level,
        leads=_leads(found, settings),
    )


def eval_config(
    settings: EvaluatorSettings, metrics: Mapping[str, tuple[str, int]], has_champion: bool
) -> config_pb2.EvalConfig:
    """Puts the settings into TFMA's terms: the champion is the baseline, thresholds concern the candidate only.

    Args:
        settings: the settings.
        metrics: the metrics that can be measured: name to kind and k.
        has_champion: whether there is one.
    """
    names = [CANDIDATE, *([CHAMPION] if has_champion else []), *settings.baselines.names]
    judged = config_pb2.MetricsSpec(model_names=[CANDIDATE])
    others = config_pb2.MetricsSpec(model_names=names[1:])
    for spec in (judged, others) if others.model_names else (judged,):
        _add_metric(spec, "QueryCount")
        if spec is judged:
            _add_metric(spec, "ListMean", name=tfma_metrics.LEFT_OUT)
            _add_metric(spec, "UserCount", most=users_that_count(settings))
        if settings.bootstrap_replicates:
            _add_metric(spec, "Replicates", gains=list(settings.ranking_metrics().values()))
        for name, (kind, k) in metrics.items():
            if METRICS[kind].of == "rank":
                metric = _add_metric(spec, "RankingMetric", kind=kind, k=k, name=name)
            elif METRICS[kind].of == "exposure":
                metric = _add_metric(spec, "ExposureMetric", kind=kind, k=k, name=name)
            else:
                metric = _add_metric(spec, "ListMean", name=name)
            if spec is judged and name in settings.thresholds:
                metric.per_slice_thresholds.extend(validation.tfma_thresholds(settings.thresholds[name]))
    return config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(name=name, is_baseline=name == CHAMPION) for name in names],
        metrics_specs=[judged, others] if others.model_names else [judged],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=columns) for columns in settings.slices),
        ],
    )


def _add_metric(spec: config_pb2.MetricsSpec, class_name: str, **config: Any) -> config_pb2.MetricConfig:
    return spec.metrics.add(class_name=class_name, module=tfma_metrics.__name__, config=json.dumps(config))


def _fit(
    interactions: str,
    catalogue: str,
    item_features: Sequence[str],
    settings: EvaluatorSettings,
    without_history: bool,
    directory: str,
) -> Items:
    """Fits the baselines, and writes them and the items of the catalogue to a directory."""
    events = read_training_events(interactions, settings.baselines)
    items = read_items(catalogue, item_features, events)
    items.save(directory)
    if items.features is not None:
        events = dataclasses.replace(events, features=items.features[: events.num_items])
    baselines.save(baselines.fit(settings.baselines, events, without_history), directory)
    return items


def _measured(settings: EvaluatorSettings, has_features: bool) -> dict[str, tuple[str, int]]:
    """The metrics that can be measured: without features of the items those that don't need them."""
    metrics = {
        name: (kind, k)
        for name, (kind, k) in {**settings.ranking_metrics(), **settings.list_metrics()}.items()
        if has_features or not METRICS[kind].by_features
    }
    for name in settings.thresholds:
        if name not in metrics:
            raise InputError(
                f"evaluation.thresholds: {name} can't be measured, because the catalogue has no feature of type "
                "category or categories; remove the threshold, or configure such a feature"
            )
    return metrics


def _query_features(servables: Mapping[str, str], settings: EvaluatorSettings) -> reading.Features:
    """What is read of a query: what slices, statistics and servables need."""
    features = {**dict.fromkeys(_read_slice_features(settings), bytes), **QUERY_FEATURES}
    for path in servables.values():
        features.update(context_features(path))
    return features


def _read_slice_features(settings: EvaluatorSettings) -> list[str]:
    return [name for name in slice_features(settings) if name not in (HISTORY_LENGTH, ITEM_POPULARITY)]


def _check_queries(interactions: str, settings: EvaluatorSettings) -> None:
    """Raises InputError unless there is a query, and it has what slices are made from."""
    if _first_queries(interactions, {"item_id": bytes}, settings) is None:
        raise InputError(
            f"{interactions}: the split {QUERY_SPLIT!r} is empty, so there is nothing to judge the model on; let the "
            "split leave more events for the evaluation"
        )
    for name in _read_slice_features(settings):
        try:
            first = _first_queries(interactions, {name: bytes}, settings)
            reading.scalars(first, name, b"")
        except InputError as error:
            raise InputError(f"evaluation.slices: {name!r} is no feature of one category a query: {error}") from None
        if not reading.has_feature(first, name):
            raise InputError(f"evaluation.slices: no query has the feature {name!r}; remove it there")


def _check_types(interactions: str, exclude: Sequence[str], settings: EvaluatorSettings) -> None:
    """Raises InputError unless the queries say what their users had of the types of events that are left out."""
    if not reading.has_feature(_first_queries(interactions, {EXCLUDED: bytes}, settings), EXCLUDED):
        raise InputError(
            f"{interactions}: the model leaves out the items of events of type {', '.join(exclude)}, of which the"
            " queries say nothing: set serving.exclude likewise and make them anew by `recommender run`"
        )


def _first_queries(interactions: str, features: reading.Features, settings: EvaluatorSettings) -> Any:
    return next(reading.read_batches(interactions, QUERY_SPLIT, features, settings.batch_size), None)


def _writers(
    config: config_pb2.EvalConfig, output: str, interactions: str, servables: Mapping[str, str]
) -> list[tfma.writers.Writer]:
    # TFMA's default writers know the locations of models that TFMA loads itself; these it doesn't.
    locations = {spec.name: servables.get(spec.name, f"<{spec.name}>") for spec in config.model_specs}
    keys = (tfma.METRICS_KEY, tfma.PLOTS_KEY, tfma.ATTRIBUTIONS_KEY, tfma.VALIDATIONS_KEY)
    return [
        tfma.writers.EvalConfigWriter(
            output, eval_config=config, data_location=interactions, model_locations=locations
        ),
        tfma.writers.MetricsPlotsAndValidationsWriter(
            output_paths={key: os.path.join(output, key) for key in keys}, eval_config=config
        ),
    ]


@dataclasses.dataclass(frozen=True)
class _Results:
    """TFMA's results, read back."""

    table: Table
    columns: dict[str, validation.Columns]
    """Slice to the features that define it."""
    left_out: int
    """Queries of items that no answer can hold."""
    replicates: dict[str, dict[str, np.ndarray]]
    """Model to slice to the ranking metrics in each replicate, [M, R]; empty without replicates, and without slices of
    one user: what draws one user again and again knows nothing of others."""


def _read_results(output: str, metrics: Sequence[str], settings: EvaluatorSettings) -> _Results:
    values: dict[str, dict[str, dict[str, float]]] = {}
    columns: dict[str, validation.Columns] = {}
    replicates: dict[str, dict[str, np.ndarray]] = {}
    for of_slice in tfma.load_metrics(output):
        by_column = validation.slice_values(of_slice.slice_key)
        name = validation.slice_name(by_column)
        columns[name] = tuple(by_column)
        for entry in of_slice.metric_keys_and_values:
            key, value = entry.key, entry.value
            if key.is_diff:
                continue
            if key.name == tfma_metrics.REPLICATES:
                replicates.setdefault(key.model_name, {})[name] = _array(value.array_value)
            elif not math.isnan(value.double_value.value):
                values.setdefault(key.model_name, {}).setdefault(name, {})[key.name] = value.double_value.value

    counts, users = ({name: values[CANDIDATE][name][of] for name in columns} for of in (_TFMA_COUNT, _USER_COUNT))
    large = {name for name, count in users.items() if name == OVERALL or count >= settings.min_slice_size}
    for of_model in replicates.values():
        for name in [name for name in of_model if users[name] < 2]:
            del of_model[name]
    order = sorted(columns, key=lambda name: (name != OVERALL, _natural(name)))
    table = {
        model: {
            name: {
                COUNT: int(counts[name]),
                **{metric: values[model][name][metric] for metric in metrics if metric in values[model][name]},
            }
            if name in large
            else {COUNT: int(counts[name])}
            for name in order
        }
        for model in (CANDIDATE, CHAMPION, *settings.baselines.names)
        if model in values
    }
    unanswerable = round(values[CANDIDATE][OVERALL][tfma_metrics.LEFT_OUT] * counts[OVERALL])
    return _Results(table, columns, unanswerable, replicates)


def read_replicates(output: str, model: str = CANDIDATE) -> dict[str, np.ndarray]:
    """Reads back what the bootstrap made of a model's ranking metrics.

    Replicates have the same number and draw the same users in each evaluation, so those of two evaluations are paired.

    Args:
        output: what `evaluate` wrote to.
        model: the model.

    Returns:
        Slice to [M, R] float64, replicates in the order of the columns, metrics in that of
        `EvaluatorSettings.ranking_metrics`; empty without replicates.
    """
    return {
        validation.slice_name(validation.slice_values(of_slice.slice_key)): _array(entry.value.array_value)
        for of_slice in tfma.load_metrics(output)
        for entry in of_slice.metric_keys_and_values
        if entry.key.name == tfma_metrics.REPLICATES and entry.key.model_name == model and not entry.key.is_diff
    }


def _array(value: Any) -> np.ndarray:
    return np.reshape(value.float64_values, value.shape)


def _intervals(found: _Results, settings: EvaluatorSettings) -> Intervals:
    return {
        model: {
            name: {
                metric: interval(replicates, settings.confidence_level)
                for metric, replicates in zip(settings.ranking_metrics(), found.replicates[model][name])
                if metric in of_slice
            }
            for name, of_slice in slices.items()
            if name in found.replicates[model]
        }
        for model, slices in found.table.items()
        if model in found.replicates
    }


def _leads(found: _Results, settings: EvaluatorSettings) -> tuple[Lead, ...]:
    """The candidate against the champion and against the best baseline, in the headline metric."""
    metric = settings.headline
    values = {model: slices[OVERALL][metric] for model, slices in found.table.items()}
    best = sorted(settings.baselines.names, key=values.__getitem__)[-1:]
    others = [*([CHAMPION] if CHAMPION in values else []), *best]
    between = {model: _difference(found, settings, metric, OVERALL, model) for model in others}
    return tuple(Lead(model, values[CANDIDATE] - values[model], of) for model, of in between.items() if of)


def _difference(
    found: _Results, settings: EvaluatorSettings, metric: str, slice_name: str, model: str, share: float = 1.0
) -> Interval | None:
    """The interval of the candidate's metric less `share` of a model's; None without replicates."""
    metrics = list(settings.ranking_metrics())
    if metric not in metrics or slice_name not in found.replicates.get(model, {}):
        return None
    row = metrics.index(metric)
    candidate, other = (found.replicates[name][slice_name][row] for name in (CANDIDATE, model))
    return interval(candidate - share * other, settings.confidence_level)


def _natural(name: str) -> list[str | int]:
    """Sorts "5-19" before "20+": text and numbers take turns."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
