"""What the Evaluator found, as tables at the terminal."""

from __future__ import annotations

import dataclasses
import io
import re

import pytest
from rich.console import Console

from components.evaluation_report import Check, Lead, Report
from pipeline.local.tables import show_report


def report() -> Report:
    def slices(hit: float) -> dict[str, dict[str, float]]:
        return {
            "overall": {"count": 2000, "hit_rate@10": hit, "mrr": hit / 2, "gini@10": 0.5},
            "user_type=new": {"count": 1990, "hit_rate@10": hit, "mrr": hit / 2},
            "user_type=known": {"count": 10},
        }

    return Report(
        metrics={"candidate": slices(0.25), "champion": slices(0.2), "recent_popularity": slices(0.125)},
        checks=(
            Check("hit_rate@10", "overall", 0.25, 0.125, "recent_popularity", True),
            Check("mrr", "user_type=new", 0.125, 0.5, "min", False),
        ),
        blessed=False,
        headline="hit_rate@10",
        depths={"candidate": 10, "champion": 10},
        exclude="all",
        left_out=500,
        batch_size=256,
        min_slice_size=50,
        intervals={"candidate": {"overall": {"hit_rate@10": (0.24, 0.27), "mrr": (0.12, 0.14)}}},
        confidence_level=0.9,
        leads=(Lead("champion", 0.05, (-0.01, 0.11)), Lead("recent_popularity", 0.125, (0.1, 0.15))),
    )


@pytest.mark.parametrize("terminal", [True, False])
def test_the_report_shows_every_model_and_says_where_a_slice_is_too_small(terminal: bool) -> None:
    out = io.StringIO()
    assert show_report(report(), Console(file=out, width=60, force_terminal=terminal, color_system=None)) == 3
    text = out.getvalue()
    assert "2,000 point-in-time queries, ± at 90% confidence" in text
    assert "hit@10 by slice" in text
    assert (
        "500 of 2,000 queries (25.0%) are of items that the user already had, which no answer can hold: dedup" in text
    )
    if terminal:
        lines = [line.strip("│").split("│") for line in text.splitlines() if line.startswith("│")]
    else:
        assert not set("│┃─━") & set(text)
        assert "metric       this model  champion  recent popularity" in text
        assert "slice            queries  this model  champion  recent popularity" in text
        row = re.compile(r"(hit@10|MRR|Gini@10|user_type=\w+)  ")
        lines = [re.split("  +", line) for line in text.splitlines() if row.match(line)]
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["hit@10", "0.2500 ±0.0150", "0.2000", "0.1250"],
        ["MRR", "0.1250 ±0.0100", "0.1000", "0.0625"],
        ["Gini@10", "0.5000", "0.5000", "0.5000"],
        ["user_type=new", "1,990", "0.2500", "0.2000", "0.1250"],
        ["user_type=known", "10", "too few", "too few", "too few"],
    ]
    assert [line for line in text.splitlines() if " against " in line] == [
        "hit@10 against the champion: +0.0500 (-0.0100 to +0.1100)",
        "hit@10 against recent_popularity, the best baseline: +0.1250 (+0.1000 to +0.1500)",
    ]
    assert "✓ hit@10 0.2500 is above recent_popularity's 0.1250" in text
    assert "not blessed: MRR 0.1250 is below 0.5000 where user_type=new" in text


def test_a_report_without_intervals_or_failures() -> None:
    out = io.StringIO()
    passed = dataclasses.replace(report(), blessed=True, checks=report().checks[:1], intervals={}, leads=())
    assert show_report(passed, Console(file=out)) == 0
    assert "±" not in out.getvalue()
    assert "against" not in out.getvalue()
