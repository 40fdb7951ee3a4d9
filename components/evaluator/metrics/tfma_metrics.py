"""Our ranking metrics as TFMA metrics.

All metrics of a model derive from one histogram of ranks, which one combiner adds up, so a further metric costs next
to nothing. The histograms come from `components.evaluator.extractor`. Class names differ from those that TFMA itself
registers (such as `NDCG`), because TFMA looks there first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types

from components.evaluator.metrics import hit_rate, mrr, ndcg

RANK_COUNTS_KEY = "rank_counts"
"""Key of an extract: model name to [depth + 1] counts of ranks (see `ranks.rank_counts`)."""


class HitRateAtK(metric_types.Metric):
    """Hit rate at `k`; see `hit_rate`."""

    def __init__(self, k: int, name: str):
        super().__init__(_computations_of(hit_rate.hit_rate), k=k, name=name)


class NdcgAtK(metric_types.Metric):
    """NDCG at `k`; see `ndcg`."""

    def __init__(self, k: int, name: str):
        super().__init__(_computations_of(ndcg.ndcg), k=k, name=name)


class MrrAtK(metric_types.Metric):
    """Mean reciprocal rank at `k`; see `mrr`."""

    def __init__(self, k: int, name: str):
        super().__init__(_computations_of(mrr.reciprocal_rank), k=k, name=name)


class QueryCount(metric_types.Metric):
    """How many queries there are, under the name by which TFMA's views know the size of a slice."""

    def __init__(self, name: str = "example_count"):
        super().__init__(_count_computations, name=name)


def _computations_of(gains: Callable[[np.ndarray, int], np.ndarray]) -> Callable[..., metric_types.MetricComputations]:
    """Returns the function that TFMA calls for the computations of a metric that is the mean of `gains(ranks, k)`."""

    def computations(
        k: int, name: str, model_names: list[str] | None = None, example_weighted: bool = False
    ) -> metric_types.MetricComputations:
        def mean(counts: np.ndarray) -> float:
            return float(counts @ gains(np.arange(len(counts)), min(k, len(counts) - 1)) / counts.sum())

        return _derived(name, mean, model_names, example_weighted)

    return computations


def _count_computations(
    name: str, model_names: list[str] | None = None, example_weighted: bool = False
) -> metric_types.MetricComputations:
    return _derived(name, lambda counts: float(counts.sum()), model_names, example_weighted)


def _derived(
    name: str, function: Callable[[np.ndarray], float], model_names: list[str] | None, example_weighted: bool
) -> metric_types.MetricComputations:
    """Returns, for each model, its histogram (TFMA computes it once, however often it is named) and what follows."""
    computations: metric_types.MetricComputations = []
    for model_name in model_names or [""]:
        # TFMA keeps a metric whose name starts with an underscore out of its results.
        counts_key = metric_types.MetricKey("_rank_counts", model_name=model_name)
        key = metric_types.MetricKey(name, model_name=model_name, example_weighted=example_weighted)

        def result(
            metrics: dict[metric_types.MetricKey, Any],
            counts_key: metric_types.MetricKey = counts_key,
            key: metric_types.MetricKey = key,
        ) -> dict[metric_types.MetricKey, float]:
            return {key: function(metrics[counts_key])}

        computations += [
            metric_types.MetricComputation(
                keys=[counts_key],
                preprocessors=[
                    metric_types.StandardMetricInputsPreprocessor(
                        include_filter={RANK_COUNTS_KEY: {}}, include_default_inputs=False
                    )
                ],
                combiner=RankCountsCombiner(counts_key),
            ),
            metric_types.DerivedMetricComputation(keys=[key], result=result),
        ]
    return computations


class RankCountsCombiner(beam.CombineFn):
    """Adds up a model's histograms of ranks, all [depth + 1]."""

    def __init__(self, key: metric_types.MetricKey):
        self._key = key

    def create_accumulator(self) -> np.ndarray:
        """Returns what adds nothing to a histogram of any depth."""
        return np.zeros(1, np.int64)

    def add_input(self, accumulator: np.ndarray, element: metric_types.StandardMetricInputs) -> np.ndarray:
        """Adds the histogram of one extract."""
        return accumulator + element[RANK_COUNTS_KEY][self._key.model_name]

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        """Adds up histograms."""
        return sum(accumulators, self.create_accumulator())

    def extract_output(self, accumulator: np.ndarray) -> dict[metric_types.MetricKey, np.ndarray]:
        """Returns the histogram under the model's private key."""
        return {self._key: accumulator}
