"""The ranking metrics as TFMA computes them."""

from __future__ import annotations

import numpy as np
import pytest
from tensorflow_model_analysis.metrics import metric_types

from components.evaluator.metrics import tfma_metrics
from components.evaluator.metrics.ranks import rank_counts


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
        results.update(part.combiner.extract_output(part.combiner.merge_accumulators(accumulators)))
    for part in computations:
        if isinstance(part, metric_types.DerivedMetricComputation):
            results.update(part.result(results))
    public = {(key.model_name, key.name): value for key, value in results.items() if not key.name.startswith("_")}
    return {"combiners": combined, "values": public}


METRICS = [
    tfma_metrics.QueryCount(),
    tfma_metrics.HitRateAtK(k=1, name="hit_rate@1"),
    tfma_metrics.HitRateAtK(k=3, name="hit_rate@3"),
    tfma_metrics.NdcgAtK(k=3, name="ndcg@3"),
    tfma_metrics.MrrAtK(k=3, name="mrr"),
]


def _extract(**ranks: list[int]) -> dict:
    return {tfma_metrics.RANK_COUNTS_KEY: {name: rank_counts(np.array(values), 3) for name, values in ranks.items()}}


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
    found = _compute(METRICS, [], [{tfma_metrics.RANK_COUNTS_KEY: {"": rank_counts(np.array([0, 3]), 3)}}])
    assert found["values"]["", "hit_rate@1"] == 1 / 2


def test_k_beyond_the_answer_does_not_count_the_missed() -> None:
    metrics = [tfma_metrics.HitRateAtK(k=100, name="hit_rate@100"), tfma_metrics.MrrAtK(k=100, name="mrr")]
    found = _compute(metrics, ["candidate"], [_extract(candidate=[0, 3])])
    assert found["values"] == {("candidate", "hit_rate@100"): 1 / 2, ("candidate", "mrr"): 1 / 2}
