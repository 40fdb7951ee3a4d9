"""The commands that change what is served: `promote`, `rollback`, `retire`, `canary start`, `share` and `stop`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pipeline.cli.command import NAME_FORMERLY, app, canary_app, command
from pipeline.cli.options import (
    AuditOptions,
    ConfigSource,
    OfflineOption,
    ReplicaOptions,
    ShareOption,
    VersionArgument,
)
from pipeline.cli.place import PANEL, Place, PlaceOptions, VersionsOptions, find_place, promoter_of, reported
from pipeline.terminal import MARKS, Outcome

if TYPE_CHECKING:
    from serving.promotion import AuditEntry

app.add_typer(canary_app, name="canary", rich_help_panel=PANEL)

_FORMERLY = {**NAME_FORMERLY, "--wait": "--lock-timeout"}


class Label(str, Enum):
    """The labels."""

    stable = "stable"
    canary = "canary"


@command(
    "promote",
    "recommender promote 20260102030405 --label stable --why 'better by 4 %'",
    panel=PANEL,
    formerly=_FORMERLY,
)
def promote(
    source: ConfigSource,
    where: PlaceOptions,
    replicas: ReplicaOptions,
    audit: AuditOptions,
    version: VersionArgument,
    label: Annotated[Label, typer.Option("--label", help="What the version is to be.")],
    offline: OfflineOption = False,
) -> Outcome:
    """Load a version on all replicas, ask it, and move the label to it; if anything fails, put everything back."""
    place = find_place(source, where)
    with reported():
        return done(place, promoter_of(place, audit, replicas, offline).promote(version, label.value))


@command("rollback", "recommender rollback --why 'complaints'", panel=PANEL, formerly=_FORMERLY)
def rollback(
    source: ConfigSource,
    where: PlaceOptions,
    replicas: ReplicaOptions,
    audit: AuditOptions,
    label: Annotated[
        Label, typer.Option("--label", help="stable: back to the version before. canary: the same as canary stop.")
    ] = Label.stable,
    offline: OfflineOption = False,
) -> Outcome:
    """Move the label stable back to where it was before the last promotion, still loaded; again: one further back."""
    place = find_place(source, where)
    with reported():
        promoter = promoter_of(place, audit, replicas, offline)
        return done(place, promoter.rollback() if label is Label.stable else promoter.stop_canary())


@command("retire", "recommender retire 20260102030405", panel=PANEL, formerly=_FORMERLY)
def retire(
    source: ConfigSource,
    where: PlaceOptions,
    replicas: ReplicaOptions,
    audit: AuditOptions,
    version: VersionArgument,
    offline: OfflineOption = False,
) -> Outcome:
    """Unload a version without a label from all replicas, and delete it."""
    place = find_place(source, where)
    with reported():
        return done(place, promoter_of(place, audit, replicas, offline).retire(version))


@command(
    "start",
    "recommender canary start 20260102030405 --share 0.05",
    panel=PANEL,
    of=canary_app,
    formerly=_FORMERLY,
)
def canary_start(
    source: ConfigSource,
    where: PlaceOptions,
    replicas: ReplicaOptions,
    audit: AuditOptions,
    version: VersionArgument,
    share: ShareOption,
) -> Outcome:
    """Promote a version to canary, and send it a share of the users."""
    place = find_place(source, where)
    with reported():
        promoter = promoter_of(place, audit, replicas)
        return done(place, promoter.promote(version, Label.canary.value), promoter.share(share))


@command("share", "recommender canary share 0.2", panel=PANEL, of=canary_app, formerly=_FORMERLY)
def canary_share(
    source: ConfigSource,
    where: VersionsOptions,
    audit: AuditOptions,
    share: Annotated[float, typer.Argument(metavar="SHARE", help="Share of the users, 0 to 1.", min=0, max=1)],
) -> Outcome:
    """Change the share of the users. Who was on the canary's side stays there while it grows."""
    place = find_place(source, where)
    with reported():
        return done(place, promoter_of(place, audit).share(share))


@command("stop", 'recommender canary stop --why "too slow"', panel=PANEL, of=canary_app, formerly=_FORMERLY)
def canary_stop(
    source: ConfigSource,
    where: PlaceOptions,
    replicas: ReplicaOptions,
    audit: AuditOptions,
    offline: OfflineOption = False,
) -> Outcome:
    """End the trial: no users go there any more, and the label canary goes back to the stable version."""
    place = find_place(source, where)
    with reported():
        return done(place, promoter_of(place, audit, replicas, offline).stop_canary())


def done(place: Place, *entries: AuditEntry) -> Outcome:
    """What was done: the entries of the audit trail."""
    return Outcome(facts=[dataclasses.asdict(entry) for entry in entries], show=functools.partial(_say, place, entries))


def _say(place: Place, entries: Sequence[AuditEntry], console: Console) -> None:
    for entry in entries:
        if entry.action == "retire":
            text = f"version {entry.from_version} is deleted"
        elif entry.label is None:
            text = f"{entry.why.partition(':')[0]} of the users goes to version {entry.to_version}"
        else:
            came = f", before: {entry.from_version}" if entry.from_version not in (None, entry.to_version) else ""
            text = f"{entry.label} is version {entry.to_version}{came}"
        where = f" on {len(entry.replicas)} of {len(place.targets)} replicas" if entry.replicas else ""
        console.print(f"{MARKS['done']} {escape(place.name)}: {text}{where}", soft_wrap=True)
