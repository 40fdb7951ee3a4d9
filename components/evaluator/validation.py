"""Thresholds: those that TFMA checks, put into its terms, and the verdicts of all as one list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tensorflow_model_analysis.proto import config_pb2, validation_result_pb2

from components.evaluation_report import CANDIDATE, CHAMPION, OVERALL, Check, Table
from components.evaluator.settings import EvaluatorSettings, Threshold

Columns = tuple[str, ...]
Failure = tuple[str, str, str]
"""Metric, slice and kind ("min" or "champion") of a threshold that TFMA found violated."""


def slice_name(columns_and_values: Mapping[str, str]) -> str:
    """Returns a slice's name: "overall", or like "user_type=new, history_length=0"."""
    return ", ".join(f"{column}={value}" for column, value in columns_and_values.items()) or OVERALL


def tfma_thresholds(threshold: Threshold, has_champion: bool) -> list[config_pb2.PerSliceMetricThreshold]:
    """Returns what of a threshold TFMA itself can check: a value for `min`, a change for `max_drop`."""
    metric_threshold = config_pb2.MetricThreshold()
    if threshold.min is not None:
        metric_threshold.value_threshold.lower_bound.value = threshold.min
    if threshold.max_drop is not None and has_champion:
        metric_threshold.change_threshold.relative.value = -threshold.max_drop
        metric_threshold.change_threshold.direction = config_pb2.MetricDirection.HIGHER_IS_BETTER
    if not metric_threshold.ListFields():
        return []
    slices = [config_pb2.SlicingSpec(), *(config_pb2.SlicingSpec(feature_keys=columns) for columns in threshold.slices)]
    return [config_pb2.PerSliceMetricThreshold(slicing_specs=slices, threshold=metric_threshold)]


def tfma_failures(result: validation_result_pb2.ValidationResult) -> set[Failure]:
    """Returns the violations that TFMA's validation found."""
    failures = set()
    for validation in result.metric_validations_per_slice:
        name = slice_name(slice_values(validation.slice_key))
        for failure in validation.failures:
            kind = CHAMPION if failure.metric_threshold.HasField("change_threshold") else "min"
            failures.add((failure.metric_key.name, name, kind))
    return failures


def slice_values(slice_key: Any) -> dict[str, str]:
    """Returns the features and their values that define the slice of a TFMA message (`SliceKey`); empty: all."""
    values = {}
    for key in slice_key.single_slice_keys:
        value = getattr(key, key.WhichOneof("kind"))
        values[key.column] = value.decode() if isinstance(value, bytes) else str(value)
    return values


def check_thresholds(
    table: Table, columns: Mapping[str, Columns], failures: set[Failure], settings: EvaluatorSettings
) -> list[Check]:
    """Lists every condition with both its figures, overall and on each slice with enough queries.

    TFMA decided on `min` and `max_drop`. Whether baselines are beaten is decided here, since TFMA compares with one
    model only, which is the champion.

    Args:
        table: all models' metrics.
        columns: slice to the features that define it.
        failures: what TFMA found violated.
        settings: the thresholds.
    """
    return [
        check
        for metric, threshold in settings.thresholds.items()
        for name, values in table[CANDIDATE].items()
        if metric in values and (name == OVERALL or set(columns[name]) in map(set, threshold.slices))
        for check in _conditions(table, failures, metric, threshold, name, settings.baselines.names)
    ]


def _conditions(
    table: Table, failures: set[Failure], metric: str, threshold: Threshold, name: str, baselines: tuple[str, ...]
) -> Iterator[Check]:
    figure = table[CANDIDATE][name][metric]
    if threshold.min is not None:
        yield Check(metric, name, figure, threshold.min, "min", (metric, name, "min") not in failures)
    # Nothing can drop below zero, and TFMA has no ratio to it.
    if threshold.max_drop is not None and CHAMPION in table and (before := table[CHAMPION][name][metric]) > 0:
        bound = before * (1 - threshold.max_drop)
        yield Check(metric, name, figure, bound, CHAMPION, (metric, name, CHAMPION) not in failures)
    for rivals in threshold.rivals(baselines):
        best = max(rivals, key=lambda rival: table[rival][name][metric])
        bound = table[best][name][metric]
        yield Check(metric, name, figure, bound, best, figure > bound)
