"""A page with a run's curves, written beside its artifacts: training by pass, metrics by k, and the model's parts.

Plain HTML and SVG: a browser shows it without a network, and nothing needs to be installed to make it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from components.evaluator.report import OVERALL, Report, label

_WIDTH, _HEIGHT, _MARGIN = 460, 260, 50
_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f")
_BY_K = ("hit_rate", "recall", "precision", "ndcg")

Points = Sequence[tuple[float, float]]


def write_page(path: Path, name: str, training: Mapping[str, Any], report: Report) -> None:
    """Writes the page.

    Args:
        path: The HTML file.
        name: The pipeline's.
        training: The Trainer's `training.json`.
        report: The Evaluator's findings.
    """
    new = path.with_suffix(".new")
    new.write_text(page(name, training, report), encoding="utf-8")
    new.replace(path)


def page(name: str, training: Mapping[str, Any], report: Report) -> str:
    """The page's HTML."""
    epochs = training["epochs"]
    charts = [
        chart(metric, "pass", {metric: [(epoch["epoch"], epoch[metric]) for epoch in epochs]})
        for metric in ("loss", "hit@10", "ndcg@10")
    ]
    for kind in _BY_K:
        curves = by_k(report, kind)
        if any(len(points) > 1 for points in curves.values()):
            charts.append(chart(label(kind), "k", curves))
    rows = "".join(
        f"<tr><td>{escape(part['name'])}<td>{' × '.join(map(str, part['shape']))}<td>{part['parameters']:,}"
        for part in training.get("layers", ())
    )
    total = f"{training['parameters']:,}"
    return (
        f"<!DOCTYPE html><meta charset=utf-8><title>{escape(name)}</title>"
        "<style>body{font:14px sans-serif;margin:2em}td,th{padding:2px 12px;text-align:right}"
        "td:first-child,th:first-child{text-align:left}svg{margin:8px}</style>"
        f"<h1>{escape(name)}</h1><p>{escape(report.summary())}<p>{escape(training['summary'])}"
        f"<h2>Curves</h2>{''.join(charts)}"
        f"<h2>Model</h2><table><tr><th>weights<th>shape<th>parameters{rows}<tr><th>total<th><th>{total}</table>\n"
    )


def by_k(report: Report, kind: str) -> Mapping[str, Points]:
    """A metric's values by k, ascending, of each model: name to (k, value)."""
    curves = {}
    for model, slices in report.metrics.items():
        values = {
            int(k): value
            for metric, value in slices[OVERALL].items()
            for name, at, k in [metric.partition("@")]
            if at and name == kind
        }
        curves[model] = sorted(values.items())
    return curves


def chart(title: str, axis: str, curves: Mapping[str, Points]) -> str:
    """A line chart as SVG; the vertical axis begins at 0."""
    points = [point for of_curve in curves.values() for point in of_curve]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    top = max(y for _, y in points) or 1.0
    inner_width, inner_height = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN

    def place(x: float, y: float) -> str:
        across = (x - left) / (right - left) if right > left else 0.5
        return f"{_MARGIN + across * inner_width:.1f},{_HEIGHT - _MARGIN - y / top * inner_height:.1f}"

    bottom = _HEIGHT - _MARGIN
    parts = [
        f'<svg width="{_WIDTH}" height="{_HEIGHT + 16 * len(curves)}" role="img" font-size="12">',
        f'<text x="{_WIDTH / 2}" y="20" text-anchor="middle" font-weight="bold">{escape(title)}</text>',
        f'<path d="M{_MARGIN},{_MARGIN} V{bottom} H{_WIDTH - _MARGIN}" fill="none" stroke="#999"/>',
        f'<text x="{_MARGIN - 4}" y="{_MARGIN + 4}" text-anchor="end">{top:.3g}</text>',
        f'<text x="{_MARGIN - 4}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{_MARGIN}" y="{bottom + 16}">{left:g}</text>',
        f'<text x="{_WIDTH - _MARGIN}" y="{bottom + 16}" text-anchor="end">{right:g}</text>',
        f'<text x="{_WIDTH / 2}" y="{bottom + 16}" text-anchor="middle">{escape(axis)}</text>',
    ]
    for number, (name, of_curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        line = " ".join(place(x, y) for x, y in of_curve)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y in of_curve:
            at_x, at_y = place(x, y).split(",")
            shown = f"{escape(name)} at {x:g}: {y:.4f}"
            parts.append(f'<circle cx="{at_x}" cy="{at_y}" r="3" fill="{colour}"><title>{shown}</title></circle>')
        parts.append(f'<text x="{_MARGIN}" y="{_HEIGHT + 16 * number}" fill="{colour}">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])


def read_training(uri: str) -> dict[str, Any]:
    """The Trainer's report, from the directory of its `model_run` artifact."""
    from components.trainer.component import TRAINING_REPORT  # TFX takes seconds to import

    return json.loads(Path(uri, TRAINING_REPORT).read_text(encoding="utf-8"))
