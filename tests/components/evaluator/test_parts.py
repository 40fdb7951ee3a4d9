"""The pure parts of the Evaluator: items, answers, bootstrap, bands, thresholds, settings, report."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from components.evaluation_report import Check, Lead, Report, load_report, save_report
from components.evaluator.baselines.base import TrainingEvents
from components.evaluator.bootstrap import interval, user_weights
from components.evaluator.items import Items, load_items, read_items
from components.evaluator.settings import EvaluatorSettings, Threshold
from tests.components.conftest import write_examples


def ids(*names: str) -> np.ndarray:
    return np.array([name.encode() for name in names], dtype=object)


def training_events(item: list[int], names: np.ndarray) -> TrainingEvents:
    rows = np.array(item, np.int32)
    counts = np.bincount(rows, minlength=len(names))
    return TrainingEvents(np.zeros(len(rows), np.int32), rows, names, 1, counts, counts)


def test_items_are_the_trained_ones_and_then_the_rest_of_the_catalogue(tmp_path: Path) -> None:
    catalogue = [
        {"item_id": "new", "genres": ["x", "y", "x"], "country": "x"},
        {"item_id": "b", "genres": ["y"]},
        {"item_id": "a"},
    ]
    write_examples(tmp_path, "catalogue", catalogue)
    items = read_items(str(tmp_path), ["genres", "country"], training_events([0, 0, 1], ids("a", "b")))
    assert items.ids.tolist() == [b"a", b"b", b"new"]
    assert items.events.tolist() == [2, 1, 0]
    assert items.num_trained == 2
    assert items.rows(np.array([[b"new", b""], [b"b", b"zzz"]], dtype=object)).tolist() == [[2, -1], [1, -1]]
    assert items.features is not None
    third = 1 / math.sqrt(3)  # the columns are genres x and y, country x: the same word in another feature is another
    assert items.features.toarray().tolist() == [[0, 0, 0], [0, 1, 0], pytest.approx([third] * 3)]
    items.save(str(tmp_path))
    assert load_items(str(tmp_path)).rows(ids("new")).tolist() == [2]


@pytest.mark.parametrize("names", [[], ["genres"]])
def test_items_without_features(tmp_path: Path, names: list[str]) -> None:
    write_examples(tmp_path, "catalogue", [{"item_id": "a"}])
    assert read_items(str(tmp_path), names, training_events([0], ids("a"))).features is None


def test_item_popularity_bands() -> None:
    items = Items(np.arange(30), np.array([1] * 20 + [0] * 10), None)
    rows = np.array([0, 1, 2, 9, 10, 19, 20, -1])
    assert items.bands(rows).tolist() == [b"head", b"head", b"mid", b"mid", b"tail", b"tail", b"new", b"new"]


class FakeBaseline:
    """Scores an item by its row, and those in the history's first place higher."""

    def __init__(self, scores: list[float]):
        self._scores = np.array(scores, np.float32)

    def scores(self, histories: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return np.tile(self._scores, (len(histories[1]) - 1, 1))


def ragged(*rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row for of_query in rows for row in of_query], np.int32), np.cumsum([0, *map(len, rows)])


@given(
    scores=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    known=st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=4),
    depth=st.integers(1, 8),
    exclude_seen=st.booleans(),
)
def test_popular_items_are_answered_as_if_each_query_had_scores_of_its_own(
    scores: list[int], known: list[set[int]], depth: int, exclude_seen: bool
) -> None:
    from components.evaluator.answers import answer
    from components.evaluator.baselines.popularity import Popularity

    past = ragged(*([row for row in rows if row < len(scores)] for rows in known))
    popularity = Popularity(np.array(scores, np.float32))
    expected = answer(FakeBaseline(list(map(float, scores))), past, depth, exclude_seen)
    assert answer(popularity, past, depth, exclude_seen).tolist() == expected.tolist()


def test_a_baselines_answer() -> None:
    from components.evaluator.answers import answer

    baseline = FakeBaseline([1, 3, 3, 2])
    past = ragged([], [2], [3, 1, 0, 2])
    assert answer(baseline, past, 2, True).tolist() == [[1, 2], [1, 3], [-1, -1]]
    assert answer(baseline, past, 5, True).tolist() == [[1, 2, 3, 0, -1], [1, 3, 0, -1, -1], [-1] * 5]
    assert answer(baseline, past, 2, False).tolist() == [[1, 2]] * 3


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=4),
    st.integers(1, 10),
)
@settings(max_examples=40, deadline=None)
def test_a_baselines_answer_is_the_sorted_catalogue(scores: list[int], histories: list[set[int]], depth: int) -> None:
    from components.evaluator.answers import answer

    known = [[item for item in history if item < len(scores)] for history in histories]
    ranked = sorted(range(len(scores)), key=lambda item: (-scores[item], item))
    expected = []
    for history in known:
        left = [item for item in ranked if item not in history][:depth]
        expected.append(left + [-1] * (depth - len(left)))
    assert answer(FakeBaseline(list(map(float, scores))), ragged(*known), depth, True).tolist() == expected


def test_distinct_keeps_the_first_of_each_known_item_in_its_order() -> None:
    from components.evaluator.answers import distinct

    query = np.array([0, 0, 2, 2, 0, 0, 2, 2])
    rows = np.array([3, 1, 0, 5, 1, 2, 0, -1])
    values, offsets = distinct(query, rows, num_queries=4, num_items=5)
    assert values.tolist() == [3, 1, 2, 0]
    assert offsets.tolist() == [0, 3, 3, 4, 4]


def test_statistics_of_answers() -> None:
    from components.evaluator.answers import Answers
    from components.evaluator.extractor import statistics

    features = sparse.csr_array(np.array([[1.0, 0], [0, 1.0], [1.0, 0]], np.float32))
    items = Items(ids("a", "b", "c"), np.array([4, 2, 0]), features)
    past = sparse.csr_array(np.array([[1.0, 1.0], [0, 1.0], [1.0, 0]], np.float32))
    answers = Answers(np.array([0, 2, 9]), np.array([[0, 1, 2], [2, 0, -1], [-1, -1, -1]]), past)
    settings = EvaluatorSettings(
        ks=(3,), ndcg_ks=(), map_ks=(), recall_ks=(), precision_ks=(), list_ks=(1, 2), thresholds={}
    )
    found = statistics(answers, np.array([[1, 2], [1, 0], [1, 5]], np.uint8), items, settings)
    assert found.pop("rank_counts").tolist() == [[1, 0, 1, 1], [2, 0, 0, 5]]
    assert found.pop("exposure@1").toarray().tolist() == [[1, 0, 1]]
    assert found.pop("exposure@2").toarray().tolist() == [[2, 1, 1]]
    bits = -np.log2(np.array([5, 3, 1]) / 9)
    assert {name: values.tolist() for name, values in found.items()} == {
        "novelty@1": [pytest.approx(bits[0] + bits[2]), 2],
        "novelty@2": [pytest.approx((bits[0] + bits[1]) / 2 + (bits[2] + bits[0]) / 2), 2],
        "average_popularity@1": [4, 2],
        "average_popularity@2": [3 + 2, 2],
        "diversity@1": [0, 0],
        "diversity@2": [1 + 0, 2],
        "history_overlap@1": [1 / 2 + 0, 2],
        "history_overlap@2": [1 + 0, 2],
    }
    assert answers.take(np.array([2, 0])).past.toarray().tolist() == [[1, 0], [1, 1]]


def test_a_users_queries_have_the_same_weights_whatever_they_come_with() -> None:
    users = ids("u", "v", "u", "w")
    weights = user_weights(users, 50)
    assert weights.shape == (4, 51)
    assert (weights[:, 0] == 1).all(), "the first column is the data as it is"
    assert (weights[0] == weights[2]).all()
    assert (weights[0] != weights[1]).any()
    assert (user_weights(users[3:], 50) == weights[3:]).all()
    assert (user_weights(users, 20) == weights[:, :21]).all()
    assert user_weights(users, 0).tolist() == [[1]] * 4


def test_weights_are_draws_from_poisson_1() -> None:
    weights = user_weights(ids(*map(str, range(2000))), 200)[:, 1:].astype(int)
    shares = np.bincount(weights.ravel(), minlength=5)[:5] / weights.size
    assert shares.tolist() == pytest.approx([math.exp(-1) / math.factorial(n) for n in range(5)], abs=0.003)
    # Neither users nor replicates resemble one another: correlations are of the size of chance.
    assert np.abs(np.corrcoef(weights[:, :20], rowvar=False) - np.eye(20)).max() < 0.1
    assert np.abs(np.corrcoef(weights[:20]) - np.eye(20)).max() < 0.35


def test_an_interval() -> None:
    replicates = np.array([*np.arange(101), math.nan])
    assert interval(replicates, 0.9) == pytest.approx((5, 95))
    assert interval(np.array([0.5, 0.5]), 0.95) == (0.5, 0.5)


def test_intervals_hold_the_true_mean_as_often_as_they_say() -> None:
    """Users with ten alike queries each: taking the queries for independent would be wrong by the root of ten."""
    draw = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        hits = draw.random(100) < 0.3
        weights = user_weights(ids(*(f"{trial} {user}" for user in range(100))), 200)[:, 1:]
        low, high = interval(hits @ weights / weights.sum(axis=0), 0.9)
        held += low <= 0.3 <= high
    assert 0.83 < held / 200 < 0.96


def test_history_bands() -> None:
    from components.evaluator.extractor import history_bands

    lengths = np.array([0, 1, 4, 5, 19, 20, 500])
    assert history_bands(lengths).tolist() == [b"0", b"1-4", b"1-4", b"5-19", b"5-19", b"20+", b"20+"]


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
            "ndcg@10: to be beaten, popularity must be one of baselines.names, which are none",
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


def make_report(blessed: bool, champion: bool) -> Report:
    metrics = {"candidate": {"overall": {"count": 9, "hit_rate@10": 0.203, "mrr": 0.1}}}
    if champion:
        metrics["champion"] = {"overall": {"count": 9, "hit_rate@10": 0.201, "mrr": 0.1}}
    metrics["popularity"] = {"overall": {"count": 9, "hit_rate@10": 0.074, "mrr": 0.02}}
    metrics["item_knn"] = {"overall": {"count": 9, "hit_rate@10": 0.149, "mrr": 0.05}}
    checks = (Check("hit_rate@10", "overall", 0.203, 0.074, "popularity", True),)
    if not blessed:
        checks += (Check("mrr", "overall", 0.1, 0.5, "min", False),)
    intervals = {"candidate": {"overall": {"hit_rate@10": (0.19, 0.21)}}}
    leads = (Lead("item_knn", 0.054, (0.05, 0.06)),)
    return Report(metrics, checks, blessed, "hit_rate@10", {"candidate": 100}, True, 256, 50, intervals, 0.9, leads)


def test_summaries() -> None:
    others = "(champion 0.201, popularity 0.074, item_knn 0.149)"
    assert make_report(True, True).summary() == f"hit@10 0.203 {others} · blessed"
    assert (
        make_report(False, False).summary()
        == "hit@10 0.203 (popularity 0.074, item_knn 0.149) · not blessed: MRR 0.1000 is below 0.5000"
    )
    assert make_report(False, True).baselines == ("popularity", "item_knn")


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    report = make_report(False, True)
    save_report(report, str(tmp_path))
    assert load_report(str(tmp_path)) == report


def test_reading_a_report_and_the_settings_needs_no_heavy_package() -> None:
    script = (
        "import sys, components.evaluation_report, components.evaluator.settings\n"
        "print(*(name in sys.modules for name in ('tensorflow', 'apache_beam', 'scipy')))"
    )
    output = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True
    )
    assert output.stdout.split() == ["False"] * 3


class FakeClient:
    """Answers with the item after the newest of the history, or `skip` places later, and the one after that."""

    def recommend_batch(self, queries, k: int):
        from serving.client.results import Recommendation, RecommendationList

        answers = []
        for query in queries:
            first = int(query.history[0][1:]) + 1 if query.history else 0
            first += int(query.context.get("skip", [0])[0])
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
        {"user_id": "e", "item_id": "i05", "history": ["i00"], "seen": [], "skip": 3.0},  # rank 1
    ]
    write_examples(tmp_path, "eval", queries)
    figures = {"count": 4, "hit_rate@1": 0.5, "ndcg@2": 0.6, "mrr": 0.625, "gini@1": 0.9}
    report = Report({"candidate": {"overall": figures}}, (), True, "mrr", {"candidate": 2}, True, 3, 50)
    ranks = served_ranks(FakeClient(), str(tmp_path), report, {"skip": float})
    assert ranks.tolist() == [0, 1, 0, 2, 1]
    assert served_metrics(ranks, report) == {
        "hit_rate@1": 2 / 5,
        "ndcg@2": pytest.approx((1 + 1 / np.log2(3) + 1 + 1 / np.log2(3)) / 5),
        "mrr": (1 + 1 / 2 + 1 + 1 / 2) / 5,
    }
