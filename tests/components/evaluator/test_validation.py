"""Thresholds."""

from __future__ import annotations

from components.evaluation_report import Check
from components.evaluator.settings import EvaluatorSettings, Threshold


def _check(settings: EvaluatorSettings, failures: set, **values: dict[str, float]) -> list[Check]:
    """Checks thresholds on models with one slice besides the whole; the metrics all have the same values."""
    from components.evaluator.validation import check_thresholds

    table = {
        model: {
            "overall": {"count": 100, "hit_rate@10": of_slice["overall"], "ndcg@10": of_slice["overall"]},
            "user_type=new": {"count": 60, "hit_rate@10": of_slice["new"], "ndcg@10": of_slice["new"]},
        }
        for model, of_slice in values.items()
    }
    return check_thresholds(table, {"overall": (), "user_type=new": ("user_type",)}, failures, settings)


def test_the_default_thresholds() -> None:
    checks = _check(
        EvaluatorSettings(),
        {("hit_rate@10", "overall", "champion")},
        candidate={"overall": 0.2, "new": 0.1},
        champion={"overall": 0.3, "new": 0.3},
        popularity={"overall": 0.2, "new": 0.3},
    )
    assert [str(check) for check in checks] == [
        "hit@10 0.2000 is below the champion's 0.2970 (less the drop allowed)",
        "NDCG@10 0.2000 is not above popularity's 0.2000",
    ]
    assert not any(check.passed for check in checks)


def test_thresholds_on_slices() -> None:
    settings = EvaluatorSettings(thresholds={"hit_rate@10": Threshold(min=0.15, slices=(("user_type",),))})
    checks = _check(
        settings,
        {("hit_rate@10", "user_type=new", "min")},
        candidate={"overall": 0.2, "new": 0.1},
        popularity={"overall": 0.2, "new": 0.3},
    )
    assert [(str(check), check.passed) for check in checks] == [
        ("hit@10 0.2000 reaches 0.1500", True),
        ("hit@10 0.1000 is below 0.1500 where user_type=new", False),
    ]


def test_the_best_of_the_baselines_is_to_be_beaten() -> None:
    values = {
        "candidate": {"overall": 0.2, "new": 0.1},
        "popularity": {"overall": 0.1, "new": 0.0},
        "item_knn": {"overall": 0.15, "new": 0.05},
        "ease": {"overall": 0.19, "new": 0.1},
    }
    named: dict = {"names": tuple(values)[1:]}

    def verdicts(rivals: object) -> list[tuple[str, bool]]:
        threshold = {"beat_baselines": rivals, "slices": [["user_type"]]}
        settings = EvaluatorSettings.model_validate({"thresholds": {"hit_rate@10": threshold}, "baselines": named})
        return [(str(check), check.passed) for check in _check(settings, set(), **values)]

    assert verdicts(True) == [
        ("hit@10 0.2000 is above ease's 0.1900", True),
        ("hit@10 0.1000 is not above ease's 0.1000 where user_type=new", False),
    ]
    assert verdicts(["popularity", "item_knn"]) == [
        ("hit@10 0.2000 is above item_knn's 0.1500", True),
        ("hit@10 0.1000 is above item_knn's 0.0500 where user_type=new", True),
    ]
    assert verdicts(False) == []


def test_a_champion_that_never_hits_can_not_be_fallen_behind() -> None:
    settings = EvaluatorSettings(thresholds={"hit_rate@10": Threshold(max_drop=0.0)})
    found = {"candidate": {"overall": 0.0, "new": 0.0}, "champion": {"overall": 0.0, "new": 0.0}}
    assert _check(settings, {("hit_rate@10", "overall", "champion")}, **found, popularity=found["candidate"]) == []
