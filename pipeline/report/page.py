"""Puts what a run found out into one HTML page."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from components.evaluation_report import ANSWERABLE, CANDIDATE, CHAMPION, COUNT, LEAD, OVERALL, Check, Report, label
from components.metrics import METRICS
from components.tables.row_report import ROWS_OF_USERS
from pipeline import __version__
from pipeline.report import figures
from pipeline.report.charts import Chart
from pipeline.report.findings import Findings, flat
from pipeline.report.history import Node
from pipeline.report.samples import Samples

MOST_SLICES = 50
"""Rows of a table of slices."""

_KEPT = "\n\u200c\u200d"  # the joiners of scripts and emoji
_LONGEST = 2_000
_MEANINGS = {metric.label: metric.meaning for metric in METRICS.values()}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How a run ended, in a word or two."""

    text: str
    kind: str
    """`good`, `bad` or `plain`."""


@dataclasses.dataclass(frozen=True)
class Tile:
    """A figure that stands out."""

    name: str
    value: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A figure of a table."""

    value: str
    spread: str = ""
    """Half of its interval's width."""
    best: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a table of figures."""

    name: str
    cells: tuple[Cell, ...]
    count: str = ""


def report_page(findings: Findings, samples: Samples | None, exposed: Sequence[str]) -> str:
    """The page of a run.

    Args:
        findings: What the run found out.
        samples: What its model, and the champion, answered; None where there is none.
        exposed: What the models of `samples` are called.
    """
    report = findings.report
    colours = figures.model_colours(report) if report else {}
    return _template("report.html.j2").render(
        title=f"{findings.name}: report",
        findings=findings,
        run=findings.run,
        report=report,
        answerable=ANSWERABLE,
        verdict=verdict(findings),
        tiles=tiles(findings),
        samples=samples,
        drops=drops(findings),
        data_charts=figures.data_charts(findings),
        training_charts=figures.training_charts({findings.name: findings}),
        metric_charts=figures.metric_charts(report) if report else [],
        models=[figures.model_name(name) for name in report.metrics] if report else [],
        metric_rows=metric_rows(report) if report else [],
        slice_groups=slice_groups(report) if report else [],
        slice_charts=figures.slice_charts(figures.rivals(report), colours) if report else [],
        exposure_charts=exposure_charts(findings, samples, exposed),
        time_chart=figures.time_chart(findings),
        **_common(),
    )


def render(template: str, **content: Any) -> str:
    """Renders a template with what all pages have."""
    return _template(template).render(**content, **_common())


def verdict(findings: Findings) -> Verdict:
    """How a run ended."""
    run = findings.run
    if run.stopped_at is not None:
        verb = "Failed" if run.stopped_at.state == "failed" else "Stopped"
        return Verdict(f"{verb} at {run.stopped_at.name}", "bad")
    if run.failure:
        return Verdict("Failed", "bad")
    refused = refusals(findings)
    if refused:
        return Verdict(f"Not blessed by {' and '.join(refused)}", "bad")
    if findings.pushed:
        return Verdict(f"Published as version {run.version}", "good")
    if run.version:
        return Verdict(f"Nothing new: version {run.version} is this model", "good")
    return Verdict(f"Ran up to {list(run.nodes)[-1]}" if run.nodes else "No node was run", "plain")


def refusals(findings: Findings) -> list[str]:
    """Which judges did not bless the model."""
    refused = []
    if findings.report is not None and not findings.report.blessed:
        refused.append("the Evaluator")
    if findings.validation is not None and not findings.validation["blessed"]:
        refused.append("the ServableValidator")
    return refused


def tiles(findings: Findings) -> list[Tile]:
    """The figures that a reader looks for first."""
    found = []
    report, validation, manifest = findings.report, findings.validation, findings.manifest
    if report:
        value = report.metrics[CANDIDATE][OVERALL][report.headline]
        spread = spread_of(report, CANDIDATE, OVERALL, report.headline)
        found.append(
            Tile(label(report.headline), f"{value:.4f}", f"{spread} at {report.confidence_level:.0%}" if spread else "")
        )
        for lead in report.leads:
            other = "the champion" if lead.model == CHAMPION else figures.model_name(lead.model)
            low, high = lead.interval
            found.append(
                Tile(f"against {other}", figures.signed(lead.value), f"{figures.signed(low)} to {figures.signed(high)}")
            )
    if findings.log:
        events = findings.log["events"]
        found.append(Tile("events", f"{events['train']:,}", f"and {events['eval']:,} for evaluation"))
    if manifest:
        users = f"{manifest['num_users']:,} users with histories"
        found.append(Tile("items", f"{manifest['num_items']:,}", users))
    if validation and validation.get("grpc"):
        found.append(
            Tile("latency, gRPC", f"{validation['grpc']['p50']:.1f} ms", f"p99 {validation['grpc']['p99']:.1f} ms")
        )
    return found


def drops(findings: Findings) -> list[tuple[str, str, int, float]]:
    """Rows that are not used: whether rejected or dropped, the reason, how many, and the share of all rows."""
    log = findings.log
    if log is None:
        return []
    rows = max(1, log["rows"] + log["facts"].get(ROWS_OF_USERS, 0))
    reasons = [("rejected", entry["reason"], entry["rows"]) for entry in log["rejected"]]
    reasons += [("dropped", reason, count) for reason, count in log["dropped"].items() if count]
    return [(kind, reason, count, count / rows) for kind, reason, count in sorted(reasons, key=lambda found: -found[2])]


def metric_rows(report: Report, slice_name: str = OVERALL) -> list[Row]:
    """The table of all metrics; the best model of each ranking metric is marked."""
    rows = []
    for metric, values in report.rows(slice_name):
        if metric != COUNT:
            kind = METRICS.get(metric.partition("@")[0])
            ranked = kind is not None and kind.of == "rank"
            best = max(values.values()) if ranked and len(values) > 1 else None
            cells = tuple(
                Cell(
                    figures.figure(metric, values[model]),
                    spread_of(report, model, slice_name, metric),
                    values[model] == best,
                )
                if model in values
                else Cell("")
                for model in report.metrics
            )
            rows.append(Row(label(metric), cells))
    return rows


def slice_groups(report: Report) -> list[tuple[str, list[Row]]]:
    """The headline metric by slice, a table for each way of slicing; of very many slices the largest."""
    groups = []
    for columns, names in figures.slices_by_columns(report).items():
        rows = []
        for name in figures.largest(report, names, MOST_SLICES):
            values = [of_model[name].get(report.headline) for of_model in report.metrics.values()]
            best = max((value for value in values if value), default=None)
            cells = tuple(
                Cell(f"{value:.4f}", spread_of(report, model, name, report.headline), value == best)
                if value is not None
                else Cell("too few")
                for model, value in zip(report.metrics, values)
            )
            shown = ", ".join(part.partition("=")[2] for part in name.split(", "))
            rows.append(Row(shown, cells, f"{report.metrics[CANDIDATE][name][COUNT]:,.0f}"))
        title = " × ".join(columns).replace("_", " ")
        groups.append((f"{title} ({len(rows)} of {len(names):,})" if len(rows) < len(names) else title, rows))
    return groups


def spread_of(report: Report, model: str, slice_name: str, metric: str) -> str:
    """Half the width of a metric's interval, as "±0.0123"; empty without one."""
    interval = report.intervals.get(model, {}).get(slice_name, {}).get(metric)
    return f"±{(interval[1] - interval[0]) / 2:.4f}" if interval else ""


def exposure_charts(findings: Findings, samples: Samples | None, names: Sequence[str]) -> list[Chart]:
    """The charts of coverage and popularity of a run."""
    found = []
    if samples is not None:
        found.append(figures.band_chart(samples, names))
    if findings.report is not None:
        report = findings.report
        series = {figures.model_name(name): (report, name) for name in report.metrics}
        found += figures.exposure_charts(series, figures.model_colours(report))
    return found


def why(check: Check) -> str:
    """What a check holds the figure against."""
    if check.kind == "min":
        return "the threshold"
    if check.kind == LEAD:
        return "the champion's lead over the baselines, as far as it must be kept"
    if check.kind == CHAMPION:
        return "the champion, less the drop allowed"
    return figures.model_name(check.kind)


def moment(time: datetime.datetime | None) -> str:
    """A time as a reader wants it."""
    return f"{time:%Y-%m-%d %H:%M} UTC" if time else ""


def clean(value: Any) -> str:
    """A value as text, not too long, without characters that can't be seen: some turn the text around them around."""
    text = str(value)
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return "".join(character if character.isprintable() or character in _KEPT else "·" for character in text)


def began(nodes: Mapping[str, Node]) -> datetime.datetime | None:
    """When the first node of a run began."""
    return min((node.started for node in nodes.values()), default=None)


def took(nodes: Mapping[str, Node]) -> str:
    """How long a run took from its first node's start to its last one's end."""
    if not nodes:
        return ""
    ended = max(node.started + datetime.timedelta(seconds=node.seconds) for node in nodes.values())
    first = began(nodes)
    seconds = (ended - first).total_seconds() if first else 0.0
    return f"{seconds:,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"


def cut_of(log: Mapping[str, Any]) -> str:
    """When a split by time divides training from evaluation; empty for another split."""
    if log["cut"] is None or not log["timed"]:
        return ""
    return f"{datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=log['cut']):%Y-%m-%d %H:%M:%S} UTC"


def _common() -> dict[str, Any]:
    script = _file("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {
        "style": Markup(_file("style.css")),
        "script": Markup(script),
        # Nothing but this script runs and nothing is loaded, whatever the data may hold.
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:",
        "version": __version__,
        "made": datetime.datetime.now(datetime.timezone.utc),
    }


@functools.lru_cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report"),
        extensions=["jinja2.ext.do"],
        autoescape=True,  # also where a template is not called .html
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, (Markup, jinja2.Undefined)) else clean(value),
    )
    environment.filters |= {
        "moment": moment,
        "label": label,
        "why": why,
        "cut": cut_of,
        "signed": figures.signed,
        "between": figures.between,
    }
    environment.globals |= {
        "model_name": figures.model_name,
        "figure": figures.figure,
        "flat": flat,
        "began": began,
        "took": took,
        "meanings": _MEANINGS,
    }
    return environment


def _template(name: str) -> jinja2.Template:
    return _environment().get_template(name)


def _file(name: str) -> str:
    source, _, _ = _environment().loader.get_source(_environment(), name)  # type: ignore[union-attr]
    return source
