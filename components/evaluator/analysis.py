"""The Beam pipeline of the Evaluator: queries, answers, ranks, TFMA's metrics by slice, TFMA's validation."""

from __future__ import annotations

import collections
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping

import apache_beam as beam
import pyarrow.compute as pc
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from components import examples
from components.errors import InputError
from components.evaluator import validation
from components.evaluator.extractor import (
    HISTORY_LENGTH,
    QUERY_FEATURES,
    JudgedModel,
    rank_extractor,
    release_models,
    slice_features,
)
from components.evaluator.metrics import tfma_metrics
from components.evaluator.popularity import Popularity
from components.evaluator.report import CANDIDATE, CHAMPION, COUNT, OVERALL, POPULARITY, Report, Table
from components.evaluator.servable import check_servable, served_depth
from components.evaluator.settings import EvaluatorSettings

TRAIN_SPLIT = "train"
QUERY_SPLIT = "eval"

_METRIC_CLASSES = {"hit_rate": "HitRateAtK", "ndcg": "NdcgAtK", "mrr": "MrrAtK"}
_TFMA_COUNT = "example_count"


def evaluate(
    make_pipeline: Callable[[], beam.Pipeline],
    interactions: str,
    servables: Mapping[str, str],
    settings: EvaluatorSettings,
    output: str,
) -> Report:
    """Judges servables on point-in-time queries, beside the popularity baseline.

    Args:
        make_pipeline: makes the Beam pipeline to run on.
        interactions: URI of an Examples artifact with the splits `train` (popularity counts) and `eval` (queries).
        servables: "candidate", and "champion" if there is one, to a SavedModel's directory.
        settings: what is measured and what must be reached.
        output: directory for TFMA's files, which `tfma.load_eval_result(output, model_name=...)` reads.

    Returns:
        The report, not yet saved.

    Raises:
        InputError: there are no queries, a servable can't be judged, or a slice's feature has several values.
    """
    for name, path in servables.items():
        check_servable(path, name)
    _check_queries(interactions, settings)

    models = {name: JudgedModel(path, served_depth(path, settings.depth)) for name, path in servables.items()}
    config = eval_config(settings, has_champion=CHAMPION in models)
    with make_pipeline() as pipeline:
        popularity = (
            pipeline
            | "TrainFiles" >> beam.Create(examples.split_files(interactions, TRAIN_SPLIT))
            | "CountItems" >> beam.Map(_count_items)
            | "AddCounts" >> beam.CombineGlobally(_add_counts)
            | "RankItems" >> beam.Map(Popularity)
        )
        features = {**dict.fromkeys(_read_slice_features(settings), bytes), **QUERY_FEATURES}
        _ = (
            pipeline
            | "QueryFiles" >> beam.Create(examples.split_files(interactions, QUERY_SPLIT))
            | "ReadQueries" >> beam.FlatMap(examples.read_file, features, settings.batch_size)
            | "ToExtracts" >> tfma.BatchedInputsToExtracts()
            # What tfma.ExtractEvaluateAndWriteResults is made of; that one would want the models to load itself.
            | "Evaluate"
            >> tfma.ExtractAndEvaluate(
                extractors=[
                    rank_extractor(
                        models,
                        beam.pvalue.AsSingleton(popularity),
                        settings.depth,
                        settings.slices,
                        settings.exclude_seen,
                    ),
                    tfma.extractors.SliceKeyExtractor(eval_config=config, materialize=False),
                ],
                evaluators=[tfma.evaluators.MetricsPlotsAndValidationsEvaluator(eval_config=config)],
            )
            | "Write" >> tfma.WriteResults(writers=_writers(config, output, interactions, servables))
        )

    release_models()

    table, columns = _read_table(output, settings)
    failures = validation.tfma_failures(tfma.load_validation_result(output))
    checks = validation.check_thresholds(table, columns, failures, settings)
    return Report(
        metrics=table,
        checks=tuple(checks),
        blessed=all(check.passed for check in checks),
        depths={name: model.depth for name, model in models.items()},
        exclude_seen=settings.exclude_seen,
        batch_size=settings.batch_size,
        min_slice_size=settings.min_slice_size,
    )


def eval_config(settings: EvaluatorSettings, has_champion: bool) -> config_pb2.EvalConfig:
    """Puts the settings into TFMA's terms: the champion is the baseline, thresholds concern the candidate only."""
    names = [CANDIDATE, POPULARITY] + ([CHAMPION] if has_champion else [])
    judged = config_pb2.MetricsSpec(model_names=[CANDIDATE])
    others = config_pb2.MetricsSpec(model_names=names[1:])
    for spec in (judged, others):
        spec.metrics.add(class_name="QueryCount", module=tfma_metrics.__name__)
        for name, (kind, k) in settings.metrics().items():
            metric = spec.metrics.add(
                class_name=_METRIC_CLASSES[kind],
                module=tfma_metrics.__name__,
                config=json.dumps({"k": k, "name": name}),
            )
            if spec is judged and name in settings.thresholds:
                metric.per_slice_thresholds.extend(validation.tfma_thresholds(settings.thresholds[name], has_champion))
    return config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(name=name, is_baseline=name == CHAMPION) for name in names],
        metrics_specs=[judged, others],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=columns) for columns in settings.slices),
        ],
    )


def _read_slice_features(settings: EvaluatorSettings) -> list[str]:
    return [name for name in slice_features(settings.slices) if name != HISTORY_LENGTH]


def _check_queries(interactions: str, settings: EvaluatorSettings) -> None:
    """Raises InputError unless there is a query, and it has what slices are made from."""
    features = dict.fromkeys(_read_slice_features(settings), bytes)
    first = next(
        examples.read_batches(interactions, QUERY_SPLIT, {"item_id": bytes, **features}, settings.batch_size), None
    )
    if first is None:
        raise InputError(
            f"{interactions}: the split {QUERY_SPLIT!r} is empty, so there is nothing to judge the model on; let the "
            "split leave more events for the evaluation"
        )
    for name in features:
        if not examples.has_feature(first, name):
            raise InputError(f"slices: no query has the feature {name!r}; remove it from evaluator.slices")
        examples.scalars(first, name, b"")


def _count_items(file: str) -> collections.Counter[bytes]:
    counts: collections.Counter[bytes] = collections.Counter()
    for batch in examples.read_file(file, {"item_id": bytes}):
        for entry in pc.value_counts(batch.column(0).flatten()):
            counts[entry["values"].as_py()] += entry["counts"].as_py()
    return counts


def _add_counts(counters: Iterable[Mapping[bytes, int]]) -> collections.Counter[bytes]:
    total: collections.Counter[bytes] = collections.Counter()
    for counter in counters:
        total.update(counter)
    return total


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


def _read_table(output: str, settings: EvaluatorSettings) -> tuple[Table, dict[str, validation.Columns]]:
    """Reads TFMA's metrics back as a table, and the features that define each slice."""
    values: dict[str, dict[str, dict[str, float]]] = {}
    columns: dict[str, validation.Columns] = {}
    for of_slice in tfma.load_metrics(output):
        by_column = validation.slice_values(of_slice.slice_key)
        name = validation.slice_name(by_column)
        columns[name] = tuple(by_column)
        for entry in of_slice.metric_keys_and_values:
            if not entry.key.is_diff:
                metrics = values.setdefault(entry.key.model_name, {}).setdefault(name, {})
                metrics[entry.key.name] = entry.value.double_value.value

    kept = {name: _kept_metrics(name, values[CANDIDATE][name][_TFMA_COUNT], settings) for name in columns}
    order = sorted(columns, key=lambda name: (name != OVERALL, _natural(name)))
    table = {
        model: {
            name: {COUNT: int(slices[name][_TFMA_COUNT]), **{metric: slices[name][metric] for metric in kept[name]}}
            for name in order
        }
        for model, slices in values.items()
    }
    return table, columns


def _natural(name: str) -> list[str | int]:
    """Sorts "5-19" before "20+": text and numbers take turns."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _kept_metrics(name: str, count: float, settings: EvaluatorSettings) -> list[str]:
    return list(settings.metrics()) if name == OVERALL or count >= settings.min_slice_size else []
