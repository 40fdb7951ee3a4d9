"""What `recommender reindex` needs no DAG for; tests/e2e/test_reindex.py runs it."""

from __future__ import annotations

import pytest

from components.evaluator.settings import Threshold
from pipeline.config import Config
from pipeline.local.reindex import with_rivals_only


@pytest.mark.parametrize(
    ("thresholds", "left"),
    [
        ({}, ()),
        ({"hit_rate@10": Threshold(max_drop=0.01)}, ()),
        ({"ndcg@10": Threshold(beat_popularity=True)}, ("popularity",)),
        (
            {"ndcg@10": Threshold(beat_popularity=True), "mrr": Threshold(beat_baselines=("ease",))},
            ("popularity", "ease"),
        ),
        ({"mrr": Threshold(beat_baselines=True)}, ("popularity", "recent_popularity", "item_knn", "ease", "markov")),
    ],
)
def test_only_baselines_that_decide_are_fitted(thresholds: dict[str, Threshold], left: tuple[str, ...]) -> None:
    config = Config(name="shop", data={"interactions": {"path": "log.csv"}}, evaluation={"thresholds": thresholds})
    changed = with_rivals_only(config)
    assert changed.evaluation.baselines.names == left
    assert changed.evaluation.thresholds == config.evaluation.thresholds
    # All else is as it was: the nodes before the Evaluator come from the cache.
    same = {"evaluation": {"baselines": {"names"}}}
    assert changed.model_dump(exclude=same) == config.model_dump(exclude=same)
