"""The command that holds the version under trial against the stable one: `canary compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.cli.command import NAME_FORMERLY, canary_app, command
from pipeline.cli.options import AuditOptions, ConfigSource, CountOption, LockTimeoutOption, ReplicaOptions, WhoOption
from pipeline.cli.place import PANEL, Place, PlaceOptions, find_place, reported
from pipeline.cli.promotion import Label, done
from pipeline.failures import DONE, NOT_BLESSED
from pipeline.terminal import MARKS, Outcome, print_table

if TYPE_CHECKING:
    from serving.promotion import Comparison


@command(
    "compare",
    "recommender canary compare --max-p99-ratio 1.5 --auto",
    panel=PANEL,
    of=canary_app,
    formerly={**NAME_FORMERLY, "--wait": "--lock-timeout"},
)
def compare(
    source: ConfigSource,
    where: PlaceOptions,
    replicas: ReplicaOptions,
    queries: Annotated[
        Optional[Path],
        typer.Option(
            "--queries",
            metavar="FILE",
            help='JSON lines such as {"user_id": "42", "history": ["50"]}; by default users that the versions know.',
        ),
    ] = None,
    num_queries: Annotated[int, typer.Option("--num-queries", "-n", help="How many queries.", min=1)] = 200,
    k: CountOption = None,
    max_error_rate: Annotated[
        float,
        typer.Option(
            "--max-error-rate", help="How far the canary's share of errors may be above stable's.", min=0, max=1
        ),
    ] = 0.0,
    max_p99_ratio: Annotated[
        float,
        typer.Option(
            "--max-p99-ratio",
            help="How many times stable's p99 the canary's may be; 5 ms more are always allowed.",
            min=0,
        ),
    ] = 2.0,
    min_overlap: Annotated[
        float, typer.Option("--min-overlap", help="Least mean share of items that both recommend.", min=0, max=1)
    ] = 0.1,
    auto: Annotated[
        bool, typer.Option("--auto", help="Promote the canary to stable if it keeps to the limits, else stop it.")
    ] = False,
    who: WhoOption = None,
    lock_timeout: LockTimeoutOption = 0.0,
) -> Outcome:
    """Ask both labels the same: errors, latency, overlap@k, and a verdict. Exit code 3: a limit isn't kept."""
    from serving.promotion import Limits
    from serving.promotion import compare as compare_labels
    from serving.promotion.comparison import read_queries

    place = find_place(source, where)
    count = place.default_k if k is None else k
    limits = Limits(max_error_rate, max_p99_ratio, min_overlap)
    with reported():
        asked = read_queries(queries) if queries else ()
        found = compare_labels(place.base_path, place.name, place.targets, asked, num_queries, count, limits, place.tls)
        _show(found, Console(highlight=False))  # before anything is done, which may fail
        carried_out = _carry_out(place, found, replicas, who, lock_timeout) if auto else Outcome(facts=[])
    facts = {**_figures(found), "done": carried_out.facts}
    return Outcome(DONE if found.passed else NOT_BLESSED, facts, carried_out.show)


def _carry_out(
    place: Place, found: Comparison, replicas: ReplicaOptions, who: Optional[str], lock_timeout: float
) -> Outcome:
    """Promotes the canary to stable, or ends the trial."""
    verdict = "; ".join(found.failures) or f"overlap@{found.k} {found.overlap:.3f}, no limit broken"
    promoter = place.promoter(AuditOptions(f"compared: {verdict}", who, lock_timeout), replicas)
    if found.passed:
        return done(place, promoter.promote(found.canary.version, Label.stable.value))
    return done(place, promoter.stop_canary())


def _figures(found: Comparison) -> dict[str, Any]:
    sides = {
        side.label: {
            "version": side.version,
            "requests": side.requests,
            "errors": side.errors,
            "p50_ms": side.percentile(0.5) if side.times else None,
            "p99_ms": side.percentile(0.99) if side.times else None,
        }
        for side in (found.stable, found.canary)
    }
    verdict = {"passed": found.passed, "failures": list(found.failures)}
    return {**sides, "k": found.k, "overlap": found.overlap, "same_first": found.same_first, **verdict}


def _show(found: Comparison, console: Console) -> None:
    table = Table()
    for name in ("", "version", "requests", "errors", "p50 ms", "p99 ms"):
        table.add_column(name, justify="left" if not name else "right")
    for side in (found.stable, found.canary):
        times = [f"{side.percentile(share):.1f}" for share in (0.5, 0.99)]
        table.add_row(side.label, str(side.version), str(side.requests), str(side.errors), *times)
    print_table(console, table)
    if found.overlap is not None and found.same_first is not None:
        console.print(
            f"overlap@{found.k} {found.overlap:.3f}, the same best item for {found.same_first:.1%}", soft_wrap=True
        )
    for failure in found.failures:
        console.print(f"[red]not kept[/]: {escape(failure)}", soft_wrap=True)
    if found.passed:
        console.print(f"{MARKS['done']} the canary keeps to all limits", soft_wrap=True)
