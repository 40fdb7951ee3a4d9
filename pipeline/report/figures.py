"""Which charts a page has, and the words on them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from components.evaluation_report import CANDIDATE, CHAMPION, COUNT, OVERALL, Report, difference, label
from components.metrics import METRICS
from pipeline.report import charts
from pipeline.report.charts import Chart
from pipeline.report.findings import Findings, Timeline
from pipeline.report.samples import BANDS, CATALOGUE, EVENTS, MODEL, TAKEN, Samples

_MODEL_NAMES = {
    CANDIDATE: "this model",
    "recent_popularity": "recent popularity",
    "item_knn": "item-kNN",
    "ease": "EASE",
    "markov": "Markov",
    "slit": "SLIT",
    "ials": "iALS",
}
_MOST_SLICES = 16


def model_name(name: str) -> str:
    """What a person calls a model of the Evaluator's report."""
    return _MODEL_NAMES.get(name, name.replace("_", " "))


def figure(metric: str, value: float) -> str:
    """A metric's value as it is read: with four digits behind the point, unless it is a large number."""
    kind = metric.partition("@")[0]
    digits = METRICS[kind].digits if kind in METRICS else 4
    return f"{value:,.{digits}f}"


def signed(value: float) -> str:
    """A difference of metrics, with its sign: "+0.0123", "−0.0123" or "0.0000"."""
    return difference(value).replace("-", "−")


def between(interval: tuple[float, float]) -> str:
    """An interval of a difference of metrics, as "−0.0012 to +0.0034"."""
    return " to ".join(map(signed, interval))


def data_charts(findings: Findings) -> list[Chart]:
    """The long tail, the time line, and how active users are."""
    found = []
    counts, events = findings.item_counts, findings.events
    if counts is not None and len(counts):
        head = max(1, round(len(counts) / 10))
        note = (
            f"The tenth of the items with the most events has {counts[:head].sum() / counts.sum():.0%} of all events; "
            f"{np.count_nonzero(counts == 1) / len(counts):.0%} of the items have a single one."
        )
        found.append(charts.long_tail("Long tail", counts, note))
    if events is not None and events.timeline is not None:
        found.append(_timeline(events.timeline, _of_some(events.share)))
    if events is not None and events.activity:
        least = [str(number) for number, _ in events.activity]
        users = [count for _, count in events.activity]
        x = "training events of a user, from … up to the next"
        found.append(charts.histogram("Users by activity", x, "users", least, users, _of_some(events.share)))
    return found


def _of_some(share: float) -> str:
    return "" if share == 1 else f"Of {share:.1%} of the users, drawn by a hash of their ids."


def _timeline(timeline: Timeline, note: str) -> Chart:
    title = f"Events by {timeline.period}"
    series = {"training": timeline.train, "evaluation": timeline.evaluation}
    return charts.timeline(title, f"events a {timeline.period}", timeline.starts, series, note)


def training_charts(runs: Mapping[str, Findings]) -> list[Chart]:
    """Loss and validation metrics by pass.

    Args:
        runs: What each run is called, and its findings; with one run alone the best pass is marked.
    """
    trained = {name: found.training for name, found in runs.items() if found.training}
    marked = None
    if len(trained) == 1:
        [findings] = [found for found in runs.values() if found.training]
        stop_on = findings.settings["training"]["stop_on"]
        marked = max(findings.training["epochs"], key=lambda epoch: epoch[stop_on])["epoch"]  # type: ignore[index]
    note = f"Dashed: pass {marked}, the best in validation {label(stop_on)}." if marked else ""
    found = []
    for metric, title, unit in (
        ("loss", "loss", "training loss"),
        ("hit@10", "hit@10", "validation hit@10"),
        ("ndcg@10", "NDCG@10", "validation NDCG@10"),
    ):
        series = {
            name: [(epoch["epoch"], epoch[metric]) for epoch in report["epochs"]] for name, report in trained.items()
        }
        if series:
            found.append(charts.lines(title, "pass", unit, series, note, marked))
    ranking = {
        name: [(epoch["epoch"], epoch["ndcg@10"]) for epoch in report["ranking"]]
        for name, report in trained.items()
        if report.get("ranking")
    }
    if ranking:
        note = "Pass 0 is the retrieval without the second stage."
        unit = "validation NDCG@10"
        found.append(charts.lines("second stage", "pass of the ranker", unit, ranking, note))
    return found


def metric_charts(report: Report) -> list[Chart]:
    """The headline metric with its intervals, and the metrics that are measured at several k."""
    names = {name: model_name(name) for name in report.metrics}
    headline = report.headline
    values = {names[name]: slices[OVERALL][headline] for name, slices in report.metrics.items()}
    spreads = {
        names[name]: slices[OVERALL][headline]
        for name, slices in report.intervals.items()
        if headline in slices.get(OVERALL, {})
    }
    note = f"Thin lines: {report.confidence_level:.0%} confidence, by a bootstrap over users." if spreads else ""
    colours = model_colours(report)
    found = [charts.bars(label(headline), label(headline), values, "{:.4f}".format, spreads, note, colours)]
    for kind, metric in METRICS.items():
        if metric.of != "rank":
            continue
        title = "hit rate" if kind == "hit_rate" else metric.label
        series = {names[name]: by_k(report, name, kind) for name in report.metrics}
        if all(len(points) > 1 for points in series.values()):
            found.append(charts.by_k(f"{title} by k", title, series))
    return found


def model_colours(report: Report) -> dict[str, int]:
    """The colours of the models, the same in all charts of a page."""
    return {model_name(name): number for number, name in enumerate(report.metrics, start=1)}


def by_k(report: Report, model: str, kind: str) -> list[tuple[float, float]]:
    """A metric's values by k, ascending."""
    parts = [(name.partition("@"), value) for name, value in report.metrics[model][OVERALL].items()]
    return sorted((int(k), value) for (of_kind, at, k), value in parts if at and of_kind == kind)


def slice_charts(reports: Mapping[str, tuple[Report, str]], colours: Mapping[str, int]) -> list[Chart]:
    """The headline metric by slice, a chart for each way of slicing.

    Args:
        reports: What each series is called, and the report and the model in it whose figures it shows.
        colours: Of the series.
    """
    first = next(iter(reports.values()))[0]
    found = []
    for columns, every in slices_by_columns(first).items():
        slices = largest(first, every, _MOST_SLICES)
        series: dict[str, list[float | None]] = {}
        spreads: dict[str, list[tuple[float, float] | None]] = {}
        for name, (report, model) in reports.items():
            of_model, intervals = report.metrics[model], report.intervals.get(model, {})
            series[name] = [of_model.get(part, {}).get(first.headline) for part in slices]
            spreads[name] = [intervals.get(part, {}).get(first.headline) for part in slices]
        if any(value is not None for values in series.values() for value in values):
            title = " × ".join(column.replace("_", " ") for column in columns)
            groups = ["\n".join(part.partition("=")[2] for part in name.split(", ")) for name in slices]
            headline = label(first.headline)
            note = f"The {len(slices)} of {len(every)} with the most queries." if len(slices) < len(every) else ""
            found.append(
                charts.grouped(f"By {title}", title, headline, groups, series, "{:.4f}".format, note, spreads, colours)
            )
    return found


def largest(report: Report, slices: list[str], most: int) -> list[str]:
    """The slices with the most queries, at most so many, in their order."""
    queries = {name: report.metrics[CANDIDATE][name][COUNT] for name in slices}
    kept = set(sorted(slices, key=lambda name: -queries[name])[:most])
    return [name for name in slices if name in kept]


def slices_by_columns(report: Report) -> dict[tuple[str, ...], list[str]]:
    """The names of the slices by the features that define them; bands of popularity from the head to what is new."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in report.slices()[1:]:
        groups.setdefault(columns_of(name), []).append(name)
    if ("item_popularity",) in groups:
        groups["item_popularity",].sort(key=lambda name: BANDS.index(name.partition("=")[2]))
    return groups


def columns_of(slice_name: str) -> tuple[str, ...]:
    """The features that define a slice, from its name."""
    return tuple(part.partition("=")[0] for part in slice_name.split(", "))


def rivals(report: Report) -> dict[str, tuple[Report, str]]:
    """The series of a report's slice charts: the model, the champion and the best baseline."""
    models = [CANDIDATE, *([CHAMPION] if CHAMPION in report.metrics else [])]
    models += sorted(report.baselines, key=lambda name: report.metrics[name][OVERALL][report.headline])[-1:]
    return {model_name(name): (report, name) for name in models}


def exposure_charts(series: Mapping[str, tuple[Report, str]], colours: Mapping[str, int]) -> list[Chart]:
    """How much of the catalogue is recommended, and how popular that is; arguments as for `slice_charts`."""
    found = []
    for metric in next(iter(series.values()))[0].metrics[CANDIDATE][OVERALL]:
        name, _, k = metric.partition("@")
        kind = METRICS.get(name)
        if kind is not None and kind.unit:
            values = {
                name: report.metrics[model][OVERALL][metric]
                for name, (report, model) in series.items()
                if metric in report.metrics[model][OVERALL]
            }
            shown = functools.partial(figure, metric)
            title, note = f"{_sentence(kind.label)} at {k}", f"{_sentence(kind.meaning)}."
            found.append(charts.bars(title, kind.unit, values, shown, note=note, colours=colours))
    return found


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]


def band_chart(samples: Samples, names: Sequence[str]) -> Chart:
    """How popular what is recommended is, beside the catalogue, the training events and what users took.

    Args:
        samples: What the models answered.
        names: What the models are called.
    """
    shares = {name: samples.bands[f"{MODEL}{number}"] for number, name in enumerate(names)}
    shares |= {name: samples.bands[name] for name in (TAKEN, EVENTS, CATALOGUE)}
    return charts.grouped(
        "Popularity of what is recommended",
        "items by their training events",
        "share",
        BANDS,
        shares,
        "{:.0%}".format,
        f"head: the tenth of the items with the most training events, mid: down to the middle, tail: the rest, new: "
        f"none. From {samples.queries:,} of the evaluation's queries.",
    )


def time_chart(findings: Findings) -> Chart | None:
    """How long the nodes took; None where all came from the cache."""
    seconds = {node.name: node.seconds for node in findings.run.nodes.values() if node.state != "cached"}
    if not seconds:
        return None
    note = "Nodes that came from the cache are left out." if len(seconds) < len(findings.run.nodes) else ""
    return charts.bars("Time by node", "seconds", seconds, "{:,.1f} s".format, note=note)


def query_count(report: Report) -> int:
    """How many queries the models were asked."""
    return int(report.metrics[CANDIDATE][OVERALL][COUNT])
