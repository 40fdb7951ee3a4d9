"""What the Evaluator found, as tables at the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.evaluation_report import ANSWERABLE, CANDIDATE, CHAMPION, COUNT, OVERALL, Report, difference, label
from pipeline.failures import DONE, NOT_BLESSED
from pipeline.terminal import MARKS, print_table

_TABLE_WIDTH = 160
"""Columns that the tables may take at any terminal, because a figure that is cut off is none."""


def show_report(report: Report, console: Console) -> int:
    """Prints what the Evaluator found; returns the exit code, 0 or 3."""
    for table in (metric_table(report), slice_table(report)):
        print_table(console, table, _TABLE_WIDTH)
    for lead in report.leads:
        other = "the champion" if lead.model == CHAMPION else f"{lead.model}, the best baseline"
        low, high = map(difference, lead.interval)
        console.print(
            f"{label(report.headline)} against {other}: {difference(lead.value)} ({low} to {high})",
            soft_wrap=True,
            highlight=False,
        )
    if report.left_out:
        console.print(f"{report.unanswerable}: {ANSWERABLE}", soft_wrap=True, highlight=False)
    for check in report.checks:
        mark = MARKS["done"] if check.passed else "[red]not blessed[/]:"
        console.print(f"{mark} {escape(str(check))}", soft_wrap=True, highlight=False)
    return DONE if report.blessed else NOT_BLESSED


def metric_table(report: Report) -> Table:
    """The metrics of the candidate, with confidence intervals, beside the champion's and the baselines'."""
    names = [name for name in report.metrics if name != CANDIDATE]
    level = f", ± at {report.confidence_level:.0%} confidence" if report.intervals else ""
    table = Table(title=f"{report.metrics[CANDIDATE][OVERALL][COUNT]:,.0f} point-in-time queries{level}")
    table.add_column("metric", no_wrap=True)
    for name in ("this model", *names):
        table.add_column(_heading(name), justify="right")
    intervals = report.intervals.get(CANDIDATE, {}).get(OVERALL, {})
    for metric, values in report.rows():
        if metric == COUNT:
            continue
        low, high = intervals.get(metric, (0.0, 0.0))
        spread = f" ±{(high - low) / 2:.4f}" if metric in intervals else ""
        figures = [f"{values[name]:.4f}" if name in values else "" for name in (CANDIDATE, *names)]
        table.add_row(label(metric), figures[0] + spread, *figures[1:])
    return table


def slice_table(report: Report) -> Table:
    """The headline metric by slice, for each model."""
    names = list(report.metrics)
    table = Table(title=f"{label(report.headline)} by slice")
    for name in ("slice", "queries", "this model", *names[1:]):
        table.add_column(_heading(name), justify="left" if name == "slice" else "right")
    for name in report.slices()[1:]:
        values = [report.metrics[model][name] for model in names]
        figures = [f"{value[report.headline]:.4f}" if report.headline in value else "too few" for value in values]
        table.add_row(escape(name), f"{values[0][COUNT]:,.0f}", *figures)
    return table


def _heading(name: str) -> str:
    return name.replace("_", "\n")
