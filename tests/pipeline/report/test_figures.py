"""Which charts a page has, and how figures are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from markupsafe import Markup

from pipeline.report import charts, figures
from pipeline.report.charts import Chart
from pipeline.report.samples import BANDS
from tests.pipeline.report import reports
from tests.pipeline.report.reports import evaluation, node

OVERALL = "overall"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, ...]]:
    """What is to be drawn in the chart of each title: what else it is given, in order and then by name."""
    given: dict[str, tuple[Any, ...]] = {}

    def note(title: str, *values: Any, **named: Any) -> Chart:
        given[title] = (*values, *named.values())
        return Chart(title, Markup(""))

    for kind in ("bars", "by_k", "grouped", "histogram", "lines", "long_tail", "timeline"):
        monkeypatch.setattr(charts, kind, note)
    return given


def titles(found: list[Chart]) -> list[str]:
    return [chart.title for chart in found]


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [("hit_rate@10", 0.21834, "0.2183"), ("average_popularity@10", 1187.58, "1,187.6"), ("novelty@10", 9.0168, "9.02")],
)
def test_figures_are_rounded_as_they_are_read(metric: str, value: float, text: str) -> None:
    assert figures.figure(metric, value) == text


def test_a_difference_has_its_sign_unless_it_rounds_to_zero() -> None:
    assert [figures.signed(value) for value in (0.01234, -0.01236, 0.00005, -0.00006)] == [
        "+0.0123",
        "−0.0124",
        "+0.0001",
        "−0.0001",
    ]
    assert {figures.signed(value) for value in (0.0, -0.0, 0.00004, -0.00004)} == {"0.0000"}
    assert figures.between((-0.00001, 0.5)) == "0.0000 to +0.5000"


def test_models_are_called_as_a_person_calls_them() -> None:
    names = [figures.model_name(name) for name in ("candidate", "champion", "item_knn", "recent_popularity", "my_own")]
    assert names == ["this model", "champion", "item-kNN", "recent popularity", "my own"]


def test_a_model_has_one_colour_on_a_page() -> None:
    assert figures.model_colours(evaluation()) == {"this model": 1, "champion": 2, "popularity": 3}


def test_a_metric_by_k_is_in_the_order_of_numbers() -> None:
    values = {"hit_rate@10": 0.3, "hit_rate@5": 0.2, "hit_rate@100": 0.9, "ndcg@5": 0.1, "mrr": 0.4, "count": 9.0}
    report = dataclasses.replace(evaluation(), metrics={"candidate": {OVERALL: values}})
    assert figures.by_k(report, "candidate", "hit_rate") == [(5, 0.2), (10, 0.3), (100, 0.9)]
    assert figures.by_k(report, "candidate", "mrr") == []


def sliced(counts: Mapping[str, int]) -> Any:
    """A report with so many queries by slice."""
    return dataclasses.replace(
        evaluation(), metrics={"candidate": {name: {"count": count} for name, count in {OVERALL: 9, **counts}.items()}}
    )


def test_slices_are_grouped_by_what_defines_them() -> None:
    names = ["plan=a", "plan=b, age=1", "item_popularity=new", "item_popularity=head", "plan=c", "item_popularity=mid"]
    assert figures.slices_by_columns(sliced(dict.fromkeys(names, 1))) == {
        ("plan",): ["plan=a", "plan=c"],
        ("plan", "age"): ["plan=b, age=1"],
        ("item_popularity",): ["item_popularity=head", "item_popularity=mid", "item_popularity=new"],
    }
    assert figures.slices_by_columns(sliced({})) == {}


def test_the_largest_slices_keep_their_order() -> None:
    report = sliced({"a": 3, "b": 1, "c": 9, "d": 3})
    assert figures.largest(report, ["a", "b", "c", "d"], 2) == ["a", "c"], "of two that are as large the first"
    assert figures.largest(report, ["b", "a"], 5) == ["b", "a"]


def test_rivals_are_the_champion_and_the_baseline_that_is_best_in_the_headline() -> None:
    report = evaluation()
    better = {OVERALL: {**report.metrics["popularity"][OVERALL], "hit_rate@10": 0.3, "hit_rate@1": 0.0}}
    report = dataclasses.replace(report, metrics={**report.metrics, "item_knn": better})
    assert figures.rivals(report) == {
        "this model": (report, "candidate"),
        "champion": (report, "champion"),
        "item-kNN": (report, "item_knn"),
    }
    alone = dataclasses.replace(report, metrics={"candidate": report.metrics["candidate"]})
    assert list(figures.rivals(alone)) == ["this model"]


def test_the_long_tail_is_put_into_words(drawn: dict[str, tuple[Any, ...]]) -> None:
    figures.data_charts(reports.findings())  # items with 100, 30, 10, 5 events and five with 1
    assert drawn["Long tail"][1] == (
        "The tenth of the items with the most events has 67% of all events; 56% of the items have a single one."
    )
    unit, starts, series, _ = drawn["Events by day"]
    assert (unit, starts) == ("events a day", ("2026-01-01", "2026-01-02"))
    assert series == {"training": (150, 0), "evaluation": (0, 27)}
    assert (
        drawn["Events by day"][-1]
        == drawn["Users by activity"][-1]
        == ("Of 25.0% of the users, drawn by a hash of their ids.")
    )
    assert drawn["Users by activity"][2:4] == (["1", "2"], [7, 5])


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"item_counts": None}, ["Events by day", "Users by activity"]),
        ({"item_counts": np.zeros(0, np.int64)}, ["Events by day", "Users by activity"]),
        ({"events": None}, ["Long tail"]),
        ({"events": dataclasses.replace(reports.findings().events, timeline=None, activity=())}, ["Long tail"]),  # type: ignore[type-var]
    ],
)
def test_what_is_not_known_of_the_data_is_not_drawn(
    drawn: dict[str, tuple[Any, ...]], changes: dict[str, Any], found: list[str]
) -> None:
    assert titles(figures.data_charts(dataclasses.replace(reports.findings(), **changes))) == found


def test_of_one_training_the_best_pass_is_marked_and_of_two_none(drawn: dict[str, tuple[Any, ...]]) -> None:
    found = reports.findings()
    assert titles(figures.training_charts({"a": found, "b": reports.failed()})) == ["loss", "hit@10", "NDCG@10"]
    x, unit, series, note, marked = drawn["loss"]
    assert (x, unit, series) == ("pass", "training loss", {"a": [(1, 3.0), (2, 2.0)]})
    assert (marked, note) == (1, "Dashed: pass 1, the best in validation NDCG@10.")
    figures.training_charts({"a": found, "b": found})
    assert list(drawn["loss"][2]) == ["a", "b"]
    assert drawn["loss"][3:] == ("", None)
    assert figures.training_charts({"a": reports.failed()}) == []


def test_a_second_stage_has_a_chart_of_its_own(drawn: dict[str, tuple[Any, ...]]) -> None:
    found = reports.findings()
    ranking = [{"epoch": 0, "ndcg@10": 0.04}, {"epoch": 1, "ndcg@10": 0.06}]
    ranked = dataclasses.replace(found, training={**found.training, "ranking": ranking})  # type: ignore[dict-item]
    assert titles(figures.training_charts({"a": ranked, "b": found}))[-1] == "second stage"
    assert drawn["second stage"][2] == {"a": [(0, 0.04), (1, 0.06)]}


def test_metrics_are_drawn_by_k_where_there_are_several(drawn: dict[str, tuple[Any, ...]]) -> None:
    assert titles(figures.metric_charts(evaluation())) == ["hit@10", "hit rate by k"]
    _, values, _, spreads, note, colours = drawn["hit@10"]
    assert values == {"this model": 0.5, "champion": 0.45, "popularity": 0.2}
    assert spreads == {"this model": (0.4, 0.6)}
    assert note == "Thin lines: 95% confidence, by a bootstrap over users."
    assert list(colours) == list(values)
    assert drawn["hit rate by k"][1]["champion"] == [(1, 0.225), (10, 0.45)]


def test_slices_that_are_too_small_are_holes(drawn: dict[str, tuple[Any, ...]]) -> None:
    report = evaluation()
    assert titles(figures.slice_charts(figures.rivals(report), {})) == ["By item popularity"]
    x, y, groups, series = drawn["By item popularity"][:4]
    assert (x, y, groups) == ("item popularity", "hit@10", ["head", "tail", "new"])
    assert series["this model"] == [0.5, None, None]
    small = {model: {OVERALL: of[OVERALL], "plan=a": {"count": 1}} for model, of in report.metrics.items()}
    assert figures.slice_charts(figures.rivals(dataclasses.replace(report, metrics=small)), {}) == []


def test_of_very_many_slices_the_largest_are_drawn(drawn: dict[str, tuple[Any, ...]]) -> None:
    slices = {f"plan={number}": {"count": number, "hit_rate@10": 0.1} for number in range(20)}
    metrics = {"candidate": {**evaluation().metrics["candidate"], **slices}}
    figures.slice_charts({"m": (dataclasses.replace(evaluation(), metrics=metrics), "candidate")}, {})
    assert drawn["By plan"][2] == [str(number) for number in range(4, 20)]
    assert "The 16 of 20 with the most queries." in drawn["By plan"]


def test_exposure_is_of_the_metrics_that_have_a_unit(drawn: dict[str, tuple[Any, ...]]) -> None:
    found = figures.exposure_charts(figures.rivals(evaluation()), {})
    assert titles(found) == ["Coverage at 10", "Average popularity at 10"]
    _, values, shown = drawn["Average popularity at 10"][:3]
    assert values == {"this model": 187.58, "champion": 187.58, "popularity": 187.58}
    assert shown(187.58) == "187.6"


def test_what_models_recommend_is_beside_what_there_is(drawn: dict[str, tuple[Any, ...]]) -> None:
    figures.band_chart(reports.samples(models=2), ["this model", "champion"])
    _, _, bands, shares, _, note = drawn["Popularity of what is recommended"]
    assert bands == BANDS
    assert list(shares) == ["this model", "champion", "what users took", "training events", "catalogue"]
    assert note.endswith("From 512 of the evaluation's queries.")


def test_nodes_of_the_cache_took_no_time(drawn: dict[str, tuple[Any, ...]]) -> None:
    def timed(*states: str) -> Any:
        nodes = [node(f"node {number}", state) for number, state in enumerate(states)]
        return figures.time_chart(dataclasses.replace(reports.findings(), run=reports.run(*nodes)))

    assert timed("cached") is None
    assert timed() is None
    timed("done", "cached", "failed")
    _, seconds, _, note = drawn["Time by node"]
    assert seconds == {"node 0": 2.5, "node 2": 2.5}
    assert note == "Nodes that came from the cache are left out."
    timed("done")
    assert drawn["Time by node"][-1] == ""


def test_queries_are_counted_once_for_all_models() -> None:
    assert figures.query_count(evaluation()) == 9
