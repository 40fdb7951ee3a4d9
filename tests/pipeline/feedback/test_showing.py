"""What a person is told."""

from __future__ import annotations

import io

from rich.console import Console

from pipeline.feedback.showing import show, tables

RATE = {"value": 0.25, "low": 0.125, "high": 0.5}


def figures(dimension: str, value: str, lists: int) -> dict:
    rates = {"click_rate": RATE, "list_click_rate": {"value": 0.5, "low": None, "high": None}}
    rates["conversion_rate"] = {"value": None, "low": None, "high": None}
    return {
        "dimension": dimension,
        "value": value,
        "lists": lists,
        "impressions": 2_000 * lists,
        "clicks": 1,
        "conversions": 0,
        "rates": rates,
    }


FACTS = {
    "name": "shop",
    "first": 1_000_000,
    "last": 2_000_000,
    "newest_event": 3_000_000,
    "level": 0.95,
    "left_out": {"damaged lines": 1_234},
    "figures": [
        figures("all", "", 2),
        figures("version", "1", 2),
        figures("source", "user", 2),
        *(figures("device", f"[red]{number}", 1) for number in range(30)),
    ],
    "rows": {"negatives": 5, "positives": 6, "weighed_by": "shuffled lists", "why_none": ""},
}


def test_tables() -> None:
    found = {title: lines for title, _, lines in tables(FACTS)}
    # The one source says what the first table does; the one version is worth its number.
    assert list(found) == ["everything", "by version", "by device (the first 20 of 30)"]
    assert found["everything"] == [["all", "2", "4,000", "1", "0", "25.00% (12.50% to 50.00%)", "50.00%", "–"]]


def test_the_terminal() -> None:
    console = Console(file=io.StringIO(), width=200)
    show(FACTS, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "left out: 1,234 damaged lines" in text
    assert "training rows: 5 shown and not taken, 6 taken; weighed by how much places are" in text
    assert "lists of 1970-01-01 00:00:01 to 1970-01-01 00:00:02 UTC, events until 1970-01-01 00:00:03" in text
    assert "[red]0" in text
    console = Console(file=io.StringIO(), width=200)
    show({**FACTS, "rows": {"why_none": "the log has ratings"}}, console)
    assert "no training rows: the log has ratings" in console.file.getvalue()  # type: ignore[attr-defined]
