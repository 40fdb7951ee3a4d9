"""Thresholds."""

from __future__ import annotations

import pytest

from components.evaluation_report import Check, Interval
from components.evaluator.earlier import Night
from components.evaluator.settings import EvaluatorSettings, Threshold


def _check(
    settings: EvaluatorSettings,
    failures: set,
    interval: Interval | None = None,
    night: Night = Night(),  # noqa: B008 - it is frozen
    **values: dict[str, float],
) -> list[Check]:
    """Checks thresholds on models with one slice besides the whole; the metrics all have the same values.

    All differences have the interval; None is for no replicates.
    """
    from components.evaluator.validation import check_thresholds

    table = {
        model: {
            "overall": {"count": 100, "hit_rate@10": of_slice["overall"], "ndcg@10": of_slice["overall"]},
            "user_type=new": {"count": 60, "hit_rate@10": of_slice["new"], "ndcg@10": of_slice["new"]},
        }
        for model, of_slice in values.items()
    }
    columns = {"overall": (), "user_type=new": ("user_type",)}
    return check_thresholds(table, columns, failures, settings, lambda *of: interval, night)


def test_the_default_thresholds() -> None:
    settings = EvaluatorSettings()
    others = {name: {"overall": 0.1, "new": 0.1} for name in settings.baselines.names}
    checks = _check(
        settings,
        set(),
        candidate={"overall": 0.2, "new": 0.1},
        champion={"overall": 0.3, "new": 0.3},
        **{**others, "ease": {"overall": 0.2, "new": 0.3}},
    )
    assert [str(check) for check in checks] == [
        "hit@10 0.2000 is below the champion's 0.2970 (less the drop allowed)",
        "NDCG@10 0.2000 is not above ease's 0.2000",
    ]
    assert not any(check.passed for check in checks)


def test_thresholds_on_slices() -> None:
    settings = EvaluatorSettings(thresholds={"hit_rate@10": Threshold(min=0.15, slices=(("user_type",),))})
    checks = _check(
        settings,
        {("hit_rate@10", "user_type=new")},
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
    assert _check(settings, set(), **found, popularity=found["candidate"]) == []


@pytest.mark.parametrize(
    ("interval", "certain", "champion", "baseline"),
    [
        ((-0.03, -0.01), False, "is below", "is not above"),
        ((-0.03, 0.01), False, "is within noise of", "is within noise of"),
        ((-0.03, 0.01), True, "is below", "is not above"),
        ((0.0, 0.0), False, "is within noise of", "is not above"),
    ],
)
def test_noise_refuses_only_who_asks_for_certainty(
    interval: Interval, certain: bool, champion: str, baseline: str
) -> None:
    threshold = Threshold(max_drop=0.0, beat_popularity=True, certain=certain)
    checks = _check(
        EvaluatorSettings(thresholds={"hit_rate@10": threshold}),
        set(),
        interval,
        candidate={"overall": 0.1, "new": 0.1},
        champion={"overall": 0.11, "new": 0.1},
        popularity={"overall": 0.11, "new": 0.1},
    )
    assert [str(check) for check in checks] == [
        f"hit@10 0.1000 {champion} the champion's 0.1100 (less the drop allowed)",
        f"hit@10 0.1000 {baseline} popularity's 0.1100",
    ]
    assert [check.passed for check in checks] == [relation == "is within noise of" for relation in (champion, baseline)]
    assert all(check.interval == interval for check in checks)


def test_perfect_answers_need_not_be_above_others() -> None:
    def verdict(metric: str, value: float) -> tuple[str, bool]:
        settings = EvaluatorSettings(thresholds={metric: Threshold(beat_popularity=True)})
        values = {name: {"overall": value, "new": value} for name in ("candidate", "popularity")}
        [check] = _check(settings, set(), (0.0, 0.0), **values)
        return str(check), check.passed

    assert verdict("hit_rate@10", 1.0) == ("hit@10 1.0000 equals popularity's 1.0000", True)
    assert verdict("hit_rate@10", 0.5) == ("hit@10 0.5000 is not above popularity's 0.5000", False)


def test_a_lead_may_be_noise_too() -> None:
    def verdict(certain: bool) -> tuple[str, bool]:
        settings = EvaluatorSettings(thresholds={"ndcg@10": Threshold(beat_popularity=True, certain=certain)})
        values = {"candidate": {"overall": 0.12, "new": 0.1}, "popularity": {"overall": 0.11, "new": 0.1}}
        [check] = _check(settings, set(), (-0.01, 0.03), **values)
        return str(check), check.passed

    assert verdict(certain=False) == ("NDCG@10 0.1200 is above popularity's 0.1100", True)
    assert verdict(certain=True) == ("NDCG@10 0.1200 is within noise of popularity's 0.1100", False)


def test_half_of_the_lead_that_the_champion_had_is_to_be_kept() -> None:
    settings = EvaluatorSettings.model_validate(
        {"thresholds": {"ndcg@10": {"keep_lead": 0.5}}, "baselines": {"names": ["popularity", "ease", "slit"]}}
    )
    # It had 1.5 times what ease had; slit was not there.
    night = Night(metrics={"ndcg@10": 0.3}, baselines={"popularity": {"ndcg@10": 0.1}, "ease": {"ndcg@10": 0.2}})

    def checks(
        candidate: float, champion: bool = True, interval: Interval | None = None, **others: float
    ) -> list[Check]:
        values = {"popularity": 0.1, "ease": 0.08, "slit": 0.3, **others, "candidate": candidate}
        values |= {"champion": 0.1} if champion else {}
        table = {name: {"overall": value, "new": value} for name, value in values.items()}
        return _check(settings, set(), interval, night, **table)

    [found] = checks(0.13)
    assert (found.bound, found.kind, found.passed) == (pytest.approx(0.125), "lead", True)
    assert str(found) == "NDCG@10 0.1300 keeps the lead that the champion had, 0.1250"
    [found] = checks(0.1)
    assert (str(found), found.passed) == ("NDCG@10 0.1000 is below the lead that the champion had, 0.1250", False)
    [found] = checks(0.1, interval=(-0.04, 0.01))
    assert (str(found), found.passed) == (
        "NDCG@10 0.1000 is within noise of the lead that the champion had, 0.1250",
        True,
    )
    [found] = checks(0.1, champion=False)
    assert (found.kind, found.passed) == ("lead", False), "its lead may be all that is known of a champion"
    [found] = checks(1.0, popularity=0.9)
    assert found.passed, "nothing is above 1"
