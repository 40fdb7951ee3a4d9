"""The command that holds the version under trial against the stable one: `canary compare`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.cli.command import NAME_FORMERLY, canary_app, command
from pipeline.cli.options import (
    AuditOptions,
    ConfigSource,
    CountOption,
    EventsOption,
    LockTimeoutOption,
    LogOption,
    ReplicaOptions,
    WhoOption,
)
from pipeline.cli.place import PANEL, Place, PlaceOptions, find_place, promoter_of, reported
from pipeline.cli.promotion import Label, done
from pipeline.failures import DONE, NOT_BLESSED, UNDECIDED
from pipeline.terminal import MARKS, Outcome, print_table

if TYPE_CHECKING:
    from pipeline.feedback.trial import Verdict
    from serving.promotion import Comparison


class What(str, Enum):
    """What users do that a trial can be judged by."""

    clicks = "clicks"
    conversions = "conversions"


@dataclass(frozen=True)
class OutcomeOptions:
    """How a trial is judged by what its users did."""

    log: LogOption = None
    events: EventsOption = None
    outcome: Annotated[What, typer.Option("--outcome", help="What is counted of each user.")] = What.clicks
    min_effect: Annotated[
        float,
        typer.Option(
            "--min-effect",
            metavar="SHARE",
            help="The least difference that matters, of what stable's users do: the canary is promoted when it is not"
            " worse by that.",
            min=0.0001,
            max=1,
        ),
    ] = 0.05
    alpha: Annotated[
        float,
        typer.Option("--alpha", help="The chance to decide wrongly, however often one looks.", min=1e-6, max=0.5),
    ] = 0.05
    better: Annotated[
        bool, typer.Option("--better", help="Promote only a canary that is better, not one that is as good.")
    ] = False


@command(
    "compare",
    "recommender canary compare --max-p99-ratio 1.5 --auto",
    "recommender canary compare --log answers --outcome conversions --auto",
    panel=PANEL,
    of=canary_app,
    formerly={**NAME_FORMERLY, "--wait": "--lock-timeout"},
)
def compare(
    source: ConfigSource,
    where: PlaceOptions,
    replicas: ReplicaOptions,
    outcomes: OutcomeOptions,
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
        bool,
        typer.Option(
            "--auto",
            help="Promote the canary to stable if it keeps to the limits, else stop it; with --log as users decide.",
        ),
    ] = False,
    who: WhoOption = None,
    lock_timeout: LockTimeoutOption = 0.0,
) -> Outcome:
    """Ask both labels the same: errors, latency, overlap@k, and a verdict; with --log also what users did.

    Exit code 3: a limit isn't kept, or users do less; 5: they have not decided yet."""
    from serving.promotion import Limits
    from serving.promotion import compare as compare_labels
    from serving.promotion.comparison import read_queries

    place = find_place(source, where)
    count = place.default_k if k is None else k
    limits = Limits(max_error_rate, max_p99_ratio, min_overlap)
    with reported():
        asked = read_queries(queries) if queries else ()
        found = compare_labels(place.base_path, place.name, place.targets, asked, num_queries, count, limits, place.tls)
        console = Console(highlight=False)
        _show(found, console)  # before anything is done, which may fail
        verdict = _judged(source, place, outcomes) if outcomes.log and found.passed else None
        if verdict is not None:
            _show_verdict(verdict, console)
        decision = ("promote" if found.passed else "stop") if verdict is None else verdict.decision
        carried_out = Outcome(facts=[])
        if auto and decision != "go on":
            why = _why(found, verdict)
            carried_out = _carry_out(place, found.canary.version, decision, why, replicas, who, lock_timeout)
    facts = {**_figures(found), "outcomes": verdict and dataclasses.asdict(verdict), "done": carried_out.facts}
    return Outcome({"promote": DONE, "stop": NOT_BLESSED, "go on": UNDECIDED}[decision], facts, carried_out.show)


def _judged(source: ConfigSource, place: Place, options: OutcomeOptions) -> Verdict:
    from pipeline.feedback.trial import Rules, judge

    rules = Rules(options.outcome.value, options.min_effect, options.alpha, options.better)
    return judge(source.load(), place.base_path, place.name, options.log or [], options.events, rules)


def _why(found: Comparison, verdict: Optional[Verdict]) -> str:
    """What the audit trail says of the reason."""
    said = "; ".join(found.failures) or f"overlap@{found.k} {found.overlap:.3f}, no limit broken"
    return f"compared: {said}" + ("" if verdict is None else f"; {verdict.why}: {verdict.figure}")


def _carry_out(
    place: Place,
    version: int,
    decision: str,
    why: str,
    replicas: ReplicaOptions,
    who: Optional[str],
    lock_timeout: float,
) -> Outcome:
    """Promotes the canary to stable, or ends the trial."""
    promoter = promoter_of(place, AuditOptions(why, who, lock_timeout), replicas)
    if decision == "promote":
        return done(place, promoter.promote(version, Label.stable.value))
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


def _show_verdict(verdict: Verdict, console: Console) -> None:
    from components.interaction_gen.sanity import as_time

    console.print(
        f"users since {as_time(verdict.since)} UTC, with events until {as_time(verdict.newest_event)}: "
        f"{verdict.arrived:,}, of whom count so far:",
        soft_wrap=True,
    )
    table = Table()
    for name in ("", "users", f"with {verdict.outcome}", f"{verdict.outcome} a user"):
        table.add_column(name, justify="left" if not name else "right")
    for label, side in (("stable", verdict.stable), ("canary", verdict.canary)):
        table.add_row(label, f"{side.users:,}", f"{side.active:,}", f"{side.mean:.4f}")
    print_table(console, table)
    console.print(f"difference {verdict.figure}", soft_wrap=True)
    for reason, count in verdict.left_out.items():
        console.print(f"left out: {count:,} {escape(reason)}", soft_wrap=True)
    mark = {"promote": MARKS["done"], "stop": "[red]not kept[/]:", "go on": "…"}[verdict.decision]
    console.print(f"{mark} {escape(verdict.why)}", soft_wrap=True)
    if verdict.decision == "go on":
        console.print(verdict.how_long, soft_wrap=True)
