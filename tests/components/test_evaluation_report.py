"""The Evaluator's report and its file."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from components.evaluation_report import Check, Lead, Report, difference, load_report, save_report


def make_report(blessed: bool, champion: bool, left_out: int = 0) -> Report:
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
    return Report(
        metrics, checks, blessed, "hit_rate@10", {"candidate": 100}, "all", 256, 50, intervals, 0.9, leads, left_out
    )


def test_summaries() -> None:
    others = "(champion 0.201, popularity 0.074, item_knn 0.149)"
    assert make_report(True, True).summary() == f"hit@10 0.203 {others} · blessed"
    assert (
        make_report(False, False).summary()
        == "hit@10 0.203 (popularity 0.074, item_knn 0.149) · not blessed: MRR 0.1000 is below 0.5000"
    )
    assert make_report(True, True, left_out=3).summary() == (
        f"hit@10 0.203 {others} · blessed · 3 of 9 queries (33.3%) are of items that the user already had, which no "
        "answer can hold"
    )
    assert make_report(False, True).baselines == ("popularity", "item_knn")


def test_a_difference_that_rounds_to_zero_has_no_sign() -> None:
    assert [difference(value) for value in (0.5, -0.00006, -0.00004, 0.00004, -0.0)] == [
        "+0.5000",
        "-0.0001",
        "0.0000",
        "0.0000",
        "0.0000",
    ]


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    report = make_report(False, True)
    save_report(report, str(tmp_path))
    assert load_report(str(tmp_path)) == report


@pytest.mark.parametrize(("exclude_seen", "exclude"), [(True, "all"), (False, "nothing")])
def test_a_report_of_an_older_version_is_read(exclude_seen: bool, exclude: str, tmp_path: Path) -> None:
    report = make_report(True, True)
    save_report(report, str(tmp_path))
    path = tmp_path / "metrics.json"
    content = json.loads(path.read_text())
    del content["exclude"], content["left_out"]
    path.write_text(json.dumps({**content, "exclude_seen": exclude_seen}))
    assert load_report(str(tmp_path)) == dataclasses.replace(report, exclude=exclude, left_out=None)


@pytest.mark.slow
@pytest.mark.smoke
def test_reading_a_report_and_the_settings_needs_no_heavy_package() -> None:
    script = (
        "import sys, components.evaluation_report, components.evaluator.settings\n"
        "print(*(name in sys.modules for name in ('tensorflow', 'apache_beam', 'scipy')))"
    )
    output = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert output.stdout.split() == ["False"] * 3
