"""The commands of a life of nights: `nightly` and `status`."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.errors import InputError
from pipeline.cli.command import command
from pipeline.cli.options import ConfigSource
from pipeline.cli.place import PANEL, PlaceOptions, find_place, reported
from pipeline.cli.runs import AcceptOption, reason
from pipeline.failures import DONE, NOT_BLESSED
from pipeline.terminal import MARKS, Outcome, print_table


@command(
    "nightly",
    "recommender nightly --config shop.yaml",
    'recommender nightly --config shop.yaml --accept "the shop was closed for a week"',
    panel=PANEL,
)
def nightly(source: ConfigSource, accept: AcceptOption = None) -> Outcome:
    """Do what there is to do today: a run if the data are new, the trial of what it pushed, promotion or the way back,
    and tell people what they must know. To be called by a timer, as often as you like, and again after a kill."""
    from pipeline.nightly.night import nightly as run_nightly
    from pipeline.nightly.night import telling_of_failures
    from pipeline.nightly.notify import Notifier

    try:
        config = source.load()
    except InputError:
        notifier = Notifier([], os.environ)
        with contextlib.suppress(InputError):  # the first one counts
            notifier = Notifier(source.notify(), os.environ)
        with telling_of_failures(notifier, source.name or "recommender"):
            raise
    return run_nightly(config, reason(accept))


@command("status", "recommender status --config shop.yaml", "recommender status --json", panel=PANEL)
def status(source: ConfigSource, where: PlaceOptions) -> Outcome:
    """Say what serves since when, how old its data are, how the last nights went, and what is wrong. Exit code 3: there
    is something that a person must see to."""
    from pipeline.nightly.status import status as find_status

    with reported():
        facts = find_status(source.load(), find_place(source, where))
    return Outcome(NOT_BLESSED if facts["problems"] else DONE, facts, functools.partial(_show, facts))


def _show(facts: Mapping[str, Any], console: Console) -> None:
    for entry in facts["serving"]:
        age = "" if entry["age_days"] is None else f", its newest event {entry['age_days']:.1f} days old"
        since = "" if entry["since"] is None else f" since {_time(entry['since'])} by {entry['by']}"
        console.print(
            escape(f"{facts['name']}: {entry['label']} is version {entry['version']}{since}{age}"), soft_wrap=True
        )
    if not facts["serving"]:
        newest = "no version yet" if facts["newest"] is None else f"no labels; the newest is version {facts['newest']}"
        console.print(escape(f"{facts['name']}: {newest}"), soft_wrap=True)
    if facts["canary_share"]:
        console.print(f"{facts['canary_share']:.1%} of the users go to the canary")
    if facts["nights"]:
        table = Table(title="the last nights (UTC)", title_justify="left")
        for name in ("began", "ended", "code", "what happened"):
            table.add_column(name, overflow="fold")
        for night in facts["nights"]:
            ended = _time(night["ended"]) if night["ended"] else "no"
            code = "" if night["code"] is None else str(night["code"])
            table.add_row(_time(night["began"]), ended, code, escape("; ".join(night["said"])))
        print_table(console, table)
    if facts["online"] is not None:
        _show_online(facts["online"], console)
    for problem in facts["problems"]:
        console.print(f"{MARKS['failed']} [red]{escape(problem)}[/]", soft_wrap=True)
    if not facts["problems"]:
        console.print(f"{MARKS['done']} nothing is wrong", soft_wrap=True)


def _show_online(online: Mapping[str, Any], console: Console) -> None:
    table = Table(title="what was served brought", title_justify="left")
    for name in ("", "lists", "impressions", "clicks", "conversions", f"clicks an impression, {online['level']:.0%}"):
        table.add_column(name, justify="right" if name else "left")
    for one in online["figures"]:
        rate = one["rates"]["click_rate"]
        shown = "" if rate["value"] is None else f"{rate['value']:.2%}"
        if rate["low"] is not None:
            shown += f" ({rate['low']:.2%} to {rate['high']:.2%})"
        counts = (f"{one[name]:,}" for name in ("lists", "impressions", "clicks", "conversions"))
        table.add_row(escape(f"{one['dimension']} {one['value']}".strip()), *counts, shown)
    print_table(console, table)


def _time(iso: str) -> str:
    return iso.partition("+")[0].replace("T", " ")
