"""The commands that tell what is served and since when: `versions`, `history`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.cli.command import NAME_FORMERLY, command
from pipeline.cli.options import ConfigSource
from pipeline.cli.place import PANEL, PlaceOptions, VersionsOptions, find_place, reported
from pipeline.failures import DONE, FAILED
from pipeline.terminal import Outcome, print_table

if TYPE_CHECKING:
    from serving.promotion import AuditEntry
    from serving.stores import AnyPath

_HEADLINES = ("hit_rate@10", "ndcg@10")


@command("versions", "recommender versions --json", panel=PANEL, formerly=NAME_FORMERLY)
def versions(source: ConfigSource, where: PlaceOptions) -> Outcome:
    """List the versions: labels, who has loaded them, blessing, metrics and where they come from."""
    from components.versions import list_versions, release
    from serving.promotion import files

    place = find_place(source, where)
    states = place.states()
    with reported():
        found = files.aspired(files.read_config(place.base_path), place.name) or files.Aspired()
        journal = files.read_journal(place.base_path)
        share = files.read_share(place.base_path, place.name)
    rows = [
        {
            "version": version.number,
            "labels": sorted(label for label, number in found.labels.items() if number == version.number),
            "states": {target: of.get(version.number) for target, of in states.items() if of is not None},
            "fingerprint": version.fingerprint,
            "release": release(version.path) or None,
        }
        for version in list_versions(place.versions)
    ]
    facts = {
        "model": place.name,
        "base_path": str(place.base_path),
        "labels": found.labels,
        "canary_share": share,
        "interrupted": journal is not None,
        "down": sorted(target for target, of in states.items() if of is None),
        "versions": rows,
    }
    interrupted = journal.entry if journal is not None else None
    return Outcome(facts=facts, show=functools.partial(_show, facts, interrupted))


@command("history", "recommender history --verify", panel=PANEL, formerly=NAME_FORMERLY)
def history(
    source: ConfigSource,
    where: VersionsOptions,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Look instead whether the audit trail, of all models, is as it was written, and name the lines"
            " that aren't; then the exit code is 1.",
        ),
    ] = False,
) -> Outcome:
    """Show the audit trail: who did what when, why, and how it ended."""
    from serving.promotion import read_audit

    place = find_place(source, where)
    if verify:
        return _verified(place.base_path)
    with reported():
        entries = read_audit(place.base_path, place.name)
    return Outcome(
        facts=[dataclasses.asdict(entry) for entry in entries],
        show=lambda console: print_table(console, _trail(place.name, entries)),
    )


def _verified(base_path: AnyPath) -> Outcome:
    from serving.promotion import files

    with reported():
        found = files.verify_audit(base_path)
    path = base_path / files.AUDIT_FILE

    def show(console: Console) -> None:
        for fault in found.faults:
            console.print(f"[red]{escape(f'{path}: {fault}')}[/]", soft_wrap=True)
        for line in found.torn:
            torn = f"{path}: line {line} is torn, as a crash leaves it, and counts for nothing"
            console.print(escape(torn), soft_wrap=True)
        if not found.faults:
            old = f", {found.unhashed} of them from before there were hashes" if found.unhashed else ""
            last = f"; the last one's hash: {found.hash}" if found.hash else ""
            console.print(escape(f"{path}: {found.lines} lines as they were written{old}{last}"), soft_wrap=True)

    facts = {
        "file": str(path),
        "lines": found.lines,
        "unhashed": found.unhashed,
        "torn": list(found.torn),
        "hash": found.hash,
        "faults": [fault._asdict() for fault in found.faults],
    }
    return Outcome(exit_code=FAILED if found.faults else DONE, facts=facts, show=show)


def _trail(name: str, entries: Sequence[AuditEntry]) -> Table:
    table = Table(title=f"{escape(name)}, oldest first", title_justify="left")
    for heading in ("time (UTC)", "who", "action", "label", "from", "to", "result", "why"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        moved = [str(number) if number is not None else "" for number in (entry.from_version, entry.to_version)]
        time = entry.time.partition("+")[0].replace("T", " ")
        texts = [time, _who(entry), entry.action, entry.label or "", *moved, entry.result, entry.why]
        table.add_row(*map(escape, texts))
    return table


def _who(entry: AuditEntry) -> str:
    """Whom --as named, and who it was."""
    return entry.who if entry.by in ("", entry.who) else f"{entry.who} ({entry.by})"


def _show(facts: Mapping[str, Any], interrupted: Optional[AuditEntry], console: Console) -> None:
    rows, labels = facts["versions"], facts["labels"]
    print_table(console, _version_table(facts))
    for target in facts["down"]:
        console.print(f"[yellow]{escape(target)} doesn't answer[/]", soft_wrap=True)
    for label, number in sorted(labels.items()):
        if number not in {row["version"] for row in rows}:
            console.print(f"[red]label {label} is at version {number}, which is gone from the disk[/]", soft_wrap=True)
    if facts["canary_share"]:
        console.print(f"{facts['canary_share']:.1%} of the users go to the canary", soft_wrap=True)
    if not rows:
        console.print("no version yet; make one with `recommender run`", soft_wrap=True)
    elif not labels:
        console.print("no labels: servers serve what is newest, until the first `recommender promote`", soft_wrap=True)
    if interrupted is not None:
        console.print(
            f"[yellow]{interrupted.action} by {escape(interrupted.who)} at {interrupted.time} is under way[/], or was"
            " killed; then the next promote, rollback, retire or canary command puts it right",
            soft_wrap=True,
        )


def _version_table(facts: Mapping[str, Any]) -> Table:
    from components.evaluation_report import label as metric_label

    table = Table(title=f"{escape(facts['model'])} in {escape(facts['base_path'])}", title_justify="left")
    for name in ("version", "labels", "loaded", "blessed"):
        table.add_column(name, overflow="fold")
    for name in _HEADLINES:
        table.add_column(metric_label(name), justify="right")
    for name in ("parent", "data", "code"):
        table.add_column(name, overflow="fold")
    for row in facts["versions"]:
        about = row["release"] or {}
        lineage, metrics = about.get("lineage", {}), about.get("metrics", {})
        table.add_row(
            str(row["version"]),
            ", ".join(row["labels"]),
            _loaded(list(row["states"].values())),
            "yes" if about.get("blessed") else "unknown",
            *(f"{metrics[name]:.4f}" if name in metrics else "" for name in _HEADLINES),
            *(escape(str(lineage.get(name, ""))) for name in ("parent", "data", "code")),
        )
    return table


def _loaded(states: Sequence[Optional[str]]) -> str:
    """The states of a version on the replicas that answer, with how many they are where there are several."""
    counts = {state: states.count(state) for state in states if state}
    return ", ".join(f"{state} {count}/{len(states)}" if len(states) > 1 else state for state, count in counts.items())
