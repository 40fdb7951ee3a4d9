"""The metrics as TFMA computes them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import sparse
from tensorflow_model_analysis.metrics import metric_types

from components.metrics import tfma_metrics
from components.metrics.ranks import rank_counts


def _compute(metrics: list[metric_types.Metric], models: list[str], extracts: list[dict]) -> dict:
    """Does what TFMA's evaluator does with a metric's computations on one slice."""
    computations = [part for metric in metrics for part in metric.computations(model_names=models)]
    results: dict = {}
    combined = 0
    for part in dict.fromkeys(c for c in computations if isinstance(c, metric_types.MetricComputation)):
        combined += 1
        accumulators = []
        for extract in extracts:
            (preprocessed,) = part.preprocessors[0].process(extract)
            inputs = metric_types.StandardMetricInputs(preprocessed)
            accumulators.append(part.combiner.add_input(part.combiner.create_accumulator(), inputs))
        accumulators.append(part.combiner.create_accumulator())  # a worker that got nothing
        results.update(part.combiner.extract_output(part.combiner.merge_accumulators(accumulators)))
    for part in computations:
        if isinstance(part, metric_types.DerivedMetricComputation):
            results.update(part.result(results))
    public = {(key.model_name, key.name): value for key, value in results.items() if not key.name.startswith("_")}
    return {"combiners": combined, "values": public}


METRICS = [
    tfma_metrics.QueryCount(),
    tfma_metrics.RankingMetric(kind="hit_rate", k=1, name="hit_rate@1"),
    tfma_metrics.RankingMetric(kind="hit_rate", k=3, name="hit_rate@3"),
    tfma_metrics.RankingMetric(kind="ndcg", k=3, name="ndcg@3"),
    tfma_metrics.RankingMetric(kind="mrr", k=3, name="mrr"),
]


def _counts(ranks: list[int], weights: list[list[int]] | None = None) -> np.ndarray:
    return rank_counts(np.array(ranks), 3, np.array(weights or [[1]] * len(ranks), np.uint8))


def _extract(**ranks: list[int]) -> dict:
    return {tfma_metrics.STATISTICS_KEY: {name: {"rank_counts": _counts(values)} for name, values in ranks.items()}}


def test_two_models_share_extracts_but_not_results() -> None:
    extracts = [_extract(candidate=[0, 2], champion=[3, 3]), _extract(candidate=[3, 0], champion=[1, 3])]
    found = _compute(METRICS, ["candidate", "champion"], extracts)
    assert found["combiners"] == 2, "one histogram a model, however many metrics"
    assert found["values"] == {
        ("candidate", "example_count"): 4,
        ("candidate", "hit_rate@1"): 2 / 4,
        ("candidate", "hit_rate@3"): 3 / 4,
        ("candidate", "ndcg@3"): pytest.approx((1 + 1 / 2 + 1) / 4),
        ("candidate", "mrr"): pytest.approx((1 + 1 / 3 + 1) / 4),
        ("champion", "example_count"): 4,
        ("champion", "hit_rate@1"): 0,
        ("champion", "hit_rate@3"): 1 / 4,
        ("champion", "ndcg@3"): pytest.approx(1 / np.log2(3) / 4),
        ("champion", "mrr"): pytest.approx(1 / 2 / 4),
    }


def test_one_model_of_several() -> None:
    found = _compute(METRICS, ["champion"], [_extract(candidate=[0], champion=[1])])
    assert found["combiners"] == 1
    assert {model for model, _ in found["values"]} == {"champion"}
    assert found["values"]["champion", "mrr"] == 1 / 2


def test_a_model_without_a_name() -> None:
    found = _compute(METRICS, [], [{tfma_metrics.STATISTICS_KEY: {"": {"rank_counts": _counts([0, 3])}}}])
    assert found["values"]["", "hit_rate@1"] == 1 / 2


def test_replicates_are_the_metrics_with_other_weights() -> None:
    weights = [[1, 2, 0], [1, 0, 0], [1, 1, 0]]
    extract = {tfma_metrics.STATISTICS_KEY: {"candidate": {"rank_counts": _counts([0, 3, 1], weights)}}}
    metric = tfma_metrics.Replicates(gains=[("hit_rate", 1), ("mrr", 3)])
    replicates = _compute([*METRICS, metric], ["candidate"], [extract, extract])
    assert replicates["combiners"] == 1
    assert replicates["values"]["candidate", "example_count"] == 6, "as it is, without weights"
    assert replicates["values"]["candidate", "hit_rate@1"] == 1 / 3
    expected = np.array([[2 / 3, math.nan], [(2 * 1 + 1 / 2) / 3, math.nan]])
    np.testing.assert_allclose(replicates["values"]["candidate", "replicates"], expected)


def test_metrics_of_lists() -> None:
    def extract(total: float, count: int, times: list[int]) -> dict:
        statistics = {"novelty@2": np.array([total, count]), "exposure@2": sparse.csr_array([times])}
        return {tfma_metrics.STATISTICS_KEY: {"candidate": statistics}}

    metrics = [
        tfma_metrics.ListMean(name="novelty@2"),
        tfma_metrics.ExposureMetric(kind="coverage", k=2, name="coverage@2"),
        tfma_metrics.ExposureMetric(kind="gini", k=2, name="gini@2"),
    ]
    found = _compute(metrics, ["candidate"], [extract(7.0, 2, [0, 1, 0, 0]), extract(2.0, 1, [0, 0, 0, 3])])
    assert found["values"] == {
        ("candidate", "novelty@2"): 9 / 3,
        ("candidate", "coverage@2"): 2 / 4,
        ("candidate", "gini@2"): (1 * 1 + 3 * 3) / (4 * 4),
    }
    nothing = _compute(metrics[:1], ["candidate"], [extract(0.0, 0, [0])])
    assert math.isnan(nothing["values"]["candidate", "novelty@2"])


def test_users_are_counted_once_and_up_to_a_number() -> None:
    extracts = [
        {tfma_metrics.STATISTICS_KEY: {"candidate": {"users": np.array(users, np.uint64)}}}
        for users in ([2, 5], [], [5, 2**63 + 1], [3])
    ]

    def found(most: int) -> float:
        values = _compute([tfma_metrics.UserCount(most=most)], ["candidate"], extracts)["values"]
        return values["candidate", "user_count"]

    assert (found(9), found(4), found(3)) == (4, 4, 3)
