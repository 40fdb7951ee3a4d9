"""The settings in TFMA's terms."""

from __future__ import annotations

import json

import pytest

from components.evaluator.analysis import eval_config
from components.evaluator.settings import EvaluatorSettings, Threshold

SETTINGS = EvaluatorSettings(
    thresholds={"hit_rate@10": Threshold(min=0.1, max_drop=0.05, slices=(("user_type",),))},
    slices=(("user_type",),),
    bootstrap_replicates=0,
)
METRICS = {"hit_rate@10": ("hit_rate", 10), "coverage@10": ("coverage", 10), "novelty@10": ("novelty", 10)}


@pytest.mark.parametrize("has_champion", [True, False])
def test_the_champion_is_the_baseline_and_thresholds_are_the_candidates(has_champion: bool) -> None:
    config = eval_config(SETTINGS, METRICS, has_champion)
    names = ["candidate", *(["champion"] if has_champion else []), *SETTINGS.baselines.names]
    assert [spec.name for spec in config.model_specs] == names
    assert [spec.name for spec in config.model_specs if spec.is_baseline] == (["champion"] if has_champion else [])
    judged, others = config.metrics_specs
    assert list(judged.model_names) == names[:1]
    assert list(others.model_names) == names[1:]
    [bound] = [bound for metric in judged.metrics for bound in metric.per_slice_thresholds]
    assert bound.threshold.value_threshold.lower_bound.value == pytest.approx(0.1)
    assert not bound.threshold.HasField("change_threshold"), "TFMA knows nothing of paired replicates"
    assert [list(spec.feature_keys) for spec in bound.slicing_specs] == [[], ["user_type"]]
    assert not [bound for metric in others.metrics for bound in metric.per_slice_thresholds]
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [[], ["user_type"]]


def test_each_metric_is_computed_by_what_it_is_of() -> None:
    judged, _ = eval_config(SETTINGS, METRICS, has_champion=False).metrics_specs
    assert [(metric.class_name, json.loads(metric.config).get("name")) for metric in judged.metrics] == [
        ("QueryCount", None),
        ("ListMean", "left_out"),
        ("UserCount", None),
        ("RankingMetric", "hit_rate@10"),
        ("ExposureMetric", "coverage@10"),
        ("ListMean", "novelty@10"),
    ]
    drawn = SETTINGS.model_copy(update={"bootstrap_replicates": 5})
    assert eval_config(drawn, METRICS, has_champion=False).metrics_specs[0].metrics[3].class_name == "Replicates"


def test_without_baselines_and_champion_there_is_one_spec() -> None:
    alone = EvaluatorSettings.model_validate({"baselines": {"names": []}, "thresholds": {}})
    assert [list(spec.model_names) for spec in eval_config(alone, METRICS, False).metrics_specs] == [["candidate"]]
