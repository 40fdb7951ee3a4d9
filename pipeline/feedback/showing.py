"""The figures of the feedback as tables at the terminal and as a page."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from components.interaction_gen.sanity import as_time
from pipeline.feedback.figures import ALL
from pipeline.terminal import print_table, shown

_MOST = 20
"""Rows of a dimension."""
_HEADINGS = {
    "click_rate": "clicks an impression",
    "list_click_rate": "lists with a click",
    "conversion_rate": "conversions an impression",
}

_ESTIMATES = {
    "logged": "as served",
    "position_based": "candidate, position-based",
    "logged_explored": "as served, lists with propensities",
    "ips": "candidate, IPS",
    "snips": "candidate, SNIPS",
}


def show(facts: dict[str, Any], console: Console) -> None:
    """Prints the tables."""
    for line in notes(facts):
        console.print(shown(line), soft_wrap=True, highlight=False)
    for title, headings, rows in tables(facts):
        table = Table(title=title)
        for number, heading in enumerate(headings):
            table.add_column(heading, justify="right" if number else "left", no_wrap=not number)
        for row in rows:
            table.add_row(*map(shown, row))
        console.print()
        print_table(console, table)


def page(facts: dict[str, Any]) -> str:
    """Returns the page."""
    from pipeline.report.page import render  # TFX: seconds

    return render(
        "feedback.html.j2",
        title=f"{facts['name']}: feedback",
        name=facts["name"],
        notes=notes(facts),
        tables=tables(facts),
    )


def notes(facts: dict[str, Any]) -> list[str]:
    """Returns what is said before the tables."""
    lines = [
        f"lists of {as_time(facts['first'])} to {as_time(facts['last'])} UTC, events until "
        f"{as_time(facts['newest_event'])}; intervals at {facts['level']:.0%} confidence, by a bootstrap over users"
    ]
    lines += [f"left out: {count:,} {reason}" for reason, count in facts["left_out"].items()]
    rows = facts["rows"]
    lines.append(
        f"no training rows: {rows['why_none']}"
        if rows["why_none"]
        else f"training rows: {rows['negatives']:,} shown and not taken, {rows['positives']:,} taken; "
        + (
            f"weighed by how much places are looked at, from {rows['weighed_by']}"
            if rows["weighed_by"]
            else "they count alike wherever they were shown (data.interactions.columns.weight, and exploration or "
            "feedback.examination, would undo what places do)"
        )
    )
    if "skew" not in facts:
        lines.append("no version here says what it was trained on, so that requests can't be held against it")
    return lines + _of_candidate(facts.get("candidate"))


def _of_candidate(candidate: dict[str, Any] | None) -> list[str]:
    if candidate is None:
        return []
    lines = [f"candidate {candidate['model']}: {candidate['lists']:,} lists asked again"]
    if candidate["trained_until"] is None:
        lines.append(
            "the candidate doesn't say until when its events go: if it has seen the clicks, it leaves those items out, "
            "and the estimates are too low"
        )
    lines += [f"not asked again: {count:,} {reason}" for reason, count in candidate["not_asked"].items()]
    if candidate["lists"] and not candidate["explored_lists"]:
        lines.append(
            "no list has propensities, for none may have been shuffled (exploration): the one estimate is by the "
            "position-based model"
        )
    elif candidate["lists"]:
        lines.append(
            f"IPS and SNIPS go by {candidate['explored_lists']:,} lists of which a share is shuffled; effective sample "
            f"{candidate['effective_sample']:,.0f} items; {candidate['support']:.1%} of the candidate's items could "
            "have stood where it puts them, the others count for nothing"
        )
    if candidate["lists"]:
        lines.append(f"how much places are looked at is from: {candidate['examination_from']}")
    return lines


def tables(facts: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Returns titles, headings and lines."""
    figures = facts["figures"]
    found = []
    for dimension in dict.fromkeys(one["dimension"] for one in figures):
        rows = [one for one in figures if one["dimension"] == dimension]
        if dimension != ALL and len(rows) == 1 and rows[0]["lists"] == figures[0]["lists"] and dimension != "version":
            continue  # it says what the first table does
        lines = [
            [
                one["value"] or ALL,
                f"{one['lists']:,}",
                f"{one['impressions']:,}",
                f"{one['clicks']:,}",
                f"{one['conversions']:,}",
                *(_rate(one["rates"][name]) for name in _HEADINGS),
            ]
            for one in rows[:_MOST]
        ]
        title = "everything" if dimension == ALL else f"by {dimension}"
        if len(rows) > _MOST:
            title += f" (the first {_MOST} of {len(rows)})"
        found.append((title, [dimension, "lists", "impressions", "clicks", "conversions", *_HEADINGS.values()], lines))
    if (skew := facts.get("skew")) and skew["features"]:
        rows = [
            [
                one["feature"],
                f"{one['missing']:.1%}",
                f"{one['trained_missing']:.1%}",
                "too few" if one["value"] is None else f"{one['value']:.3f} ({one['measure']})",
                ""
                if one["limit"] is None
                else f"{one['limit']:g}" + (" exceeded" if one["value"] > one["limit"] else ""),
            ]
            for one in skew["features"]
        ]
        headings = ["feature", "requests without", "training without", "distance", "limit"]
        found.append((f"requests beside the training of version {skew['version']}", headings, rows))
    candidate = facts.get("candidate")
    if candidate and candidate["lists"]:
        lines = [[text, _rate(candidate[key], ".4f")] for key, text in _ESTIMATES.items() if key in candidate]
        found.append(("candidate: clicks a list", ["", "clicks a list"], lines))
    return found


def _rate(rate: dict[str, float | None], form: str = ".2%") -> str:
    if rate["value"] is None:
        return "–"
    if rate["low"] is None:
        return f"{rate['value']:{form}}"
    return f"{rate['value']:{form}} ({rate['low']:{form}} to {rate['high']:{form}})"
