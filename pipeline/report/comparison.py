"""Two runs beside each other: what differs in their figures, their settings, their data and their answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from components.evaluation_report import CANDIDATE, COUNT, OVERALL, Report, label
from components.evaluator.bootstrap import interval
from components.evaluator.settings import EvaluatorSettings
from pipeline.report import charts, figures, samples
from pipeline.report.charts import Chart
from pipeline.report.findings import Findings, flat
from pipeline.report.page import MOST_SLICES, Tile, cut_of, drops, render, spread_of, verdict

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


@dataclasses.dataclass(frozen=True)
class Pair:
    """What the Evaluator found of both runs."""

    first: Report
    second: Report
    replicates: Replicates
    other_replicates: Replicates

    def values(self, slice_name: str) -> list[Mapping[str, float]]:
        """The metrics of both models on a slice; empty where a run has no such slice."""
        return [report.metrics[CANDIDATE].get(slice_name, {}) for report in (self.first, self.second)]


def compare_pages(first: Findings, second: Findings, show_users: bool = False) -> str:
    """The page of two runs.

    Args:
        first: What the second is held against.
        second: Its evaluation events and catalogue are the questions that both models are asked.
        show_users: Whether users are named by their ids.
    """
    sides = {"A": first, "B": second}
    reports = {name: (found.report, CANDIDATE) for name, found in sides.items() if found.report}
    colours = {name: number for number, name in enumerate(sides, start=1)}
    models = [found.servable for found in sides.values() if found.servable]
    asked = samples.ask(second, models) if len(models) == len(sides) else None
    asked = asked.unnamed() if asked and not show_users else asked
    judged: dict[str, Any] = {name: [] for name in ("tiles", "metrics", "metric_charts", "slices", "slice_charts")}
    if first.report and second.report:
        pair = Pair(first.report, second.report, _replicates(first), _replicates(second))
        judged = {
            "tiles": tiles(pair),
            "metrics": metric_differences(pair),
            "metric_charts": _metric_charts(reports, colours),
            "slices": slice_differences(pair),
            "slice_charts": figures.slice_charts(reports, colours),
        }
    data_of = {"A and B": second} if _artifact(first) == _artifact(second) else sides
    return render(
        "compare.html.j2",
        title=f"{second.name}: A and B",
        name=second.name,
        sides=sides,
        called={name: name_of(found) for name, found in sides.items()},
        verdicts={name: verdict(found) for name, found in sides.items()},
        same_queries=same_queries(first, second),
        **judged,
        training_charts=figures.training_charts(sides),
        settings=setting_differences(first.settings, second.settings),
        data=data_differences(first, second),
        data_charts={name: figures.data_charts(found) for name, found in data_of.items()},
        exposure_charts=_exposure_charts(list(sides), reports, colours, asked),
        samples=asked,
        lineage=lineage_differences(first, second),
    )


def name_of(findings: Findings) -> str:
    """What a run is called: the number of its version or, without one, its time."""
    run = findings.run
    return f"version {run.version}" if run.version else f"run {run.id[:19].replace('T', ' ')}"


def same_queries(first: Findings, second: Findings) -> bool:
    """Whether both runs were judged on the same events: the very same, or made from equal files by equal settings."""

    def made_from(findings: Findings) -> Any:
        node = findings.run.nodes.get("InteractionGen")
        return node and {name: value for name, value in node.settings.items() if not name.endswith("_path")}

    return _artifact(first) == _artifact(second) or made_from(first) == made_from(second)


def metric_differences(pair: Pair) -> list[Difference]:
    """The overall metrics that both have."""
    values = pair.values(OVERALL)
    return [
        _difference(pair, label(metric), metric, OVERALL)
        for metric in values[1]
        if metric != COUNT and metric in values[0]
    ]


def slice_differences(pair: Pair) -> list[tuple[str, list[Difference]]]:
    """The second's headline metric by the slices that both have, for each way of slicing."""
    metric, groups = pair.second.headline, []
    for columns, slices in figures.slices_by_columns(pair.second).items():
        rows = []
        for name in figures.largest(pair.second, slices, MOST_SLICES):
            both = pair.values(name)
            if all(metric in values for values in both):
                shown = ", ".join(part.partition("=")[2] for part in name.split(", "))
                row = _difference(pair, shown, metric, name)
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
    rows = []
    for name, (one, other) in counts.items():
        change = "" if one is None or other is None else "same" if one == other else f"{other - one:+,}"
        first_shown, second_shown = ("–" if count is None else f"{count:,}" for count in (one, other))
        rows.append(Difference(name, first_shown, second_shown, change))
    cut, other_cut = (cut_of(findings.log) if findings.log else "" for findings in (first, second))
    if cut or other_cut:
        change = "same" if cut == other_cut else ""
        rows.append(Difference("cut between training and evaluation", cut or "–", other_cut or "–", change))
    return rows


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


def tiles(pair: Pair) -> list[Tile]:
    """The second's headline metric of both, and the difference."""
    metric = pair.second.headline
    if any(metric not in values for values in pair.values(OVERALL)):
        return []
    name = label(metric)
    found = [
        Tile(f"{name}, {side}", f"{values[metric]:.4f}", spread_of(report, CANDIDATE, OVERALL, metric))
        for side, report, values in zip("AB", (pair.first, pair.second), pair.values(OVERALL))
    ]
    row = _difference(pair, name, metric, OVERALL)
    return [*found, Tile(f"{name}, B − A", row.change, row.range)]


def _difference(pair: Pair, name: str, metric: str, slice_name: str) -> Difference:
    one, other = (values[metric] for values in pair.values(slice_name))
    first, second = (
        f"{figures.figure(metric, value)} {spread_of(report, CANDIDATE, slice_name, metric)}".rstrip()
        for report, value in ((pair.first, one), (pair.second, other))
    )
    change = f"{'+' if other >= one else '−'}{figures.figure(metric, abs(other - one))}"
    drawn = [found.get(slice_name, {}).get(metric) for found in (pair.replicates, pair.other_replicates)]
    if drawn[0] is None or drawn[1] is None or drawn[0].shape != drawn[1].shape:
        return Difference(name, first, second, change)
    low, high = interval(drawn[1] - drawn[0], pair.second.confidence_level)
    kind = "good" if low > 0 else "bad" if high < 0 else ""
    return Difference(name, first, second, change, figures.between((low, high)), kind)


def _artifact(findings: Findings) -> int | None:
    """The id of the interactions in the metadata."""
    examples = findings.run.output("InteractionGen", "examples")
    return None if examples is None else examples.id


def _replicates(findings: Findings) -> Replicates:
    """What the bootstrap made of the ranking metrics; empty where the evaluation had none, or is gone."""
    uri = findings.uri("Evaluator", "evaluation")
    if findings.report is None or not findings.report.intervals or uri is None:
        return {}
    from components.evaluator.analysis import read_replicates  # TFMA takes seconds to import

    names = list(EvaluatorSettings.model_validate(findings.settings["evaluation"]).ranking_metrics())
    return {name: dict(zip(names, values)) for name, values in read_replicates(uri).items()}


def _metric_charts(reports: Mapping[str, tuple[Report, str]], colours: Mapping[str, int]) -> list[Chart]:
    metric = list(reports.values())[-1][0].headline
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
    names: list[str],
    reports: Mapping[str, tuple[Report, str]],
    colours: Mapping[str, int],
    asked: samples.Samples | None,
) -> list[Chart]:
    found = [figures.band_chart(asked, names)] if asked is not None else []
    return found + (figures.exposure_charts(reports, colours) if len(reports) == len(names) else [])


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
