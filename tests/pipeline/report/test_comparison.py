"""Two runs beside each other."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from markupsafe import Markup

from pipeline.report import charts, comparison
from pipeline.report.comparison import (
    Difference,
    Pair,
    compare_pages,
    data_differences,
    lineage_differences,
    metric_differences,
    same_queries,
    setting_differences,
    slice_differences,
    tiles,
)
from pipeline.report.findings import Findings
from tests.pipeline.report import reports
from tests.pipeline.report.reports import NASTY, artifact, evaluation, node, run
from tests.pipeline.report.test_page import Page


@pytest.fixture(autouse=True)
def _no_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out what takes most of the time, and has tests of its own."""
    monkeypatch.setattr(charts, "_drawing", lambda *_: Markup("<svg></svg>"))


def pair(hit: float, low: float, high: float) -> Pair:
    """A first model with hit@10 0.5, and a second, whose bootstrap lies between `low` and `high` above it."""
    drawn = np.linspace(low, high, 201)
    base = np.full(201, 0.5)
    return Pair(
        evaluation(0.5), evaluation(hit), {"overall": {"hit_rate@10": base}}, {"overall": {"hit_rate@10": base + drawn}}
    )


@pytest.mark.parametrize(
    ("hit", "low", "high", "change", "kind"),
    [
        (0.6, 0.05, 0.15, "+0.1000", "good"),
        (0.4, -0.15, -0.05, "−0.1000", "bad"),
        (0.51, -0.1, 0.12, "+0.0100", ""),
    ],
)
def test_a_difference_is_good_or_bad_where_its_interval_leaves_no_doubt(
    hit: float, low: float, high: float, change: str, kind: str
) -> None:
    row = {row.name: row for row in metric_differences(pair(hit, low, high))}["hit@10"]
    assert (row.first, row.second) == ("0.5000 ±0.1000", f"{hit:.4f} ±0.1000")
    assert (row.change, row.kind) == (change, kind)
    ends = [float(end.replace("−", "-")) for end in row.range.split(" to ")]
    width = high - low
    assert ends == pytest.approx([low + 0.025 * width, high - 0.025 * width], abs=1e-4)


def test_without_replicates_on_both_sides_there_is_a_difference_and_no_verdict() -> None:
    whole = pair(0.6, 0.05, 0.15)
    one_sided = dataclasses.replace(whole, replicates={})
    other_number = dataclasses.replace(whole, replicates={"overall": {"hit_rate@10": np.full(20, 0.5)}})
    for found in (one_sided, other_number):
        row = {row.name: row for row in metric_differences(found)}["hit@10"]
        assert (row.change, row.range, row.kind) == ("+0.1000", "", "")
    assert tiles(one_sided)[2].value == "+0.1000"


def test_slices_that_both_have() -> None:
    [(name, rows)] = slice_differences(pair(0.6, 0.0, 0.1))
    assert name == "item popularity"
    assert [(row.name, row.count, row.change) for row in rows] == [("head", "5", "+0.1000")]  # the others are too few


def test_settings_that_differ() -> None:
    first = {"model": {"dim": 64, "layers": []}, "seed": 1}
    second = {"model": {"dim": 16, "layers": []}, "seed": 1, "data": {"cutoff": "2026-01-01"}}
    assert setting_differences(first, second) == [
        Difference("data.cutoff", comparison.DEFAULT, "2026-01-01"),
        Difference("model.dim", "64", "16"),
    ]


def grown(found: Findings, **log: Any) -> Findings:
    return dataclasses.replace(found, log={**found.log, **log})  # type: ignore[dict-item]


def test_data_that_differ() -> None:
    first, second = reports.findings("bad row"), grown(reports.findings("bad row"), rows=230, dropped={}, cut=None)
    rows = {row.name: row for row in data_differences(first, second)}
    assert (rows["rows read"].first, rows["rows read"].second, rows["rows read"].change) == ("200", "230", "+30")
    assert rows["training events"].change == "same"
    assert (rows["dropped: rated 3 or less"].second, rows["dropped: rated 3 or less"].change) == ("–", "")
    assert rows["rejected: bad row"].change == "same"
    assert rows["cut between training and evaluation"].first == "1970-01-01 00:00:01 UTC"
    assert rows["cut between training and evaluation"].second == "–"


def interactions(number: int, fingerprint: str, path: str = "log.csv", settings: str = "{}") -> Findings:
    settings_of_node = {"input_fingerprint": fingerprint, "input_path": path, "settings": settings}
    made = node("InteractionGen", settings=settings_of_node, examples=artifact(number=number))
    return dataclasses.replace(reports.findings(), run=run(made))


def test_the_same_queries_are_the_same_artifact_or_equal_files_by_equal_settings() -> None:
    one = interactions(1, "abc")
    assert same_queries(one, interactions(1, "", settings="other"))  # a copy from the cache
    assert same_queries(one, interactions(2, "abc", path="elsewhere.csv"))
    assert not same_queries(one, interactions(2, "def"))
    assert not same_queries(one, interactions(2, "abc", settings='{"split": {}}'))


def test_where_both_come_from() -> None:
    rows = {row.name: row for row in lineage_differences(reports.findings("one"), reports.failed())}
    assert (rows["code"].first, rows["code"].second) == ("one", "")
    assert rows["data"].first == "abc"
    assert rows["parent"].first == "20260101000000"


def test_the_page_of_two_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison.samples, "ask", lambda *_: reports.samples("a title", 2))
    page = Page(compare_pages(reports.findings("one"), reports.findings("two", hit=0.6)))
    assert all(len(words) > 20 for words in page.sections.values())
    assert list(page.sections)[:4] == ["metrics", "slices", "training", "config"]
    assert "hit@10 0.5000 ±0.1000 0.6000 ±0.1000 +0.1000" in page.sections["metrics"]
    assert "note one two" in page.sections["config"]
    assert "50% of B's ten items are also A's" in page.sections["users"]
    assert "A and B" in page.sections["data"]  # the same interactions: their charts are there once
    assert page.sections["blessing"].count("version 20260102030405") == 2


def test_the_page_of_two_runs_where_one_failed_and_names_are_nasty() -> None:
    html = compare_pages(reports.failed(NASTY), reports.findings(NASTY))
    page = Page(html)
    assert "A – The run ended before this, at Trainer." in page.sections["metrics"]
    assert "A – The run ended here: " in page.sections["training"]
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
