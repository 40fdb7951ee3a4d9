"""Our metrics as TFMA metrics.

The extracts carry, for each model, statistics that add up (`components.evaluator.extractor.statistics`). One combiner
adds up each, and any number of metrics derive from it, so a further metric costs next to nothing. Class names differ
from those that TFMA itself registers (such as `NDCG`), because TFMA looks there first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types

from components.metrics import METRICS

STATISTICS_KEY = "statistics"
"""Key of an extract: model name to name of the statistic to its value."""
RANK_COUNTS = "rank_counts"
"""The statistic [R + 1, depth + 1] of ranks: as they are, and in R replicates (see `ranks.rank_counts`)."""
LEFT_OUT = "left_out"
"""The statistic [2] of how many queries are of items that answers leave out, and of how many there are."""
USERS = "users"
"""The statistic [M] uint64 of whose the queries are: hashes of the users, ascending, at most so many as count."""
REPLICATES = "replicates"
"""Name of the metric [M, R] that holds the M ranking metrics in each replicate."""


class RankingMetric(metric_types.Metric):
    """A metric of the rank of the relevant item: a kind in `METRICS`, cut at `k`."""

    def __init__(self, kind: str, k: int, name: str):
        super().__init__(_ranking_computations, kind=kind, k=k, name=name)


class Replicates(metric_types.Metric):
    """The ranking metrics `gains`, pairs of kind and k, in each replicate of the bootstrap."""

    def __init__(self, gains: list[tuple[str, int]], name: str = REPLICATES):
        super().__init__(_replicate_computations, gains=gains, name=name)


class ListMean(metric_types.Metric):
    """A mean over queries, from a statistic of the metric's own name: [2], sum and count."""

    def __init__(self, name: str):
        super().__init__(_mean_computations, name=name)


class ExposureMetric(metric_types.Metric):
    """A metric, a kind in `METRICS`, of how often each item of the catalogue is among the first `k`."""

    def __init__(self, kind: str, k: int, name: str):
        super().__init__(_exposure_computations, kind=kind, k=k, name=name)


class QueryCount(metric_types.Metric):
    """How many queries there are, under the name by which TFMA's views know the size of a slice."""

    def __init__(self, name: str = "example_count"):
        super().__init__(_count_computations, name=name)


class UserCount(metric_types.Metric):
    """Whose queries there are: how many users, or `most` where there are more."""

    def __init__(self, most: int, name: str = "user_count"):
        super().__init__(_user_computations, most=most, name=name)


def exposure(k: int) -> str:
    """Returns the name of the statistic [1, N], sparse: how often each item is among the first `k`."""
    return f"exposure@{k}"


def mean_gains(counts: np.ndarray, metrics: Sequence[tuple[str, int]]) -> np.ndarray:
    """Returns ranking metrics of W histograms of ranks [W, depth + 1], [len(metrics), W]; NaN where one is empty.

    Args:
        counts: the histograms.
        metrics: kind and k of each, which is at most the depth.
    """
    ranks = np.arange(counts.shape[1])
    of_ranks = np.stack([METRICS[kind].compute(ranks, k) for kind, k in metrics])
    counts = counts.astype(np.float64)  # once, and not for each metric
    total = counts.sum(axis=1)
    return np.divide(of_ranks @ counts.T, total, out=np.full((len(metrics), len(counts)), np.nan), where=total > 0)


def _ranking_computations(
    kind: str, k: int, name: str, model_names: list[str] | None = None, example_weighted: bool = False
) -> metric_types.MetricComputations:
    return _derived(
        name,
        RANK_COUNTS,
        lambda counts: float(mean_gains(counts[:1], [(kind, k)])[0, 0]),
        model_names,
        example_weighted,
    )


def _replicate_computations(
    gains: list[tuple[str, int]],
    name: str,
    model_names: list[str] | None = None,
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    return _derived(name, RANK_COUNTS, lambda counts: mean_gains(counts[1:], gains), model_names, example_weighted)


def _mean_computations(
    name: str, model_names: list[str] | None = None, example_weighted: bool = False
) -> metric_types.MetricComputations:
    def mean(statistic: np.ndarray) -> float:
        total, count = statistic.tolist()
        return total / count if count else float("nan")

    return _derived(name, name, mean, model_names, example_weighted)


def _exposure_computations(
    kind: str, k: int, name: str, model_names: list[str] | None = None, example_weighted: bool = False
) -> metric_types.MetricComputations:
    return _derived(
        name, exposure(k), lambda times: METRICS[kind].compute(times.toarray().ravel()), model_names, example_weighted
    )


def _count_computations(
    name: str, model_names: list[str] | None = None, example_weighted: bool = False
) -> metric_types.MetricComputations:
    return _derived(name, RANK_COUNTS, lambda counts: float(counts[0].sum()), model_names, example_weighted)


def _user_computations(
    most: int, name: str, model_names: list[str] | None = None, example_weighted: bool = False
) -> metric_types.MetricComputations:
    return _derived(
        name,
        USERS,
        lambda users: float(len(users)),
        model_names,
        example_weighted,
        functools.partial(_Smallest, most=most),
    )


def _derived(
    name: str,
    statistic: str,
    function: Callable[[Any], Any],
    model_names: list[str] | None,
    example_weighted: bool,
    combiner: Callable[[metric_types.MetricKey, str], beam.CombineFn] | None = None,
) -> metric_types.MetricComputations:
    """Returns, for each model, its statistic (TFMA adds it up once, however often it is named) and what follows."""
    computations: metric_types.MetricComputations = []
    for model_name in model_names or [""]:
        # TFMA keeps a metric whose name starts with an underscore out of its results.
        statistic_key = metric_types.MetricKey(f"_{statistic}", model_name=model_name)
        key = metric_types.MetricKey(name, model_name=model_name, example_weighted=example_weighted)

        def result(
            metrics: dict[metric_types.MetricKey, Any],
            statistic_key: metric_types.MetricKey = statistic_key,
            key: metric_types.MetricKey = key,
        ) -> dict[metric_types.MetricKey, Any]:
            return {key: function(metrics[statistic_key])}

        computations += [
            metric_types.MetricComputation(
                keys=[statistic_key],
                preprocessors=[
                    metric_types.StandardMetricInputsPreprocessor(
                        include_filter={STATISTICS_KEY: {}}, include_default_inputs=False
                    )
                ],
                combiner=(combiner or StatisticCombiner)(statistic_key, statistic),
            ),
            metric_types.DerivedMetricComputation(keys=[key], result=result),
        ]
    return computations


class StatisticCombiner(beam.CombineFn):
    """Adds up one statistic of one model: arrays of one shape, dense or sparse."""

    def __init__(self, key: metric_types.MetricKey, statistic: str):
        self._key = key
        self._statistic = statistic

    def create_accumulator(self) -> Any:
        """Returns what adds nothing to an array of any shape."""
        return 0

    def add_input(self, accumulator: Any, element: metric_types.StandardMetricInputs) -> Any:
        """Adds the statistic of one extract."""
        return element[STATISTICS_KEY][self._key.model_name][self._statistic] + accumulator

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        """Adds up statistics."""
        return sum(accumulators)

    def extract_output(self, accumulator: Any) -> dict[metric_types.MetricKey, Any]:
        """Returns the statistic under the model's private key."""
        return {self._key: accumulator}


class _Smallest(StatisticCombiner):
    """Unites one statistic of one model: sets of numbers, of which the `most` smallest are kept."""

    def __init__(self, key: metric_types.MetricKey, statistic: str, most: int):
        super().__init__(key, statistic)
        self._most = most

    def create_accumulator(self) -> Any:
        return np.zeros(0, np.uint64)

    def add_input(self, accumulator: Any, element: metric_types.StandardMetricInputs) -> Any:
        return self.merge_accumulators([accumulator, element[STATISTICS_KEY][self._key.model_name][self._statistic]])

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        return np.unique(np.concatenate(list(accumulators)))[: self._most]
