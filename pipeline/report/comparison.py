"""Two runs beside each other: what differs in their figures, their settings, their data and their answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from components.evaluator.bootstrap import interval
from components.evaluator.metrics import GAINS
from components.evaluator.report import CANDIDATE, COUNT, OVERALL, Report, label
from components.evaluator.settings import EvaluatorSettings
from pipeline.report import charts, figures, samples
from pipeline.report.charts import Chart
from pipeline.report.findings import Findings, flat
from pipeline.report.page import Tile, cut_of, drops, render, spread_of, verdict

DEFAULT = "(default)"
"""What a setting is that only the other run names."""

Replicates = Mapping[str, Mapping[str, np.ndarray]]
"""Slice to metric to [R] float64: the metric in each replicate of the bootstrap."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """A figure of both runs, as text."""

    name: str
    first: str
    second: str
    change: str = ""
    """The second less the first."""
    range: str = ""
    """Its interval."""
    kind: str = ""
    """`good` or `bad` where the interval leaves no doubt whether the second is better; else empty."""
    count: str = ""


def compare_pages(first: Findings, second: Findings) -> str:
    """The page of two runs.

    Args:
        first: What the second is held against.
        second: Its evaluation events and catalogue are the questions that both models are asked.
    """
    sides = {name_of(first, "A"): first, name_of(second, "B"): second}
    reports = {name: (found.report, CANDIDATE) for name, found in sides.items() if found.report}
    both = len(reports) == 2
    colours = {name: number for number, name in enumerate(sides, start=1)}
    models = [found.servable for found in sides.values() if found.servable]
    asked = samples.ask(second, models) if len(models) == 2 else None
    replicates = [_replicates(found) for found in sides.values()]
    return render(
        "compare.html.j2",
        title=f"{second.name}: {' and '.join(sides)}",
        name=second.name,
        sides=sides,
        verdicts={name: verdict(found) for name, found in sides.items()},
        tiles=tiles(sides, replicates) if both else [],
        same_queries=same_queries(first, second),
        metrics=metric_differences(*(report for report, _ in reports.values()), *replicates) if both else [],  # type: ignore[misc]
        metric_charts=_metric_charts(reports, colours) if both else [],  # type: ignore[arg-type]
        slices=slice_differences(*(report for report, _ in reports.values()), *replicates) if both else [],  # type: ignore[misc]
        slice_charts=figures.slice_charts(reports, colours) if both else [],  # type: ignore[arg-type]
        training_charts=figures.training_charts(sides),
        settings=setting_differences(first.settings, second.settings),
        data=data_differences(first, second),
        data_charts={name: figures.data_charts(found) for name, found in sides.items()},
        exposure_charts=_exposure_charts(sides, reports, colours, asked),  # type: ignore[arg-type]
        samples=asked,
        lineage=lineage_differences(first, second),
    )


def name_of(findings: Findings, letter: str) -> str:
    """What a run is called on the page: a letter, and the version's number or, without one, the run's id."""
    return f"{letter}: {findings.run.version or findings.run.id[:19].replace('T', ' ')}"


def same_queries(first: Findings, second: Findings) -> bool:
    """Whether both runs were judged on the same events: made from the same files by the same settings."""

    def made_from(findings: Findings) -> Any:
        node = findings.run.nodes.get("InteractionGen")
        return node and {name: value for name, value in node.settings.items() if not name.endswith("_path")}

    return made_from(first) == made_from(second)


def metric_differences(
    first: Report, second: Report, replicates: Replicates, other_replicates: Replicates
) -> list[Difference]:
    """The overall metrics that both have."""
    values = first.metrics[CANDIDATE][OVERALL], second.metrics[CANDIDATE][OVERALL]
    return [
        _difference(label(metric), metric, OVERALL, first, second, replicates, other_replicates)
        for metric in values[1]
        if metric != COUNT and metric in values[0]
    ]


def slice_differences(
    first: Report, second: Report, replicates: Replicates, other_replicates: Replicates
) -> list[tuple[str, list[Difference]]]:
    """The second's headline metric by the slices that both have, for each way of slicing."""
    metric, groups = second.headline, []
    for columns, slices in figures.slices_by_columns(second).items():
        rows = []
        for name in slices:
            both = [report.metrics[CANDIDATE].get(name, {}) for report in (first, second)]
            if all(metric in values for values in both):
                shown = ", ".join(part.partition("=")[2] for part in name.split(", "))
                row = _difference(shown, metric, name, first, second, replicates, other_replicates)
                rows.append(dataclasses.replace(row, count=f"{both[1][COUNT]:,.0f}"))
        if rows:
            groups.append((" × ".join(columns).replace("_", " "), rows))
    return groups


def setting_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """The settings that differ, by key."""
    one, other = dict(flat(first)), dict(flat(second))
    return [
        Difference(key, one.get(key, DEFAULT), other.get(key, DEFAULT))
        for key in sorted({*one, *other})
        if one.get(key) != other.get(key)
    ]


def data_differences(first: Findings, second: Findings) -> list[Difference]:
    """Counts of both runs' data."""
    counts: dict[str, list[int | None]] = {}
    for side, findings in enumerate((first, second)):
        for name, count in _counts(findings).items():
            counts.setdefault(name, [None, None])[side] = count
    rows = [
        Difference(
            name,
            *("" if count is None else f"{count:,}" for count in both),
            f"{both[1] - both[0]:+,}" if both[0] is not None and both[1] is not None else "",
        )
        for name, both in counts.items()
    ]
    cuts = [cut_of(findings.log) if findings.log else "" for findings in (first, second)]
    return [*rows, *([Difference("cut between training and evaluation", *cuts)] if any(cuts) else [])]


def lineage_differences(first: Findings, second: Findings) -> list[Difference]:
    """Where both come from."""
    parts = [
        (
            ("run", findings.run.id),
            ("version", findings.run.version),
            ("fingerprint", findings.manifest.get("fingerprint", "")),
            ("code", findings.origin.get("code", "")),
            ("config", findings.origin.get("config", "")),
            ("parent", findings.champion_version),
            ("data", _digests(findings)),
        )
        for findings in (first, second)
    ]
    return [Difference(name, one, other) for (name, one), (_, other) in zip(*parts)]


def tiles(sides: Mapping[str, Findings], replicates: list[Replicates]) -> list[Tile]:
    """The second's headline metric, and what it is against the first's."""
    first, second = (found.report for found in sides.values())
    assert first is not None
    assert second is not None
    metric = second.headline
    found = [
        Tile(name, f"{report.metrics[CANDIDATE][OVERALL][metric]:.4f}", label(metric))
        for name, report in zip(sides, (first, second))
        if metric in report.metrics[CANDIDATE][OVERALL]
    ]
    if len(found) == 2:
        row = _difference("difference", metric, OVERALL, first, second, *replicates)
        found.append(Tile("difference", row.change, row.range or label(metric)))
    return found


def _difference(
    name: str,
    metric: str,
    slice_name: str,
    first: Report,
    second: Report,
    replicates: Replicates,
    other_replicates: Replicates,
) -> Difference:
    one, other = (report.metrics[CANDIDATE][slice_name][metric] for report in (first, second))
    shown = [
        f"{figures.figure(metric, value)} {spread_of(report, CANDIDATE, slice_name, metric)}".rstrip()
        for report, value in ((first, one), (second, other))
    ]
    change = f"{'+' if other >= one else '−'}{figures.figure(metric, abs(other - one))}"
    pair = [found.get(slice_name, {}).get(metric) for found in (replicates, other_replicates)]
    if pair[0] is None or pair[1] is None or pair[0].shape != pair[1].shape:
        return Difference(name, *shown, change)
    low, high = interval(pair[1] - pair[0], second.confidence_level)
    kind = "good" if low > 0 else "bad" if high < 0 else ""
    return Difference(
        name, *shown, change, f"{low:+.4f} to {high:+.4f}", kind if metric.partition("@")[0] in GAINS else ""
    )


def _replicates(findings: Findings) -> Replicates:
    """What the bootstrap made of the ranking metrics; empty where the evaluation had none, or is gone."""
    uri = findings.uri("Evaluator", "evaluation")
    if findings.report is None or not findings.report.intervals or uri is None:
        return {}
    from components.evaluator.analysis import read_replicates  # TFMA takes seconds to import

    names = list(EvaluatorSettings.model_validate(findings.settings["evaluation"]).ranking_metrics())
    return {name: dict(zip(names, values)) for name, values in read_replicates(uri).items()}


def _metric_charts(reports: Mapping[str, tuple[Report, str]], colours: Mapping[str, int]) -> list[Chart]:
    metric = next(reversed(reports.values()))[0].headline
    values = {name: report.metrics[model][OVERALL].get(metric) for name, (report, model) in reports.items()}
    there = {name: value for name, value in values.items() if value is not None}
    spreads = {
        name: report.intervals[model][OVERALL][metric]
        for name, (report, model) in reports.items()
        if metric in report.intervals.get(model, {}).get(OVERALL, {})
    }
    found = [charts.bars(label(metric), label(metric), there, "{:.4f}".format, spreads, colours=colours)]
    series = {name: figures.by_k(report, model, "hit_rate") for name, (report, model) in reports.items()}
    if all(len(points) > 1 for points in series.values()):
        found.append(charts.by_k("hit rate by k", "hit rate", series))
    return found


def _exposure_charts(
    sides: Mapping[str, Findings],
    reports: Mapping[str, tuple[Report, str]],
    colours: Mapping[str, int],
    asked: samples.Samples | None,
) -> list[Chart]:
    found = [figures.band_chart(asked, list(sides))] if asked is not None else []
    return found + (figures.exposure_charts(reports, colours) if len(reports) == 2 else [])


def _counts(findings: Findings) -> dict[str, int]:
    log = findings.log
    found = {}
    if log is not None:
        found = {"rows read": log["rows"], "training events": log["events"]["train"]}
        found["evaluation events"] = log["events"]["eval"]
        if "training users" in log["facts"]:
            found["training users"] = log["facts"]["training users"]
    if findings.item_counts is not None:
        found["items with training events"] = len(findings.item_counts)
    if findings.manifest:
        found["items of the catalogue"] = findings.manifest["num_items"]
    found |= {f"{kind}: {reason}": count for kind, reason, count, _ in drops(findings)}
    return found


def _digests(findings: Findings) -> str:
    nodes = (findings.run.nodes.get(name) for name in ("InteractionGen", "CatalogueGen"))
    return " ".join(str(node.settings.get("input_fingerprint", "")) for node in nodes if node).strip()
