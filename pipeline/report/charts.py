"""Charts as inline SVG that takes its colours and its font from the page around it, drawn by Matplotlib.

Matplotlib places axes, ticks and labels; what it draws with stand-in colours becomes CSS variables afterwards, so that
one drawing is right on a light and on a dark page. No script is needed to show it.
"""

from __future__ import annotations

import dataclasses
import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.ticker as ticker
import numpy as np
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

SERIES = 9
"""How many colours there are for series; the next one begins anew."""

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_WIDTH, _HEIGHT = 4.5, 2.9  # inches of 72 units: as wide as a phone, so that text is not shrunk there
_ROLES = {"#0b0001": "ink", "#0b0002": "muted", "#0b0003": "grid"}
_INK, _MUTED, _GRID = _ROLES
_STYLE = {
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.w_pad": 0.02,
    "font.size": 10.5,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 2,
    "lines.markersize": 5,
    "svg.fonttype": "none",  # letters stay letters, in the page's font
    "text.color": _INK,
    "text.parse_math": False,  # a dollar sign in a title is a dollar sign
    "xtick.color": _GRID,
    "xtick.labelcolor": _MUTED,
    "ytick.color": _GRID,
    "ytick.labelcolor": _MUTED,
}
_STEPS = (1, 2, 2.5, 5, 10)
_LONGEST = 20
_LETTERS = 45
"""Letters of labels that have room beside each other."""
_TIP = "tip-"

Points = Sequence[tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart with the words around it."""

    title: str
    svg: Markup
    note: str = ""
    """What to know to read it, below."""
    legend: tuple[tuple[str, int], ...] = ()
    """Names of the series and their colours, from 1."""


def lines(
    title: str, x: str, y: str, series: Mapping[str, Points], note: str = "", marked: float | None = None
) -> Chart:
    """Lines over whole numbers; the vertical axis begins where the lines do.

    Args:
        title: Of the chart.
        x: What the horizontal axis shows, with its unit.
        y: Likewise.
        series: Points of each line, in the order of the horizontal axis.
        note: Below the chart.
        marked: A place on the horizontal axis to be marked.
    """

    def draw(axes: Any, tips: _Tips) -> None:
        if marked is not None:
            axes.axvline(marked, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for number, (name, points) in enumerate(series.items(), start=1):
            axes.plot(*zip(*points), color=_series(number), zorder=len(series) - number + 3)
            for place, value in points:
                tip = tips(f"{name}, {x} {place:g}: {value:.4g}")
                axes.plot([place], [value], "o", color=_series(number), gid=tip, zorder=len(series) - number + 3)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))

    return _chart(title, x, y, draw, note, _in_order(series) if len(series) > 1 else {})


def by_k(title: str, y: str, series: Mapping[str, Points], note: str = "") -> Chart:
    """Lines over k, the length of an answer, on a logarithmic axis with a tick for each k."""
    ks = sorted({k for points in series.values() for k, _ in points})

    def draw(axes: Any, tips: _Tips) -> None:
        for number, (name, points) in enumerate(series.items(), start=1):
            axes.plot(*zip(*points), color=_series(number), zorder=len(series) - number + 3)
            for k, value in points:
                tip = tips(f"{name} at k = {k:g}: {value:.4f}")
                axes.plot([k], [value], "o", color=_series(number), gid=tip, zorder=len(series) - number + 3)
        axes.set_xscale("log")
        axes.set_xticks(ks, [f"{k:g}" for k in ks])
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.set_ylim(bottom=0)

    return _chart(title, "k, items in the answer", y, draw, note, _in_order(series))


def bars(
    title: str,
    x: str,
    values: Mapping[str, float],
    shown: Callable[[float], str],
    spreads: Mapping[str, tuple[float, float]] | None = None,
    note: str = "",
    colours: Mapping[str, int] | None = None,
) -> Chart:
    """Horizontal bars, each with its figure.

    Args:
        title: Of the chart.
        x: What the bars show, with its unit.
        values: Of each bar, from the top.
        shown: A value as text.
        spreads: Intervals of some of them.
        note: Below the chart.
        colours: Of the bars, from 1; by default the first for all.
    """
    spreads = spreads or {}

    def draw(axes: Any, tips: _Tips) -> None:
        places = np.arange(len(values))
        far = max([*values.values(), *(high for _, high in spreads.values()), 0.0]) or 1.0
        for place, (name, value) in enumerate(values.items()):
            tip = tips(f"{name}: {shown(value)}")
            axes.barh([place], [value], 0.68, color=_series((colours or {}).get(name, 1)), gid=tip)
            end = value
            if name in spreads:
                low, high = spreads[name]
                axes.plot([low, high], [place, place], color=_INK, linewidth=1.2)
                end = max(value, high)
            axes.text(end + 0.015 * far, place, shown(value), va="center", fontsize=9.5)
        axes.set_yticks(places, [_shortened(name) for name in values])
        axes.tick_params(axis="y", length=0, labelcolor=_INK)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.2 * far)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5, steps=_STEPS))
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _tick(value)))

    return _chart(title, x, "", draw, note, height=max(1.5, 0.62 + 0.27 * len(values)))


def grouped(
    title: str,
    x: str,
    y: str,
    groups: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    shown: Callable[[float], str],
    note: str = "",
    spreads: Mapping[str, Sequence[tuple[float, float] | None]] | None = None,
    colours: Mapping[str, int] | None = None,
) -> Chart:
    """Bars side by side in groups; a value that is None is left out.

    Args:
        title: Of the chart.
        x: What the groups are.
        y: What the bars show, with its unit.
        groups: Their names.
        series: Values of each series, one a group.
        shown: A value as text.
        note: Below the chart.
        spreads: Intervals, likewise.
        colours: Of the series, from 1; by default in their order.
    """
    spreads = spreads or {}
    colours = colours or _in_order(series)

    def draw(axes: Any, tips: _Tips) -> None:
        width = 0.8 / len(series)
        for number, (name, values) in enumerate(series.items(), start=1):
            for place, value in enumerate(values):
                if value is None:
                    continue
                middle = place - 0.4 + width * (number - 0.5)
                tip = tips(f"{groups[place]}, {name}: {shown(value)}")
                axes.bar([middle], [value], width * 0.9, color=_series(colours[name]), gid=tip)
                spread = spreads[name][place] if name in spreads else None
                if spread is not None:
                    axes.plot([middle, middle], spread, color=_INK, linewidth=1.2)
        upright = sum(map(len, groups)) > _LETTERS
        axes.set_xticks(range(len(groups)), [_shortened(name) for name in groups], rotation=90 if upright else 0)
        axes.tick_params(axis="x", length=0, labelcolor=_INK)
        axes.grid(visible=False, axis="x")
        axes.set_xlim(-0.6, len(groups) - 0.4)
        percent = "%" in shown(0.0)
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: shown(value) if percent else _tick(value)))
        axes.set_ylim(bottom=0)

    return _chart(title, x, y, draw, note, {name: colours[name] for name in series})


def long_tail(title: str, counts: np.ndarray, note: str = "") -> Chart:
    """Events of each item, most first, on logarithmic axes.

    Args:
        title: Of the chart.
        counts: [N] int, falling, all above 0.
        note: Below the chart.
    """
    # As many points as can be told apart on a logarithmic axis.
    ranks = np.unique(np.geomspace(1, len(counts), 200).astype(int))

    def draw(axes: Any, tips: _Tips) -> None:
        axes.plot(ranks, counts[ranks - 1], color=_series(1))
        axes.fill_between(ranks, counts[ranks - 1], 0.8, color=_series(1), alpha=0.15, linewidth=0)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(1, max(2, len(counts)))
        axes.set_ylim(0.8, counts[0] * 1.3)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _tick(value)))
            axis.set_minor_formatter(ticker.NullFormatter())

    return _chart(title, "rank of the item, most events first", "training events", draw, note)


def timeline(title: str, y: str, starts: Sequence[str], series: Mapping[str, Sequence[int]], note: str = "") -> Chart:
    """Counts by period, stacked.

    Args:
        title: Of the chart.
        y: What is counted, and in what period.
        starts: When the periods begin, as text.
        series: Counts of each series, one a period.
        note: Below the chart.
    """

    def draw(axes: Any, tips: _Tips) -> None:
        below = np.zeros(len(starts))
        for number, (name, counts) in enumerate(series.items(), start=1):
            for place, count in enumerate(counts):
                if count:
                    tip = tips(f"{starts[place]}, {name}: {count:,}")
                    axes.bar([place], [count], 0.9, bottom=below[place], color=_series(number), gid=tip)
            below += np.asarray(counts)
        ticks = np.unique(np.linspace(0, len(starts) - 1, min(4, len(starts))).astype(int))
        axes.set_xticks(ticks, [starts[place] for place in ticks])
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_locator(ticker.MaxNLocator(6, steps=_STEPS, integer=True))
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _tick(value)))
        axes.set_xlim(-0.6, len(starts) - 0.4)

    return _chart(title, "first day of the period (UTC)", y, draw, note, _in_order(series))


def histogram(title: str, x: str, y: str, groups: Sequence[str], counts: Sequence[int], note: str = "") -> Chart:
    """Counts by group, as upright bars."""

    def draw(axes: Any, tips: _Tips) -> None:
        for place, count in enumerate(counts):
            axes.bar([place], [count], 0.86, color=_series(1), gid=tips(f"{groups[place]}: {count:,}"))
        axes.set_xticks(range(len(groups)), list(groups))
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_locator(ticker.MaxNLocator(6, steps=_STEPS, integer=True))
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _tick(value)))

    return _chart(title, x, y, draw, note)


class _Tips:
    """Texts that the page shows where the pointer is on a mark; calling gives the mark's id in the drawing."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, text: str) -> str:
        self.texts.append(text)
        return f"{_TIP}{len(self.texts) - 1}"


def _chart(
    title: str,
    x: str,
    y: str,
    draw: Callable[[Any, _Tips], None],
    note: str,
    colours: Mapping[str, int] | None = None,
    height: float = _HEIGHT,
) -> Chart:
    legend = tuple((name, _wrapped(number)) for name, number in (colours or {}).items())
    return Chart(title, _drawing(title, x, y, draw, height), note, legend)


def _drawing(title: str, x: str, y: str, draw: Callable[[Any, _Tips], None], height: float) -> Markup:
    tips = _Tips()
    # Ids in a drawing are digests of the salt: the same drawing has the same bytes, two on a page share no id.
    with mpl.rc_context({**_STYLE, "svg.hashsalt": title}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        draw(axes, tips)
        file = io.StringIO()
        with warnings.catch_warnings():
            # Of letters that Matplotlib's own font lacks; the page's fonts have them.
            warnings.simplefilter("ignore", UserWarning)
            canvas.print_svg(file)  # savefig would draw it twice
    return _inline(file.getvalue(), title, tips.texts)


def _in_order(series: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(series, start=1)}


def _wrapped(number: int) -> int:
    return (number - 1) % SERIES + 1


def _series(number: int) -> str:
    return f"#0a00{_wrapped(number):02d}"


def _shortened(name: str) -> str:
    """A label that leaves room for what it labels; the mark's own text has all of it."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _tick(value: float) -> str:
    """A tick's number in as few letters as it can be read in: 0.25, 1,500, 20k, 3M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            scale = 1e3 if letter == "k" else size
            return f"{value / scale:g}{letter}"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _page_font(style: str) -> str:
    """Leaves the size of a text's font, and nothing else of it; Matplotlib's releases write it in two ways."""
    style = re.sub(r"font-family:[^;]*;?\s*", "", style)
    return re.sub(r"font:[^;]*?([\d.]+)px[^;]*", r"font-size: \1px", style)


def _inline(text: str, title: str, tips: Sequence[str]) -> Markup:
    """Makes a piece of a page of Matplotlib's file: variables for colours, the page's font, texts for the marks."""
    text = re.sub(r"#0a00(\d\d)", lambda found: f"var(--s{int(found[1])})", text)
    for colour, role in _ROLES.items():
        text = text.replace(colour, f"var(--{role})")
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(text)
    for parent, tag in ((root, "metadata"), *((found, "style") for found in root.findall(f"{{{_SVG}}}defs"))):
        for found in parent.findall(f"{{{_SVG}}}{tag}"):
            parent.remove(found)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    for element in root.iter():
        identity = element.get("id")
        if identity is not None and identity.startswith(_TIP):
            element.set("data-tip", tips[int(identity.removeprefix(_TIP))])
        if identity is not None and identity not in used:
            del element.attrib["id"]
        if element.tag == f"{{{_SVG}}}text" and "style" in element.attrib:
            element.set("style", _page_font(element.attrib["style"]))
    del root.attrib["width"], root.attrib["height"]
    root.attrib.pop("version", None)
    root.set("role", "img")
    root.set("aria-label", title)
    # Comments are gone with the parse, and ElementTree escapes all text: nothing of the data is markup here.
    return Markup(ElementTree.tostring(root, encoding="unicode"))
