"""Charts of the report: what is drawn is what was said, in the page's colours and letters."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from pipeline.report import charts
from pipeline.report.charts import Chart
from tests.pipeline.report.reports import NASTY

SVG = "{http://www.w3.org/2000/svg}"


def parsed(chart: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(str(chart.svg))


def tips(chart: Chart) -> list[str]:
    return [element.attrib["data-tip"] for element in parsed(chart).iter() if "data-tip" in element.attrib]


def texts(chart: Chart) -> list[str]:
    return [(element.text or "").strip() for element in parsed(chart).iter(f"{SVG}text")]


def boxes(chart: Chart) -> dict[str, tuple[float, float]]:
    """Width and height of each mark's first path, by its tip."""
    found = {}
    for element in parsed(chart).iter():
        if "data-tip" in element.attrib:
            numbers = re.findall(r"[ML] ([\d.]+) ([\d.]+)", element.find(f"{SVG}path").attrib["d"])  # type: ignore[union-attr]
            xs, ys = zip(*((float(x), float(y)) for x, y in numbers))
            found[element.attrib["data-tip"]] = (max(xs) - min(xs), max(ys) - min(ys))
    return found


def test_bars_are_as_long_as_their_values() -> None:
    chart = charts.bars("hit@10", "hit@10", {"model": 0.4, "popularity": 0.1}, "{:.2f}".format)
    found = boxes(chart)
    assert found["model: 0.40"][0] == pytest.approx(4 * found["popularity: 0.10"][0], rel=1e-3)
    assert {"0.40", "0.10", "model", "popularity", "hit@10"} <= set(texts(chart))


def test_groups_leave_out_what_is_missing_and_a_legend_names_the_series() -> None:
    series = {"A": [0.2, None], "B": [0.1, 0.4]}
    colours = {"A": 3, "B": 1, "C": 2}
    chart = charts.grouped("By type", "type", "hit", ["old", "new"], series, "{:.1f}".format, colours=colours)
    found = boxes(chart)
    assert set(found) == {"old, A: 0.2", "old, B: 0.1", "new, B: 0.4"}
    assert found["new, B: 0.4"][1] == pytest.approx(2 * found["old, A: 0.2"][1], rel=1e-3)
    assert chart.legend == (("A", 3), ("B", 1))


def test_many_groups_have_their_names_upright() -> None:
    names = [f"occupation {number}" for number in range(16)]
    few, many = (
        charts.grouped("By job", "job", "hit", names[:size], {"A": [0.5] * size}, "{:.1f}".format) for size in (3, 16)
    )
    turned = [
        [text.attrib["transform"] for text in parsed(chart).iter(f"{SVG}text") if (text.text or "").startswith("occ")]
        for chart in (few, many)
    ]
    assert all("rotate(-90" not in transform for transform in turned[0])
    assert len(turned[1]) == 16
    assert all("rotate(-90" in transform for transform in turned[1])


def test_lines_have_a_mark_for_each_point_and_name_their_axes() -> None:
    chart = charts.lines("loss", "pass", "training loss", {"run": [(1, 3.0), (2, 2.0)]}, marked=2)
    assert tips(chart) == ["run, pass 1: 3", "run, pass 2: 2"]
    assert {"pass", "training loss"} <= set(texts(chart))
    assert chart.legend == ()  # one line needs none


def test_a_line_of_one_pass_is_a_point() -> None:
    assert tips(charts.lines("loss", "pass", "loss", {"run": [(1, 0.0)]})) == ["run, pass 1: 0"]


def test_a_tick_for_each_k() -> None:
    chart = charts.by_k("hit rate by k", "hit rate", {"A": [(1, 0.1), (10, 0.5), (100, 0.9)]})
    assert {"1", "10", "100"} <= set(texts(chart))


def test_periods_are_stacked() -> None:
    series = {"training": (4, 2), "evaluation": (0, 2)}
    chart = charts.timeline("Events by day", "events a day", ("2026-01-01", "2026-01-02"), series)
    found = boxes(chart)
    heights = {name.rpartition(", ")[2]: size[1] for name, size in found.items() if name.startswith("2026-01-02")}
    assert heights["training: 2"] == pytest.approx(heights["evaluation: 2"], rel=1e-3)
    assert len(found) == 3  # nothing for a count of nothing
    assert {"2026-01-01", "2026-01-02"} <= set(texts(chart))


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("counts", [[5], [3, 3, 1], list(range(2000, 0, -1))])
def test_a_long_tail_of_any_length(counts: list[int]) -> None:
    chart = charts.long_tail("Long tail", np.array(counts))
    assert {"training events", "rank of the item, most events first"} <= set(texts(chart))


def test_users_by_activity() -> None:
    chart = charts.histogram("Users", "events", "users", ("1", "2"), (30, 10))
    found = boxes(chart)
    assert found["1: 30"][1] == pytest.approx(3 * found["2: 10"][1], rel=1e-3)


def test_names_are_text_and_nothing_else() -> None:
    chart = charts.bars(NASTY, NASTY, {NASTY: 1.0}, "{:.1f}".format)
    assert tips(chart) == [f"{NASTY}: 1.0"]
    assert NASTY in texts(chart)  # neither markup nor a formula between dollar signs
    assert f"{NASTY[:19]}…" in texts(chart)  # of the bar, which has to have room
    assert "<script" not in str(chart.svg)
    assert parsed(chart).attrib["aria-label"] == NASTY


def test_colours_and_font_are_the_pages() -> None:
    svg = str(
        charts.bars("hit", "hit", {"A": 1.0, "B": 2.0}, "{:.1f}".format, colours={"A": 1, "B": charts.SERIES + 2}).svg
    )
    assert "var(--s1)" in svg
    assert "var(--s2)" in svg  # colours begin anew
    assert "var(--ink)" in svg
    assert not re.search(r"#[0-9a-f]{6}", svg)
    assert "DejaVu" not in svg
    assert "<style" not in svg
    assert "font-size: 10.5px" in svg


def test_the_same_chart_is_the_same_text_and_ids_are_of_use() -> None:
    chart = charts.by_k("hit", "hit", {"A": [(1, 0.1), (10, 0.5)]})
    assert chart == charts.by_k("hit", "hit", {"A": [(1, 0.1), (10, 0.5)]})
    ids = [element.attrib["id"] for element in parsed(chart).iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    assert all(f"#{identity}" in str(chart.svg) for identity in ids)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.25, "0.25"), (1500, "1,500"), (20_000, "20k"), (2.5e6, "2.5M"), (1e9, "1G")]
)
def test_ticks_are_short(value: float, text: str) -> None:
    assert charts._tick(value) == text
