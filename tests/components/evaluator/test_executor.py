"""The Evaluator as a component: TFMA run, blessing, artifacts."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tfx.dsl.components.base import base_beam_executor
from tfx.types import standard_artifacts

from components.errors import InputError
from components.evaluation_report import load_report
from components.evaluator.baselines.settings import BaselineSettings
from components.evaluator.executor import Executor
from components.evaluator.settings import EvaluatorSettings, Threshold
from tests.components.conftest import ITEMS, write_examples

pytestmark = [pytest.mark.slow, pytest.mark.smoke]  # TFMA takes seconds a run

SETTINGS = EvaluatorSettings(
    ks=(1, 2, 5),
    ndcg_ks=(5,),
    map_ks=(),
    recall_ks=(),
    precision_ks=(),
    list_ks=(2,),
    slices=(("user_type",), ("history_length",)),
    thresholds={},
    min_slice_size=5,
    batch_size=1,  # 16 queries a chunk, so that there are several
    bootstrap_replicates=20,
)
PLAIN = SETTINGS.model_copy(
    update={"bootstrap_replicates": 0, "baselines": BaselineSettings(names=("popularity",)), "slices": ()}
)
"""What costs least, for tests that are about something else."""
NEW_ITEMS = ["new0", "new1"]
"""Items of the catalogue that training never saw."""


def make_queries(count: int = 40) -> list[dict]:
    """Queries whose relevant item is 1, 2 or 3 places after the newest item of the history; every fifth has none."""
    draw = random.Random(1)
    queries = []
    for number in range(count):
        newest = draw.randrange(20)
        history = [] if number % 5 == 0 else [ITEMS[newest], ITEMS[(newest + 10) % 20]][: 1 + number % 2]
        queries.append(
            {
                "user_id": f"u{number // 2}",
                "item_id": ITEMS[(newest + draw.choice([1, 1, 2, 3])) % 20],
                "history": history,
                "seen": history,
                "user_type": "known" if number % 4 == 0 else "new",
                "timestamp": 7,
            }
        )
    return queries


def write_interactions(uri: Path, queries: list[dict], shards: int = 2) -> Path:
    """Training events such that i00 is the most popular item, then i01…; and the queries."""
    train = [
        {"user_id": f"t{count}", "item_id": item, "timestamp": place}
        for place, item in enumerate(ITEMS)
        for count in range(20 - place)
    ]
    write_examples(uri, "train", train)
    write_examples(uri, "eval", queries, shards)
    return uri


def write_catalogue(uri: Path) -> Path:
    """The items and two new ones; of two neighbours one is red and one is blue."""
    items = [{"item_id": item, "colour": ("red", "blue")[number % 2]} for number, item in enumerate(ITEMS)]
    write_examples(uri, "catalogue", [*({"item_id": item} for item in NEW_ITEMS), *items])
    return uri


def left_out(query: dict, exclude: str) -> set[str]:
    """What answers of a servable that leaves out `exclude` are without."""
    configured = {"all": {*query["history"], *query["seen"]}, "nothing": set()}
    return configured.get(exclude, {*query.get("#excluded", [])}) | {*query.get("#rejected", [])}


def expected_answers(queries: list[dict], step: int, exclude: str = "all") -> list[list[str]]:
    """What the tiny servable must answer, from its definition; 5 items at most."""
    answers = []
    for query in queries:
        history = query["history"]
        start = (ITEMS.index(history[0]) + step) % 20 if history else 0
        gone = left_out(query, exclude)
        answers.append([item for item in ITEMS[start:] + ITEMS[:start] if item not in gone][:5])
    return answers


def expected_ranks(queries: list[dict], step: int, exclude: str = "all") -> list[int]:
    """Where it has the relevant items; 5 stands for missed."""
    answers = expected_answers(queries, step, exclude)
    return [
        answer.index(query["item_id"]) if query["item_id"] in answer else 5 for query, answer in zip(queries, answers)
    ]


class Run:
    """One execution of the executor, as a runner would do it."""

    def __init__(
        self,
        root: Path,
        interactions: Path,
        models: dict[str, Path],
        settings: EvaluatorSettings,
        champion_queries: Path | None = None,
    ):
        examples = standard_artifacts.Examples()
        examples.uri = str(interactions)
        catalogue = standard_artifacts.Examples()
        catalogue.uri = str(write_catalogue(root / "catalogue"))
        inputs: dict[str, Any] = {"examples": [examples], "catalogue": [catalogue]}
        for number, (name, path) in enumerate(models.items()):
            artifact = standard_artifacts.Model()
            artifact.uri = str(root / name)
            artifact.id = number + 1
            (root / name).mkdir(parents=True)
            (root / name / "Format-Serving").symlink_to(path)
            inputs[name] = [artifact]
        self.evaluation = standard_artifacts.ModelEvaluation()
        self.blessing = standard_artifacts.ModelBlessing()
        for name, artifact in (("evaluation", self.evaluation), ("blessing", self.blessing)):
            artifact.uri = str(root / name)
            (root / name).mkdir()
        context = base_beam_executor.BaseBeamExecutor.Context(beam_pipeline_args=["--runner=FnApiRunner"])
        outputs = {"evaluation": [self.evaluation], "blessing": [self.blessing]}
        properties = {"item_features": json.dumps(["colour"]), "settings": settings.model_dump_json()}
        if champion_queries is not None:
            queries = standard_artifacts.Examples()
            queries.uri = str(champion_queries)
            inputs["champion_queries"], properties["fair_by"] = [queries], "time"
        Executor(context).Do(inputs, outputs, properties)
        self.report = load_report(self.evaluation.uri)
        self.summary = self.evaluation.get_string_custom_property("summary")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, servable: Callable[..., Path]) -> Run:
    """A candidate that knows the pattern, a champion that answers at most 3 items and steps too far."""
    root = tmp_path_factory.mktemp("judged")
    thresholds = {
        "hit_rate@5": Threshold(max_drop=0.01, beat_popularity=True, slices=(("user_type",),)),
        "mrr": Threshold(min=0.99),
    }
    return Run(
        root,
        write_interactions(root / "interactions", make_queries()),
        {"model": servable(), "champion": servable(step=2, max_k=3, fingerprint="f2")},
        SETTINGS.model_copy(update={"thresholds": thresholds}),
    )


def _mean(values: list[float]) -> Any:
    return pytest.approx(sum(values) / len(values), abs=1e-12)


def test_metrics_follow_from_the_answers(judged: Run) -> None:
    ranks = expected_ranks(make_queries(), step=1)
    overall = judged.report.metrics["candidate"]["overall"]
    assert overall["count"] == 40
    assert overall["hit_rate@1"] == _mean([rank < 1 for rank in ranks])
    assert overall["hit_rate@2"] == _mean([rank < 2 for rank in ranks])
    assert overall["hit_rate@5"] == _mean([rank < 5 for rank in ranks])
    assert overall["mrr"] == _mean([1 / (rank + 1) if rank < 5 else 0 for rank in ranks])
    assert 0 < overall["hit_rate@1"] < overall["hit_rate@5"] < 1, "the test would show nothing"


def test_a_champion_that_answers_fewer_items_is_judged_on_those(judged: Run) -> None:
    ranks = expected_ranks(make_queries(), step=2)
    overall = judged.report.metrics["champion"]["overall"]
    assert judged.report.depths == {"candidate": 5, "champion": 3}
    assert overall["hit_rate@2"] == _mean([rank < 2 for rank in ranks])
    assert overall["hit_rate@5"] == _mean([rank < 3 for rank in ranks])


def test_popularity_answers_the_most_frequent_items_that_were_not_seen(judged: Run) -> None:
    ranks = []
    for query in make_queries():
        answer = [item for item in ITEMS if item not in query["seen"]][:5]
        ranks.append(answer.index(query["item_id"]) if query["item_id"] in answer else 5)
    overall = judged.report.metrics["popularity"]["overall"]
    assert overall["hit_rate@5"] == _mean([rank < 5 for rank in ranks])
    assert overall["mrr"] == _mean([1 / (rank + 1) if rank < 5 else 0 for rank in ranks])


def test_what_is_recommended_is_measured(judged: Run) -> None:
    answers = [answer[:2] for answer in expected_answers(make_queries(), step=1)]
    events = {item: 20 - place for place, item in enumerate(ITEMS)}
    overall = judged.report.metrics["candidate"]["overall"]
    assert overall["coverage@2"] == len({item for answer in answers for item in answer}) / 22
    assert overall["average_popularity@2"] == _mean([events[item] for answer in answers for item in answer])
    bits = {item: -math.log2((events[item] + 1) / (210 + 22)) for item in ITEMS}
    assert overall["novelty@2"] == _mean([bits[item] for answer in answers for item in answer])
    colours = [{int(item[1:]) % 2 for item in answer} for answer in answers]
    assert overall["diversity@2"] == _mean([len(colour) - 1 for colour in colours])
    assert 0 < overall["gini@2"] < judged.report.metrics["popularity"]["overall"]["gini@2"] < 1


def test_baselines_are_asked_the_same_queries(judged: Run) -> None:
    names = ["candidate", "champion", *EvaluatorSettings().baselines.names]
    assert list(judged.report.metrics) == names
    counts = {
        model: {name: values["count"] for name, values in slices.items()}
        for model, slices in judged.report.metrics.items()
    }
    assert all(of_model == counts["candidate"] for of_model in counts.values())


def test_intervals_surround_the_values(judged: Run) -> None:
    for model, slices in judged.report.intervals.items():
        for name, intervals in slices.items():
            values = judged.report.metrics[model][name]
            assert list(intervals) == [metric for metric in values if metric in SETTINGS.ranking_metrics()]
            assert all(low <= values[metric] <= high for metric, (low, high) in intervals.items()), (model, name)
    low, high = judged.report.intervals["candidate"]["overall"]["hit_rate@2"]
    assert 0.05 < high - low < 0.5


def test_leads_are_over_the_champion_and_the_best_baseline(judged: Run) -> None:
    hits = {model: slices["overall"]["hit_rate@5"] for model, slices in judged.report.metrics.items()}
    over_champion, over_best = judged.report.leads
    assert judged.report.headline == "hit_rate@5"
    assert over_champion.model == "champion"
    assert hits[over_best.model] == max(
        value for model, value in hits.items() if model not in ("candidate", "champion")
    )
    for lead in judged.report.leads:
        assert lead.value == pytest.approx(hits["candidate"] - hits[lead.model])
        assert lead.interval[0] <= lead.value <= lead.interval[1]


def test_slices_have_their_own_figures_and_counts(judged: Run) -> None:
    queries = make_queries()
    ranks = expected_ranks(queries, step=1)
    slices = judged.report.metrics["candidate"]
    assert list(slices) == ["overall", "history_length=0", "history_length=1-4", "user_type=known", "user_type=new"]
    for name, wanted in {
        "history_length=0": [not query["history"] for query in queries],
        "history_length=1-4": [bool(query["history"]) for query in queries],
        "user_type=known": [query["user_type"] == "known" for query in queries],
    }.items():
        chosen = [rank for rank, want in zip(ranks, wanted) if want]
        assert slices[name]["count"] == len(chosen)
        assert slices[name]["hit_rate@2"] == _mean([rank < 2 for rank in chosen])


def test_the_blessing_says_which_threshold_failed_with_both_figures(judged: Run) -> None:
    mrr = judged.report.metrics["candidate"]["overall"]["mrr"]
    (failure,) = judged.report.failures
    assert str(failure) == f"MRR {mrr:.4f} is below 0.9900"
    assert judged.blessing.get_string_custom_property("blessing_message") == str(failure)
    assert judged.summary.endswith(f"· not blessed: {failure}")
    assert {(check.metric, check.slice, check.kind) for check in judged.report.checks if check.passed} == {
        ("hit_rate@5", name, kind)
        for name in ("overall", "user_type=known", "user_type=new")
        for kind in ("champion", "popularity")
    }


def test_the_artifacts_are_those_of_tfx(judged: Run) -> None:
    import tensorflow_model_analysis as tfma

    assert [path.name for path in Path(judged.blessing.uri).iterdir()] == ["NOT_BLESSED"]
    assert judged.blessing.get_int_custom_property("blessed") == 0
    assert judged.blessing.get_int_custom_property("current_model_id") == 1
    assert judged.blessing.get_string_custom_property("current_model").endswith("/model")
    assert judged.blessing.get_int_custom_property("baseline_model_id") == 2
    for name in ("candidate", "champion", "popularity"):
        result = tfma.load_eval_result(judged.evaluation.uri, model_name=name)
        overall = dict(result.slicing_metrics)[()][""][""]
        assert overall["hit_rate@5"]["doubleValue"] == judged.report.metrics[name]["overall"]["hit_rate@5"]
        assert overall["example_count"]["doubleValue"] == 40
    assert not tfma.load_validation_result(judged.evaluation.uri).validation_ok


def test_rows_for_the_terminal(judged: Run) -> None:
    rows = dict(judged.report.rows())
    assert list(rows) == ["count", *SETTINGS.ranking_metrics(), *SETTINGS.list_metrics()]
    assert list(rows["mrr"]) == list(rows["gini@2"]) == list(judged.report.metrics)
    assert set(rows["count"].values()) == {40}


def repeated_queries() -> list[dict]:
    """Users who come back to the newest item of their history; the second has none and takes a popular item."""
    draws = [["i07", "i03"], [], ["i02"]]
    return [
        {
            "user_id": f"u{number}",
            "item_id": [*history, "i00"][0],
            "history": history,
            "seen": history,
            "user_type": "known" if number == 0 else "new",
        }
        for number, history in enumerate(draws)
    ]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, servable: Callable[..., Path]) -> Run:
    """The first run: the champion artifact is empty. One shard has no query, what was seen may be recommended."""
    root = tmp_path_factory.mktemp("first")
    (root / "none").mkdir()
    return Run(
        root,
        write_interactions(root / "interactions", repeated_queries(), shards=4),
        {"model": servable(step=0, max_k=3, fingerprint="f0", exclude="nothing"), "champion": root / "none"},
        SETTINGS.model_copy(
            update={
                "slices": (("user_type",), ("user_type", "history_length")),
                "bootstrap_replicates": 0,
                "baselines": BaselineSettings(names=("popularity",)),
                "thresholds": {"hit_rate@5": Threshold(max_drop=0.01, min=0.0, slices=(("user_type",),))},
            }
        ),
    )


def test_without_a_champion_nothing_is_compared_with_it(first: Run) -> None:
    assert list(first.report.metrics) == ["candidate", "popularity"]
    assert first.report.leads == ()
    assert first.report.intervals == {}
    assert [check.kind for check in first.report.checks] == ["min"]
    assert first.report.blessed
    assert [path.name for path in Path(first.blessing.uri).iterdir()] == ["BLESSED"]
    assert first.blessing.get_int_custom_property("blessed") == 1
    assert not first.blessing.has_custom_property("baseline_model")


def test_what_leaves_out_nothing_is_judged_so_and_baselines_with_it(first: Run) -> None:
    """The newest of the history is the model's first choice, and relevant; other models would leave it out."""
    queries = repeated_queries()
    overall = first.report.metrics["candidate"]["overall"]
    ranks = expected_ranks(queries, step=0, exclude="nothing")
    assert overall["hit_rate@1"] == _mean([rank < 1 for rank in ranks])
    assert overall["hit_rate@1"] > 0
    popular = [ITEMS.index(query["item_id"]) for query in queries]
    hits = _mean([rank < 5 for rank in popular])
    assert first.report.metrics["popularity"]["overall"]["hit_rate@5"] == hits


def test_types_of_events_and_what_was_rejected_are_left_out_of_what_is_judged(
    tmp_path: Path, servable: Callable[..., Path]
) -> None:
    """Of each history the oldest item was bought; each third query's item was rejected before."""
    queries = repeated_queries()
    for number, query in enumerate(queries):
        query["#excluded"] = query["history"][-1:]
        query["#rejected"] = [query["item_id"]] if number % 3 == 0 else []
    exclude = ("purchase",)
    run = Run(
        tmp_path,
        write_interactions(tmp_path / "x", queries),
        {"model": servable(step=0, exclude=exclude), "champion": servable(step=0)},
        PLAIN,
    )
    for name, what in (("candidate", "purchase"), ("champion", "all")):
        ranks = expected_ranks(queries, step=0, exclude=what)
        assert run.report.metrics[name]["overall"]["hit_rate@5"] == _mean([rank < 5 for rank in ranks]), name
    popular = []
    for query in queries:
        answer = [item for item in ITEMS if item not in left_out(query, "purchase")][:5]
        popular.append(query["item_id"] in answer)
    assert run.report.metrics["popularity"]["overall"]["hit_rate@5"] == _mean(popular)
    unanswerable = sum(query["item_id"] in left_out(query, "purchase") for query in queries)
    assert 0 < unanswerable < len(queries)
    assert (run.report.exclude, run.report.left_out) == (["purchase"], unanswerable)
    assert f"{unanswerable} of {len(queries)} queries ({unanswerable / len(queries):.1%}) are of items" in run.summary


def test_types_of_which_the_queries_say_nothing_cannot_be_judged(tmp_path: Path, servable: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"leaves out the items of events of type purchase, of which the queries say"):
        Run(
            tmp_path,
            write_interactions(tmp_path / "x", make_queries(2)),
            {"model": servable(exclude=("purchase",))},
            PLAIN,
        )


def test_a_slice_with_too_few_queries_has_a_count_only_and_is_not_checked(first: Run) -> None:
    slices = first.report.metrics["candidate"]
    assert slices["user_type=new"] == {"count": 2}
    assert slices["history_length=1-4, user_type=known"] == {"count": 1}
    assert {check.slice for check in first.report.checks} == {"overall"}


def test_a_sample_of_the_queries(tmp_path: Path, servable: Callable[..., Path]) -> None:
    settings = PLAIN.model_copy(update={"max_queries": 20})
    run = Run(tmp_path, write_interactions(tmp_path / "x", make_queries()), {"model": servable()}, settings)
    assert 0 < run.report.metrics["candidate"]["overall"]["count"] <= 20


def test_a_candidate_that_is_worse_than_the_champion(tmp_path: Path, servable: Callable[..., Path]) -> None:
    run = Run(
        tmp_path,
        write_interactions(tmp_path / "x", make_queries()),
        {"model": servable(step=2, max_k=3, fingerprint="f2"), "champion": servable()},
        PLAIN.model_copy(
            update={
                "slices": (("user_type",),),
                "thresholds": {"hit_rate@1": Threshold(max_drop=0.1, slices=(("user_type",),))},
            }
        ),
    )
    values = {model: slices["overall"]["hit_rate@1"] for model, slices in run.report.metrics.items()}
    assert values["candidate"] < 0.9 * values["champion"]
    candidate, champion = run.report.metrics["candidate"], run.report.metrics["champion"]
    checked = ("overall", "user_type=known", "user_type=new")
    dropped = {name for name in checked if candidate[name]["hit_rate@1"] < 0.9 * champion[name]["hit_rate@1"]}
    assert {check.slice for check in run.report.failures} == dropped
    bound = 0.9 * values["champion"]
    figure = f"hit@1 {values['candidate']:.4f}"
    assert f"{figure} is below the champion's {bound:.4f} (less the drop allowed);" in run.summary


def test_an_empty_split_of_queries(tmp_path: Path, servable: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="the split 'eval' is empty, so there is nothing to judge"):
        Run(tmp_path, write_interactions(tmp_path / "x", []), {"model": servable()}, SETTINGS)


def test_a_champion_of_another_kind(tmp_path: Path, servable: Callable[..., Path]) -> None:
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    models = {"model": servable(), "champion": tmp_path / "other"}
    with pytest.raises(InputError, match=r"champion .* has no signature 'recommend'.*remove that version"):
        Run(tmp_path, write_interactions(tmp_path / "x", make_queries(1)), models, SETTINGS)


@pytest.mark.parametrize(
    ("name", "message"),
    [("colour", "no query has the feature 'colour'"), ("timestamp", "'timestamp' is no feature of one category")],
)
def test_a_slice_by_what_is_no_category(tmp_path: Path, servable: Callable[..., Path], name: str, message: str) -> None:
    settings = SETTINGS.model_copy(update={"slices": ((name,),)})
    with pytest.raises(InputError, match=message):
        Run(tmp_path, write_interactions(tmp_path / "x", make_queries(2)), {"model": servable()}, settings)


@pytest.mark.parametrize("exclude", ["all", "nothing"])
def test_a_model_that_takes_the_querys_features_gets_them(
    tmp_path: Path, servable: Callable[..., Path], exclude: str
) -> None:
    queries = make_queries(20)
    for number, query in enumerate(queries):
        query["skip"] = float(number % 3)
    run = Run(
        tmp_path,
        write_interactions(tmp_path / "x", [*queries, {**queries[1], "timestamp": 8}]),
        {"model": servable(step=0, fingerprint="c", context=True, exclude=exclude), "champion": servable()},
        PLAIN.model_copy(update={"slices": (("item_popularity",),)}),
    )
    ranks = [expected_ranks([query], int(query["skip"]), exclude)[0] for query in queries]
    at_another_time = expected_ranks([{**queries[1], "history": [], "seen": queries[1]["seen"]}], 0, exclude)
    overall = run.report.metrics["candidate"]["overall"]
    assert overall["mrr"] == _mean([1 / (rank + 1) if rank < 5 else 0 for rank in [*ranks, *at_another_time]])
    without = expected_ranks([*queries, queries[1]], 1)  # the champion leaves out what it is made to
    assert run.report.metrics["champion"]["overall"]["hit_rate@5"] == _mean([rank < 5 for rank in without])
    bands = {"head": range(2), "mid": range(2, 10), "tail": range(10, 20)}
    labels = [ITEMS.index(query["item_id"]) for query in [*queries, queries[1]]]
    assert {name: values["count"] for name, values in run.report.metrics["candidate"].items()} == {
        "overall": 21,
        **{f"item_popularity={band}": sum(label in places for label in labels) for band, places in bands.items()},
    }


def test_items_that_training_never_saw_are_missed_by_baselines_and_have_a_slice(
    tmp_path: Path, servable: Callable[..., Path]
) -> None:
    queries = [{**query, "item_id": NEW_ITEMS[0]} for query in make_queries(12)]
    settings = SETTINGS.model_copy(update={"slices": (("item_popularity",),), "bootstrap_replicates": 0})
    report = Run(tmp_path, write_interactions(tmp_path / "x", queries), {"model": servable()}, settings).report
    assert report.slices() == ["overall", "item_popularity=new"]
    assert {slices["item_popularity=new"]["mrr"] for slices in report.metrics.values()} == {0}


def shrunken(count: int) -> list[dict]:
    """Queries of a log that has lost the histories of its users, in which all but popular items are guesses."""
    return [
        {"user_id": f"s{number}", "item_id": ITEMS[number % 3], "user_type": "new", "timestamp": 100 + number}
        for number in range(count)
    ]


def test_a_shrunken_log_can_not_lower_the_bar(tmp_path: Path, servable: Callable[..., Path]) -> None:
    """On tonight's log a model that knows popular items is as good as the champion, who knows what follows what."""
    settings = PLAIN.model_copy(
        update={"thresholds": {"hit_rate@2": Threshold(max_drop=0.01)}, "bootstrap_replicates": 20}
    )
    own = [{**query, "timestamp": 150 + number} for number, query in enumerate(make_queries(60))]
    learned = [{**query, "timestamp": 50} for query in make_queries(60)]
    write_examples(tmp_path / "own", "eval", [*learned, *own])
    tonight = write_interactions(tmp_path / "tonight", shrunken(30))
    # Steps back from the newest of the history: it finds what follows for nobody, but popular items without a history.
    models = {"model": servable(step=-9, fingerprint="f9"), "champion": servable()}

    blind = Run(tmp_path / "blind", tonight, models, settings)
    assert blind.report.blessed
    assert blind.report.own_night == "the champion's own queries are not there to be asked"

    seeing = Run(tmp_path / "seeing", tonight, models, settings, tmp_path / "own")
    assert not seeing.report.blessed
    [failure] = seeing.report.failures
    hits = {step: sum(rank < 2 for rank in expected_ranks(own, step)) / 60 for step in (-9, 1)}
    assert (failure.metric, failure.own_night, failure.figure) == ("hit_rate@2", True, pytest.approx(hits[-9]))
    assert failure.bound == pytest.approx(0.99 * hits[1])
    assert str(failure).endswith("(less the drop allowed) on the champion's own queries")
    assert seeing.report.own_night == (
        "60 of the champion's own queries were asked too: those that tonight's training had no part in"
    )
    # All else is as it was.
    assert seeing.report.metrics == blind.report.metrics

    # Nobody is judged by queries of a few.
    few = settings.model_copy(update={"min_slice_size": 31})
    found = Run(tmp_path / "few", tonight, models, few, tmp_path / "own").report
    assert found.blessed
    assert "are of 30 users, fewer than" in found.own_night


def test_a_lead_that_is_lost_is_told_by_what_the_champion_says_of_itself(
    tmp_path: Path, servable: Callable[..., Path]
) -> None:
    champion = tmp_path / "champion"
    shutil.copytree(servable(), champion)
    release = {"metrics": {"hit_rate@2": 0.6}, "baselines": {"popularity": {"hit_rate@2": 0.3}}}
    (champion / "assets.extra" / "release.json").write_text(json.dumps(release))
    settings = PLAIN.model_copy(update={"thresholds": {"hit_rate@2": Threshold(keep_lead=0.5)}})
    write_interactions(tmp_path / "tonight", shrunken(30))
    found = Run(
        tmp_path / "run", tmp_path / "tonight", {"model": servable(step=-9), "champion": champion}, settings
    ).report
    popularity = found.metrics["popularity"]["overall"]["hit_rate@2"]
    assert found.metrics["candidate"]["overall"]["hit_rate@2"] == popularity
    [failure] = found.failures
    assert (failure.kind, failure.bound) == ("lead", pytest.approx(min(1.5 * popularity, 1)))
