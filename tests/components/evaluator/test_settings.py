"""The Evaluator's settings."""

from __future__ import annotations

import pydantic
import pytest

from components.evaluator.settings import EvaluatorSettings, Threshold


def test_settings_name_the_metrics() -> None:
    settings = EvaluatorSettings(
        ks=(5, 1), ndcg_ks=(20, 10), map_ks=(), recall_ks=(3,), precision_ks=(2, 2), list_ks=(30,), thresholds={}
    )
    assert settings.ranking_metrics() == {
        "hit_rate@1": ("hit_rate", 1),
        "hit_rate@5": ("hit_rate", 5),
        "recall@3": ("recall", 3),
        "precision@2": ("precision", 2),
        "ndcg@10": ("ndcg", 10),
        "ndcg@20": ("ndcg", 20),
        "mrr": ("mrr", 30),
    }
    kinds = ["coverage", "diversity", "history_overlap", "novelty", "average_popularity", "gini"]
    assert settings.list_metrics() == {f"{kind}@30": (kind, 30) for kind in kinds}
    assert settings.depth == 30


def test_the_headline_is_a_ranking_metric_with_a_threshold_if_there_is_one() -> None:
    assert EvaluatorSettings().headline == "hit_rate@10"
    assert EvaluatorSettings(ks=(3,), thresholds={}).headline == "hit_rate@3"
    thresholds = {"coverage@10": Threshold(min=0.1), "mrr": Threshold(min=0.1)}
    assert EvaluatorSettings(thresholds=thresholds).headline == "mrr"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ks": []}, "ks"),
        ({"exclude_seen": False}, "false would judge lists that nobody is served: set serving.exclude: nothing"),
        ({"ks": [0]}, "greater than 0"),
        ({"k": [1]}, "Extra inputs are not permitted"),
        (
            {"ks": [5]},
            r"'hit_rate@10' is not measured; there is hit_rate@5, recall@10, precision@10, map@10, ndcg@10, mrr",
        ),
        ({"thresholds": {"gini@10": {"min": 0.1}}}, "gini@10: more of it is not better"),
        ({"thresholds": {"mrr": {"beat_baselines": ["bert"]}}}, "mrr: to be beaten, bert must be one of baselines.nam"),
        ({"thresholds": {"mrr": {"beat_baselines": "ease"}}}, "beat_baselines"),
        ({"thresholds": {"mrr": {"beat_baselines": []}}}, "to be beaten, a baseline must be one of"),
        (
            {"baselines": {"names": []}},
            "ndcg@10: to be beaten, a baseline must be one of baselines.names, which are none",
        ),
        ({"baselines": {"names": ["bert"]}}, "names"),
        ({"bootstrap_replicates": -1}, "greater than or equal to 0"),
        ({"confidence_level": 95}, "less than 1"),
        ({"thresholds": {"recall": {}}}, "'recall' is not measured"),
        ({"thresholds": {"mrr": {"max_drop": 1.5}}}, "less than 1"),
        ({"thresholds": {"mrr": {"slices": [["country"]]}}}, r"mrr: \['country'\] is not one of slices"),
        ({"slices": [[]]}, "at least 1 item"),
    ],
)
def test_wrong_settings_are_named(settings: dict, message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        EvaluatorSettings.model_validate(settings)


def test_what_an_older_config_says_of_what_was_seen_still_holds() -> None:
    assert EvaluatorSettings.model_validate({"exclude_seen": True}) == EvaluatorSettings()
