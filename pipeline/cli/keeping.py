"""The commands that keep house: `gc`, `reproduce`, `forget`."""

from __future__ import annotations

import dataclasses
import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from components.errors import InputError
from pipeline.cli.command import command
from pipeline.cli.options import AuditOptions, ConfigSource, OfflineOption, ReplicaOptions, VersionArgument
from pipeline.cli.place import PlaceOptions, VersionsOptions, find_place, promoter_of
from pipeline.terminal import Outcome
from serving.files import read_lines
from serving.stores import as_path

if TYPE_CHECKING:
    from serving.promotion import Promoter

_PANEL = "Keep house"


@command("gc", "recommender gc --dry-run", "recommender gc --versions 3 --gigabytes 20", panel=_PANEL)
def gc(
    source: ConfigSource,
    versions: Annotated[
        Optional[int], typer.Option("--versions", metavar="N", min=1, help="How many versions stay.")
    ] = None,
    runs: Annotated[
        Optional[int], typer.Option("--runs", metavar="N", min=1, help="Of how many runs the artifacts stay.")
    ] = None,
    days: Annotated[Optional[float], typer.Option("--days", metavar="DAYS", help="What is older goes.")] = None,
    logs: Annotated[Optional[int], typer.Option("--logs", metavar="N", min=1, help="How many logs stay.")] = None,
    gigabytes: Annotated[
        Optional[float],
        typer.Option("--gigabytes", metavar="GB", help="How much all may take; then the oldest go, too."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> Outcome:
    """Delete versions, artifacts, logs and metadata that are no longer needed, as the config's retention says. Exit
    code 3: more than --gigabytes must stay."""
    from pydantic import ValidationError

    from pipeline.local.clean_up import gc as clean_up

    config = source.load()
    given: dict[str, Any] = {
        "versions": versions,
        "runs": runs,
        "days": days,
        "logs": logs,
        "gigabytes": gigabytes,
    }
    asked = {name: value for name, value in given.items() if value is not None}
    try:
        limits = type(config.retention)(**{**config.retention.model_dump(), **asked})
    except ValidationError as error:
        problem = error.errors()[0]
        raise InputError(f"--{problem['loc'][0]}: {problem['msg']} (got {problem['input']!r})") from None
    return clean_up(config, limits, dry_run)


@command("reproduce", "recommender reproduce 20260102030405 --check", panel=_PANEL)
def reproduce(
    source: ConfigSource,
    version: VersionArgument,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether it can be, and what differs from what was.")
    ] = False,
) -> Outcome:
    """Make a version again, by the config, files and code that it was made by, and compare fingerprints. Exit code 3:
    it can't be, or it turned out otherwise."""
    from pipeline.local.reproduce import reproduce as reproduce_version

    return reproduce_version(source.load(), str(version), check)


@command(
    "forget",
    "recommender forget --user 42 --also answers/",
    "recommender forget --users gone.txt --offline",
    panel=_PANEL,
)
def forget(
    source: ConfigSource,
    where: PlaceOptions,
    replicas: ReplicaOptions,
    audit: AuditOptions,
    user: Annotated[Optional[list[str]], typer.Option("--user", metavar="ID", help="A user. Repeatable.")] = None,
    users: Annotated[Optional[Path], typer.Option("--users", metavar="FILE", help="Users, one id a line.")] = None,
    also: Annotated[
        Optional[list[Path]],
        typer.Option(
            "--also",
            metavar="PATH",
            help="A file or folder to take them out of, too, beside the logs of nightly.answers, such as outputs of"
            " feedback and batch. Repeatable.",
        ),
    ] = None,
    offline: OfflineOption = False,
) -> Outcome:
    """Take users out of what serves, without training, of all that runs have left, and of what later runs read. Exit
    code 1: something still has them."""
    from pipeline.feedback.run import find_pseudonyms
    from pipeline.local.forget.forget import forget as forget_users

    ids = list(user or ())
    if users is not None:
        try:
            # Some editors begin a file with a mark of its encoding.
            ids += filter(None, (line.removeprefix("\ufeff") for line in read_lines(users)))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--users {users}: can't be read: {error}") from None

    def promoter(who: Optional[str]) -> Promoter:
        """Needed where there are labels to move; where there are none, no server's address has to be known."""
        place = find_place(source, VersionsOptions(where.base_path) if offline else where)
        named = audit if who is None else dataclasses.replace(audit, who=who)
        return promoter_of(place, named, replicas, offline)

    config = source.load()
    if where.base_path is not None:
        serving = config.serving.model_copy(update={"base_path": as_path(where.base_path)})
        config = config.model_copy(update={"serving": serving})
    answers = [path for pattern in config.nightly.answers for path in glob.glob(os.path.expanduser(pattern))]
    return forget_users(config, ids, promoter, [*(also or ()), *map(Path, answers)], find_pseudonyms(config))
