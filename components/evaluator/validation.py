"""Thresholds: those that TFMA checks, put into its terms, and the verdicts of all as one list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tensorflow_model_analysis.proto import config_pb2, validation_result_pb2

from components.evaluation_report import CANDIDATE, CHAMPION, LEAD, OVERALL, Check, Interval, Table
from components.evaluator.earlier import Night
from components.evaluator.settings import EvaluatorSettings, Threshold
from components.metrics import METRICS

Columns = tuple[str, ...]
Failure = tuple[str, str]
"""Metric and slice of a threshold that TFMA found violated."""
Difference = Callable[[str, str, str, float], "Interval | None"]
"""The interval of the candidate's metric in a slice less another model's times a share: metric, slice, model, share."""


def slice_name(columns_and_values: Mapping[str, str]) -> str:
    """Returns a slice's name: "overall", or like "user_type=new, history_length=0"."""
    return ", ".join(f"{column}={value}" for column, value in columns_and_values.items()) or OVERALL


def tfma_thresholds(threshold: Threshold) -> list[config_pb2.PerSliceMetricThreshold]:
    """Returns what of a threshold TFMA itself can check: `min`. It knows nothing of replicates that are paired."""
    if threshold.min is None:
        return []
    metric_threshold = config_pb2.MetricThreshold()
    metric_threshold.value_threshold.lower_bound.value = threshold.min
    slices = [config_pb2.SlicingSpec(), *(config_pb2.SlicingSpec(feature_keys=columns) for columns in threshold.slices)]
    return [config_pb2.PerSliceMetricThreshold(slicing_specs=slices, threshold=metric_threshold)]


def tfma_failures(result: validation_result_pb2.ValidationResult) -> set[Failure]:
    """Returns the violations that TFMA's validation found."""
    return {
        (failure.metric_key.name, slice_name(slice_values(validation.slice_key)))
        for validation in result.metric_validations_per_slice
        for failure in validation.failures
    }


def slice_values(slice_key: Any) -> dict[str, str]:
    """Returns the features and their values that define the slice of a TFMA message (`SliceKey`); empty: all."""
    values = {}
    for key in slice_key.single_slice_keys:
        value = getattr(key, key.WhichOneof("kind"))
        values[key.column] = value.decode() if isinstance(value, bytes) else str(value)
    return values


def check_thresholds(
    table: Table,
    columns: Mapping[str, Columns],
    failures: set[Failure],
    settings: EvaluatorSettings,
    difference: Difference,
    night: Night = Night(),  # noqa: B008 - it is frozen
) -> list[Check]:
    """Lists every condition with both its figures, overall and on each slice with enough users.

    TFMA decided on `min`; what compares models is decided here.

    Args:
        table: all models' metrics.
        columns: slice to the features that define it.
        failures: what TFMA found violated.
        settings: the thresholds.
        difference: gives intervals, None where there are no replicates.
        night: what is known of the champion's.
    """
    return [
        check
        for metric, threshold in settings.thresholds.items()
        for name, values in table[CANDIDATE].items()
        if metric in values and (name == OVERALL or set(columns[name]) in map(set, threshold.slices))
        for check in _conditions(table, failures, metric, threshold, name, settings.baselines.names, difference)
    ] + [
        check
        for metric, threshold in settings.thresholds.items()
        for check in _kept_lead(table, metric, threshold, settings.baselines.names, difference, night)
    ]


def _kept_lead(
    table: Table, metric: str, threshold: Threshold, baselines: tuple[str, ...], difference: Difference, night: Night
) -> Iterator[Check]:
    """Whether enough of the lead is kept that the champion had over the baselines of its own night."""
    rivals = tuple(name for name in baselines if name in night.baselines)
    lead = night.lead(metric, rivals)
    if threshold.keep_lead is None or lead is None:
        return
    best = max(rivals, key=lambda rival: table[rival][OVERALL][metric])
    times = 1 + threshold.keep_lead * (lead - 1)
    figure, bound = table[CANDIDATE][OVERALL][metric], times * table[best][OVERALL][metric]
    interval = difference(metric, OVERALL, best, times)
    low, high = interval or (figure - bound,) * 2
    # Nothing is above 1, whatever a baseline has.
    passed = bound > 1 or (low if threshold.certain else high) >= 0
    yield Check(metric, OVERALL, figure, bound, LEAD, passed, interval)


def _conditions(
    table: Table,
    failures: set[Failure],
    metric: str,
    threshold: Threshold,
    name: str,
    baselines: tuple[str, ...],
    difference: Difference,
) -> Iterator[Check]:
    figure = table[CANDIDATE][name][metric]
    if threshold.min is not None:
        yield Check(metric, name, figure, threshold.min, "min", (metric, name) not in failures)
    # Nothing can drop below zero.
    if threshold.max_drop is not None and CHAMPION in table and table[CHAMPION][name][metric] > 0:
        share = 1 - threshold.max_drop
        bound, interval = table[CHAMPION][name][metric] * share, difference(metric, name, CHAMPION, share)
        low, high = interval or (figure - bound,) * 2
        passed = (low if threshold.certain else high) >= 0
        yield Check(metric, name, figure, bound, CHAMPION, passed, interval)
    for rivals in threshold.rivals(baselines):
        best = max(rivals, key=lambda rival: table[rival][name][metric])
        bound, interval = table[best][name][metric], difference(metric, name, best, 1.0)
        low, high = interval or (figure - bound,) * 2
        perfect = figure == 1 and METRICS[metric.partition("@")[0]].of == "rank"  # nothing can be above that
        passed = perfect or (low if threshold.certain else high) > 0
        yield Check(metric, name, figure, bound, best, passed, interval)
