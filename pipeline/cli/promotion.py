"""The commands that decide what is served: `versions`, `promote`, `rollback`, `retire`, `history`, `canary`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.errors import InputError
from pipeline.cli.options import DEFAULT_CONFIG, ConfigOption
from pipeline.cli.serving import ModelOption

if TYPE_CHECKING:
    from serving.client import Tls
    from serving.promotion import AuditEntry, Comparison, Promoter
    from serving.promotion.files import Aspired

_COMPARISON_FAILED = 3
_HEADLINES = ("hit_rate@10", "ndcg@10")

BasePathOption = Annotated[
    Optional[Path], typer.Option(help="Versions lie in BASE_PATH/<model>/<version>; by default as the config says.")
]
TargetsOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--target",
        metavar="HOST:PORT",
        help="gRPC of a replica, or dns:///NAME:PORT for all that a name stands for. Repeatable.",
    ),
]
WhyOption = Annotated[str, typer.Option(help="The reason, for the audit trail.")]
WhoOption = Annotated[Optional[str], typer.Option("--as", help="Who does it, for the audit trail; else user@host.")]
WaitOption = Annotated[float, typer.Option(help="Seconds to wait if somebody else is promoting.", min=0)]
TimeoutOption = Annotated[float, typer.Option(help="Seconds in which each replica must have loaded a version.", min=0)]
SkipDownOption = Annotated[
    bool,
    typer.Option("--skip-down", help="Leave out replicas that don't answer. They must start again from models.config."),
]
OfflineOption = Annotated[
    bool, typer.Option("--offline", help="No server runs: only write models.config, for those that start later.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
VersionArgument = Annotated[int, typer.Argument(metavar="VERSION", help="As `recommender versions` lists them.")]
ShareOption = Annotated[float, typer.Option(help="Share of the users, 0 to 1.", min=0, max=1)]


class Label(str, Enum):
    """The labels."""

    stable = "stable"
    canary = "canary"


@dataclass(frozen=True)
class _Place:
    """Which model, where its versions lie, and who serves it."""

    base_path: Path
    model: str
    targets: tuple[str, ...]
    tls: Optional[Tls]


canary_app = typer.Typer(
    no_args_is_help=True, help="Try a version on a share of the users, compare it with the stable one, decide."
)


def versions(
    config: ConfigOption = DEFAULT_CONFIG,
    base_path: BasePathOption = None,
    model: ModelOption = None,
    targets: TargetsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the versions: labels, who has loaded them, blessing, metrics and where they come from."""
    from components.versions import list_versions, model_dir, release
    from serving.promotion import files

    place = _place(config, base_path, model, targets)
    states = _states(place)
    with _reported():
        found = files.aspired(files.read_config(place.base_path), place.model) or files.Aspired()
        journal = files.read_journal(place.base_path)
    rows = [
        {
            "version": version.number,
            "labels": sorted(label for label, number in found.labels.items() if number == version.number),
            "states": {target: of.get(version.number) for target, of in states.items() if of is not None},
            "fingerprint": version.fingerprint,
            **({"release": about} if (about := release(version.path)) else {"release": None}),
        }
        for version in list_versions(model_dir(place.base_path, place.model))
    ]
    share = files.read_share(place.base_path, place.model)
    if as_json:
        down = sorted(target for target, of in states.items() if of is None)
        print(
            json.dumps(
                {
                    "model": place.model,
                    "base_path": str(place.base_path),
                    "canary_share": share,
                    "interrupted": journal is not None,
                    "down": down,
                    "versions": rows,
                },
                indent=2,
            )
        )
        return
    _show_versions(place, rows, states, found, share)
    if journal is not None:
        _console().print(
            f"[yellow]{journal.entry.action} by {escape(journal.entry.who)} at {journal.entry.time} is under way[/], or"
            " was killed; then the next promote, rollback, retire or canary command puts it right",
            soft_wrap=True,
        )


def promote(
    version: VersionArgument,
    label: Annotated[Label, typer.Option(help="What the version is to be.")],
    config: ConfigOption = DEFAULT_CONFIG,
    base_path: BasePathOption = None,
    model: ModelOption = None,
    targets: TargetsOption = None,
    why: WhyOption = "",
    who: WhoOption = None,
    wait: WaitOption = 0.0,
    timeout: TimeoutOption = 300.0,
    skip_down: SkipDownOption = False,
    offline: OfflineOption = False,
) -> None:
    """Load a version on all replicas, ask it, and move the label to it; if anything fails, put everything back."""
    place = _place(config, base_path, model, targets)
    with _reported():
        promoter = _promoter(place, why, who, wait, timeout, skip_down, offline)
        _done(promoter.promote(version, label.value), place)


def rollback(
    config: ConfigOption = DEFAULT_CONFIG,
    label: Annotated[
        Label, typer.Option(help="stable: back to the version before. canary: the same as canary stop.")
    ] = Label.stable,
    base_path: BasePathOption = None,
    model: ModelOption = None,
    targets: TargetsOption = None,
    why: WhyOption = "",
    who: WhoOption = None,
    wait: WaitOption = 0.0,
    timeout: TimeoutOption = 300.0,
    skip_down: SkipDownOption = False,
    offline: OfflineOption = False,
) -> None:
    """Move the label stable back to where it was before the last promotion, still loaded; again: one further back."""
    place = _place(config, base_path, model, targets)
    with _reported():
        promoter = _promoter(place, why, who, wait, timeout, skip_down, offline)
        _done(promoter.rollback() if label is Label.stable else promoter.stop_canary(), place)


def retire(
    version: VersionArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    base_path: BasePathOption = None,
    model: ModelOption = None,
    targets: TargetsOption = None,
    why: WhyOption = "",
    who: WhoOption = None,
    wait: WaitOption = 0.0,
    timeout: TimeoutOption = 300.0,
    skip_down: SkipDownOption = False,
    offline: OfflineOption = False,
) -> None:
    """Unload a version without a label from all replicas, and delete it."""
    place = _place(config, base_path, model, targets)
    with _reported():
        promoter = _promoter(place, why, who, wait, timeout, skip_down, offline)
        _done(promoter.retire(version), place)


def history(
    config: ConfigOption = DEFAULT_CONFIG,
    base_path: BasePathOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the audit trail: who did what when, why, and how it ended."""
    from serving.promotion import read_audit

    place = _place(config, base_path, model, None)
    entries = read_audit(place.base_path, place.model)
    if as_json:
        print(json.dumps([dataclasses.asdict(entry) for entry in entries], indent=2))
        return
    table = Table(title=f"{escape(place.model)}, oldest first", title_justify="left")
    for name in ("time (UTC)", "who", "action", "label", "from", "to", "result", "why"):
        table.add_column(name, overflow="fold")
    for entry in entries:
        moved = [str(number) if number is not None else "" for number in (entry.from_version, entry.to_version)]
        time = entry.time.partition("+")[0].replace("T", " ")
        texts = [time, entry.who, entry.action, entry.label or "", *moved, entry.result, entry.why]
        table.add_row(*map(escape, texts))
    _console().print(table)


@canary_app.command("start", epilog="Example: recommender canary start 20260102030405 --share 0.05")
def canary_start(
    version: VersionArgument,
    share: ShareOption,
    config: ConfigOption = DEFAULT_CONFIG,
    base_path: BasePathOption = None,
    model: ModelOption = None,
    targets: TargetsOption = None,
    why: WhyOption = "",
    who: WhoOption = None,
    wait: WaitOption = 0.0,
    timeout: TimeoutOption = 300.0,
    skip_down: SkipDownOption = False,
) -> None:
    """Promote a version to canary, and send it a share of the users."""
    place = _place(config, base_path, model, targets)
    with _reported():
        promoter = _promoter(place, why, who, wait, timeout, skip_down, offline=False)
        _done(promoter.promote(version, Label.canary.value), place)
        _done(promoter.share(share), place)


@canary_app.command("share", epilog="Example: recommender canary share 0.2")
def canary_share(
    share: Annotated[float, typer.Argument(help="Share of the users, 0 to 1.", min=0, max=1)],
    config: ConfigOption = DEFAULT_CONFIG,
    base_path: BasePathOption = None,
    model: ModelOption = None,
    why: WhyOption = "",
    who: WhoOption = None,
    wait: WaitOption = 0.0,
) -> None:
    """Change the share of the users. Who was on the canary's side stays there while it grows."""
    place = _place(config, base_path, model, None)
    with _reported():
        _done(_promoter(place, why, who, wait).share(share), place)


@canary_app.command("stop", epilog='Example: recommender canary stop --why "too slow"')
def canary_stop(
    config: ConfigOption = DEFAULT_CONFIG,
    base_path: BasePathOption = None,
    model: ModelOption = None,
    targets: TargetsOption = None,
    why: WhyOption = "",
    who: WhoOption = None,
    wait: WaitOption = 0.0,
    timeout: TimeoutOption = 300.0,
    skip_down: SkipDownOption = False,
    offline: OfflineOption = False,
) -> None:
    """End the trial: no users go there any more, and the label canary goes back to the stable version."""
    place = _place(config, base_path, model, targets)
    with _reported():
        _done(_promoter(place, why, who, wait, timeout, skip_down, offline).stop_canary(), place)


@canary_app.command("compare", epilog="Example: recommender canary compare --max-p99-ratio 1.5 --auto")
def canary_compare(
    config: ConfigOption = DEFAULT_CONFIG,
    base_path: BasePathOption = None,
    model: ModelOption = None,
    targets: TargetsOption = None,
    queries: Annotated[
        Optional[Path],
        typer.Option(
            metavar="FILE",
            help='JSON lines such as {"user_id": "42", "history": ["50"]}; by default users that the versions know.',
        ),
    ] = None,
    num_queries: Annotated[int, typer.Option("-n", help="How many queries.", min=1)] = 200,
    k: Annotated[int, typer.Option("-k", help="Items a list.", min=1)] = 10,
    max_error_rate: Annotated[
        float, typer.Option(help="How far the canary's share of errors may be above stable's.", min=0, max=1)
    ] = 0.0,
    max_p99_ratio: Annotated[
        float,
        typer.Option(help="How many times stable's p99 the canary's may be; 5 ms more are always allowed.", min=0),
    ] = 2.0,
    min_overlap: Annotated[
        float, typer.Option(help="Least mean share of items that both recommend.", min=0, max=1)
    ] = 0.1,
    auto: Annotated[
        bool, typer.Option("--auto", help="Promote the canary to stable if it keeps to the limits, else stop it.")
    ] = False,
    as_json: JsonOption = False,
    who: WhoOption = None,
    wait: WaitOption = 0.0,
    timeout: TimeoutOption = 300.0,
    skip_down: SkipDownOption = False,
) -> None:
    """Ask both labels the same: errors, latency, overlap@k, and a verdict. Exit code 3: a limit isn't kept."""
    from serving.promotion import Limits, compare
    from serving.promotion.comparison import read_queries

    place = _place(config, base_path, model, targets)
    limits = Limits(max_error_rate, max_p99_ratio, min_overlap)
    with _reported():
        asked = read_queries(queries) if queries else ()
        found = compare(place.base_path, place.model, place.targets, asked, num_queries, k, limits, place.tls)
        if as_json:
            print(json.dumps(_figures(found), indent=2))
        else:
            _show_comparison(found)
        if auto:
            why = "compared: " + ("; ".join(found.failures) or f"overlap@{k} {found.overlap:.3f}, no limit broken")
            promoter = _promoter(place, why, who, wait, timeout, skip_down)
            if found.passed:
                _done(promoter.promote(found.canary.version, Label.stable.value), place, quiet=as_json)
            else:
                _done(promoter.stop_canary(), place, quiet=as_json)
    if not found.passed:
        raise typer.Exit(_COMPARISON_FAILED)


def _place(config: Path, base_path: Optional[Path], model: Optional[str], targets: Optional[Sequence[str]]) -> _Place:
    from components.versions import model_dir
    from pipeline.config import load_config
    from serving.client import InvalidRequest, Tls
    from serving.client.calls import parse_target
    from serving.promotion import WrongPromotion, every_replica

    loaded = load_config(config)
    serving = loaded.serving
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(serving.host, serving.host)
    if not targets and not serving.replicas and not serving.port:
        raise InputError("serving.port is 0, any free one: name the servers by serving.replicas or --target")
    try:
        chosen = every_replica(targets or serving.replicas or [f"{host}:{serving.port}"])
        chosen = tuple("{}:{}".format(*parse_target(target, "grpc")) for target in chosen)
        tls = Tls(**serving.tls.model_dump()) if serving.tls else None
    except (InvalidRequest, WrongPromotion) as error:
        raise InputError(str(error)) from None
    if len(set(chosen)) < len(chosen):
        raise InputError(f"a replica is named twice: {', '.join(chosen)}")
    directory = model_dir(base_path or serving.base_path, model or loaded.name)
    return _Place(directory.parent.absolute(), directory.name, chosen, tls)


def _promoter(
    place: _Place,
    why: str,
    who: Optional[str],
    wait: float,
    timeout: float = 300.0,
    skip_down: bool = False,
    offline: bool = False,
) -> Promoter:
    from components.versions import model_dir, release
    from serving.promotion import Promoter

    if offline:
        running = sorted(target for target, states in _states(place).items() if states is not None)
        if running:
            raise InputError(f"a model server runs at {', '.join(running)}: leave out --offline, or stop it first")

    def metrics(version: int) -> Mapping[str, float]:
        return release(model_dir(place.base_path, place.model) / str(version)).get("metrics", {})

    return Promoter(
        place.base_path,
        place.model,
        () if offline else place.targets,
        tls=place.tls,
        who=who,
        why=why,
        wait=wait,
        timeout=timeout,
        skip_down=skip_down,
        metrics=metrics,
        say=lambda message: Console(stderr=True).print(f"[dim]{escape(message)} …[/]", soft_wrap=True, highlight=False),
    )


def _states(place: _Place) -> dict[str, Optional[dict[int, str]]]:
    """State of each version on each replica; None for a replica that doesn't answer."""
    from serving.promotion import PromotionFailed, Replica

    states: dict[str, Optional[dict[int, str]]] = {}
    for target in place.targets:
        try:
            found = Replica(target, place.tls).states(place.model)
            states[target] = {number: status.state for number, status in found.items()}
        except PromotionFailed:
            states[target] = None
    return states


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """Makes of promotion's errors what the command line does with errors: exit code 2 for wrong input, else 1."""
    from serving.promotion import PromotionFailed, WrongPromotion

    try:
        yield
    except WrongPromotion as error:
        raise InputError(str(error)) from None
    except PromotionFailed as error:
        Console(stderr=True).print(f"[red]error[/]: {escape(str(error))}", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from None


def _done(entry: AuditEntry, place: _Place, quiet: bool = False) -> None:
    """Says what was done."""
    if quiet:
        return
    if entry.action == "retire":
        text = f"version {entry.from_version} is deleted"
    elif entry.label is None:
        text = f"{entry.why.partition(':')[0]} of the users goes to version {entry.to_version}"
    else:
        came = f", before: {entry.from_version}" if entry.from_version not in (None, entry.to_version) else ""
        text = f"{entry.label} is version {entry.to_version}{came}"
    where = f" on {len(entry.replicas)} of {len(place.targets)} replicas" if entry.replicas else ""
    _console().print(f"[green]✓[/] {escape(place.model)}: {text}{where}", soft_wrap=True, highlight=False)


def _show_versions(
    place: _Place,
    rows: Sequence[Mapping[str, Any]],
    states: Mapping[str, Optional[Mapping[int, str]]],
    found: Aspired,
    share: float,
) -> None:
    from components.evaluation_report import label as metric_label

    console = _console()
    table = Table(title=f"{escape(place.model)} in {escape(str(place.base_path))}", title_justify="left")
    for name in ("version", "labels", "loaded", "blessed"):
        table.add_column(name, overflow="fold")
    for name in _HEADLINES:
        table.add_column(metric_label(name), justify="right")
    for name in ("parent", "data", "code"):
        table.add_column(name, overflow="fold")
    answering = {target: of for target, of in states.items() if of is not None}
    for row in rows:
        counts = {state: list(row["states"].values()).count(state) for state in row["states"].values() if state}
        many = len(answering) > 1
        loaded = ", ".join(f"{state} {count}/{len(answering)}" if many else state for state, count in counts.items())
        about = row["release"]
        lineage = about["lineage"] if about else {}
        metrics = about["metrics"] if about else {}
        table.add_row(
            str(row["version"]),
            ", ".join(row["labels"]),
            loaded,
            "yes" if about and about["blessed"] else "unknown",
            *(f"{metrics[name]:.4f}" if name in metrics else "" for name in _HEADLINES),
            *(escape(str(lineage.get(name, ""))) for name in ("parent", "data", "code")),
        )
    console.print(table)
    for target, of in states.items():
        if of is None:
            console.print(f"[yellow]{escape(target)} doesn't answer[/]", soft_wrap=True)
    for label, number in sorted(found.labels.items()):
        if number not in {row["version"] for row in rows}:
            console.print(f"[red]label {label} is at version {number}, which is gone from the disk[/]", soft_wrap=True)
    if share:
        console.print(f"{share:.1%} of the users go to the canary", soft_wrap=True, highlight=False)
    if not rows:
        console.print("no version yet; make one with `recommender run`")
    elif not found.labels:
        console.print("no labels: servers serve what is newest, until the first `recommender promote`", soft_wrap=True)


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


def _show_comparison(found: Comparison) -> None:
    table = Table()
    for name in ("", "version", "requests", "errors", "p50 ms", "p99 ms"):
        table.add_column(name, justify="left" if not name else "right")
    for side in (found.stable, found.canary):
        times = [f"{side.percentile(share):.1f}" for share in (0.5, 0.99)]
        table.add_row(side.label, str(side.version), str(side.requests), str(side.errors), *times)
    console = _console()
    console.print(table)
    if found.overlap is not None and found.same_first is not None:
        console.print(
            f"overlap@{found.k} {found.overlap:.3f}, the same best item for {found.same_first:.1%}",
            soft_wrap=True,
            highlight=False,
        )
    for failure in found.failures:
        console.print(f"[red]not kept[/]: {escape(failure)}", soft_wrap=True, highlight=False)
    if found.passed:
        console.print("[green]✓[/] the canary keeps to all limits")


def _console() -> Console:
    console = Console()
    if not console.is_terminal:  # where it is 80, which would cut versions off
        console.width = max(console.width, 160)
    return console
