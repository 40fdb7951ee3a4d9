"""The page with a run's curves, and the summary of a model."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

from components.evaluator.report import Report
from pipeline.plots import by_k, chart, page, write_page
from pipeline.summary import as_text, summarize

TRAINING = {
    "summary": "2 epochs",
    "parameters": 6,
    "layers": [{"name": "a<b", "shape": [3, 2], "parameters": 6}],
    "epochs": [
        {"epoch": 1, "loss": 3.0, "hit@10": 0.1, "ndcg@10": 0.05},
        {"epoch": 2, "loss": 2.0, "hit@10": 0.2, "ndcg@10": 0.1},
    ],
}


def report() -> Report:
    metrics = {
        "candidate": {
            "overall": {"count": 9, "hit_rate@10": 0.5, "hit_rate@1": 0.25, "precision@10": 0.05, "mrr": 0.3}
        },
        "popularity": {
            "overall": {"count": 9, "hit_rate@10": 0.2, "hit_rate@1": 0.1, "precision@10": 0.02, "mrr": 0.1}
        },
    }
    return Report(metrics, (), True, "hit_rate@10", {"candidate": 10}, True, 1, 1)


def test_values_by_k_ascend_for_each_model() -> None:
    assert by_k(report(), "hit_rate") == {"candidate": [(1, 0.25), (10, 0.5)], "popularity": [(1, 0.1), (10, 0.2)]}


def test_a_chart_puts_the_best_value_at_the_top_and_the_last_at_the_right() -> None:
    svg = ElementTree.fromstring(chart("hit", "k", {"model": [(1, 0.25), (10, 0.5)]}))
    [line] = svg.findall("polyline")
    assert line.attrib["points"] == "50.0,130.0 410.0,50.0"
    titles = [circle.findtext("title") for circle in svg.findall("circle")]
    assert titles == ["model at 1: 0.2500", "model at 10: 0.5000"]


def test_a_chart_of_one_pass_without_a_loss_divides_by_nothing() -> None:
    ElementTree.fromstring(chart("loss", "pass", {"loss": [(1, 0.0)]}))


def test_the_page_has_curves_of_training_and_by_k_and_the_model(tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", "shop", TRAINING, report())
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text == page("shop", TRAINING, report())
    assert text.count("<svg") == 4  # loss, hit and NDCG by pass, hit by k; precision has one k only
    assert "a&lt;b<td>3 × 2<td>6" in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_summary_counts_what_weights_hold() -> None:
    parts = summarize([SimpleNamespace(name="items:0", shape=(3, 2)), SimpleNamespace(name="bias:0", shape=())])
    assert parts == [
        {"name": "items", "shape": [3, 2], "parameters": 6},
        {"name": "bias", "shape": [], "parameters": 1},
    ]
    assert [line.split() for line in as_text(parts).splitlines()] == [
        ["items", "3", "x", "2", "6"],
        ["bias", "1"],
        ["total", "7"],
    ]
