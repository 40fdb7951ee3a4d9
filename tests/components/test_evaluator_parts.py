"""The pure parts of the Evaluator: popularity, bands, thresholds, settings, report, the check of what is served."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.evaluator.popularity import Popularity
from components.evaluator.report import Check, Report, load_report, save_report
from components.evaluator.settings import EvaluatorSettings, Threshold


def ragged(lists: list[list[bytes]]) -> tuple[np.ndarray, np.ndarray]:
    values = np.array([value for row in lists for value in row], dtype=object)
    return values, np.cumsum([0, *map(len, lists)])


def test_popularity_by_hand() -> None:
    popularity = Popularity({b"c": 5, b"a": 9, b"b": 5, b"d": 1})  # a, b, c, d: of equals the smaller id is first
    labels = np.array([b"a", b"c", b"c", b"d", b"b", b"new"], dtype=object)
    history = ragged([[], [], [b"a", b"a"], [b"b"], [b"b"], []])
    seen = ragged([[b"z"], [], [b"a"], [b"a", b"c"], [], [b"a"]])
    assert popularity.label_ranks(labels, [history, seen], depth=10).tolist() == [0, 2, 1, 0, 10, 10]
    assert popularity.label_ranks(labels, [history, seen], depth=1).tolist() == [0, 1, 1, 0, 1, 1]


ids = st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"unknown"])


@given(
    st.lists(ids, max_size=30),
    st.lists(st.tuples(ids, st.lists(ids, max_size=6), st.lists(ids, max_size=6)), max_size=8),
    st.integers(1, 6),
)
def test_popularity_ranks_as_a_built_answer_would(
    train: list[bytes], queries: list[tuple[bytes, list[bytes], list[bytes]]], depth: int
) -> None:
    counts = Counter(item for item in train if item != b"unknown")
    ranked = sorted(counts, key=lambda item: (-counts[item], item))
    expected = []
    for label, history, seen in queries:
        answer = [item for item in ranked if item not in history and item not in seen][:depth]
        expected.append(answer.index(label) if label in answer else depth)
    labels = np.array([label for label, _, _ in queries], dtype=object)
    excluded = [ragged([history for _, history, _ in queries]), ragged([seen for _, _, seen in queries])]
    assert Popularity(counts).label_ranks(labels, excluded, depth).tolist() == expected


def test_history_bands() -> None:
    from components.evaluator.extractor import history_bands

    lengths = np.array([0, 1, 4, 5, 19, 20, 500])
    assert history_bands(lengths).tolist() == [b"0", b"1-4", b"1-4", b"5-19", b"5-19", b"20+", b"20+"]


def _check(settings: EvaluatorSettings, failures: set, **values: dict[str, float]) -> list[Check]:
    """Checks thresholds on models with one slice besides the whole."""
    from components.evaluator.validation import check_thresholds

    table = {
        model: {
            "overall": {"count": 100, "hit_rate@10": of_slice["overall"]},
            "user_type=new": {"count": 60, "hit_rate@10": of_slice["new"]},
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
        "hit@10 0.2000 is not above popularity's 0.2000",
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


def test_a_champion_that_never_hits_can_not_be_fallen_behind() -> None:
    settings = EvaluatorSettings(thresholds={"hit_rate@10": Threshold(max_drop=0.0)})
    found = {"candidate": {"overall": 0.0, "new": 0.0}, "champion": {"overall": 0.0, "new": 0.0}}
    assert _check(settings, {("hit_rate@10", "overall", "champion")}, **found, popularity=found["candidate"]) == []


def test_settings_name_the_metrics() -> None:
    settings = EvaluatorSettings(ks=(5, 1), ndcg_ks=(20, 10), thresholds={})
    assert settings.metrics() == {
        "hit_rate@1": ("hit_rate", 1),
        "hit_rate@5": ("hit_rate", 5),
        "ndcg@10": ("ndcg", 10),
        "ndcg@20": ("ndcg", 20),
        "mrr": ("mrr", 20),
    }
    assert settings.depth == 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ks": []}, "ks"),
        ({"ks": [0]}, "greater than 0"),
        ({"k": [1]}, "Extra inputs are not permitted"),
        ({"ks": [5]}, r"thresholds: 'hit_rate@10' is not measured; there is hit_rate@5, ndcg@10, mrr"),
        ({"thresholds": {"recall": {}}}, "'recall' is not measured"),
        ({"thresholds": {"mrr": {"max_drop": 1.5}}}, "less than 1"),
        ({"thresholds": {"mrr": {"slices": [["country"]]}}}, r"mrr: \['country'\] is not one of slices"),
        ({"slices": [[]]}, "at least 1 item"),
    ],
)
def test_wrong_settings_are_named(settings: dict, message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        EvaluatorSettings.model_validate(settings)


def make_report(blessed: bool, champion: bool) -> Report:
    metrics = {"candidate": {"overall": {"count": 9, "hit_rate@10": 0.203, "mrr": 0.1}}}
    metrics["popularity"] = {"overall": {"count": 9, "hit_rate@10": 0.074, "mrr": 0.02}}
    if champion:
        metrics["champion"] = {"overall": {"count": 9, "hit_rate@10": 0.201, "mrr": 0.1}}
    checks = (Check("hit_rate@10", "overall", 0.203, 0.074, "popularity", True),)
    if not blessed:
        checks += (Check("mrr", "overall", 0.1, 0.5, "min", False),)
    return Report(metrics, checks, blessed, {"candidate": 100}, True, 256, 50)


def test_summaries() -> None:
    assert make_report(True, True).summary() == "hit@10 0.203 (popularity 0.074, champion 0.201) · blessed"
    assert (
        make_report(False, False).summary()
        == "hit@10 0.203 (popularity 0.074) · not blessed: MRR 0.1000 is below 0.5000"
    )


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    report = make_report(False, True)
    save_report(report, str(tmp_path))
    assert load_report(str(tmp_path)) == report


def test_reading_a_report_needs_no_tensorflow() -> None:
    script = "import sys, components.evaluator.report; print('tensorflow' in sys.modules, 'apache_beam' in sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert output.stdout.split() == ["False", "False"]


class FakeClient:
    """Answers with the item after the newest of the history, and the one after that."""

    def recommend_batch(self, queries, k: int):
        from serving.client.results import Recommendation, RecommendationList

        answers = []
        for query in queries:
            first = int(query.history[0][1:]) + 1 if query.history else 0
            ids = [item for item in (f"i{first:02}", f"i{first + 1:02}") if item not in query.exclude]
            answers.append(RecommendationList(tuple(Recommendation(item, 0.0) for item in ids[:k]), "history"))
        return answers


def test_served_metrics(tmp_path: Path) -> None:
    from benchmarks.served_metrics import served_metrics, served_ranks
    from tests.components.conftest import write_examples

    queries = [
        {"user_id": "a", "item_id": "i01", "history": ["i00"], "seen": ["i00"]},  # rank 0
        {"user_id": "b", "item_id": "i02", "history": ["i00"], "seen": []},  # rank 1
        {"user_id": "c", "item_id": "i02", "history": ["i00"], "seen": ["i01"]},  # rank 0: i01 is excluded
        {"user_id": "d", "item_id": "i09", "history": [], "seen": []},  # missed
    ]
    write_examples(tmp_path, "eval", queries)
    metrics = {"candidate": {"overall": {"count": 4, "hit_rate@1": 0.5, "ndcg@2": 0.6, "mrr": 0.625}}}
    report = Report(metrics, (), True, {"candidate": 2}, True, 3, 50)
    ranks = served_ranks(FakeClient(), str(tmp_path), report)
    assert ranks.tolist() == [0, 1, 0, 2]
    assert served_metrics(ranks, report) == {
        "hit_rate@1": 2 / 4,
        "ndcg@2": pytest.approx((1 + 1 / np.log2(3) + 1) / 4),
        "mrr": (1 + 1 / 2 + 1) / 4,
    }
