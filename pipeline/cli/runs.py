"""The commands that make a model: `run`, `reindex`, `init`, `validate`, `tune`, `demo`, `doctor`.

Heavy modules are imported inside the commands, here as in the modules beside this one, so that `--help`, `query` and a
typing mistake answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console

from components.errors import InputError
from pipeline.cli.command import command
from pipeline.cli.options import ConfigSource
from pipeline.nodes import NODES
from pipeline.terminal import MARKS, Outcome, shown

_PANEL = "Make a model"

AcceptOption = Annotated[
    Optional[str],
    typer.Option(
        "--accept",
        metavar="REASON",
        help="Let data out of the limits (the config's guards) through, this time; the reason is noted.",
    ),
]


def _nodes() -> list[str]:
    return list(NODES)


@command(
    "run",
    "recommender run --config configs/movielens_100k.yaml --set training.epochs=5",
    "recommender run --from Trainer",
    'recommender run --accept "the shop was closed for a week"',
    panel=_PANEL,
)
def run(
    source: ConfigSource,
    first: Annotated[
        Optional[str],
        typer.Option(
            "--from", metavar="NODE", autocompletion=_nodes, help="Run this node again and all that follows it."
        ),
    ] = None,
    only: Annotated[
        Optional[str],
        typer.Option("--only", metavar="NODE", autocompletion=_nodes, help="Run this node again, and no later one."),
    ] = None,
    accept: AcceptOption = None,
    full: Annotated[
        bool, typer.Option("--full", help="Begin anew where the config has runs go on from the last shipped model.")
    ] = False,
) -> Outcome:
    """Run the pipeline: data to a pushed version. Exit code 3: data out of the limits, or a model that is not
    blessed."""
    from pipeline.local.run import run as run_config

    if first and only:
        raise InputError("--from and --only exclude each other")
    return run_config(source.load(), first, only, reason(accept), full)


@command("reindex", "recommender reindex --config configs/movielens_100k.yaml", panel=_PANEL)
def reindex(source: ConfigSource, accept: AcceptOption = None) -> Outcome:
    """Put a changed catalogue under the last run's model, without training: new items come by their features, vanished
    ones go. Exit code 3: not blessed."""
    from pipeline.local.reindex import reindex as reindex_config

    return reindex_config(source.load(), reason(accept))


def reason(accept: Optional[str]) -> str:
    """The reason of `--accept`; empty without it.

    Raises:
        InputError: It says nothing.
    """
    if accept is not None and not accept.strip():
        raise InputError("--accept: say why, for whoever reads the report later")
    return (accept or "").strip()


@command(
    "init",
    "recommender init ratings.csv -o shop.yaml",
    "recommender init 'log/*.parquet' --catalogue items.csv --users users.csv --user who --time none -o shop.yaml",
    panel=_PANEL,
)
def init(
    files: Annotated[
        list[str], typer.Argument(metavar="FILES...", help="The log: paths, a folder, or a glob in quotes.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The config to write.")],
    catalogue: Annotated[
        Optional[list[str]],
        typer.Option("--catalogue", metavar="FILES", help="The items' table, likewise. Repeatable."),
    ] = None,
    users: Annotated[
        Optional[list[str]], typer.Option("--users", metavar="FILES", help="The users' table, likewise. Repeatable.")
    ] = None,
    user: Annotated[Optional[str], typer.Option("--user", metavar="COLUMN", help="The log's column of users.")] = None,
    item: Annotated[Optional[str], typer.Option("--item", metavar="COLUMN", help="That of items.")] = None,
    time: Annotated[Optional[str], typer.Option("--time", metavar="COLUMN", help="That of times, or none.")] = None,
    rating: Annotated[Optional[str], typer.Option("--rating", metavar="COLUMN", help="Of ratings, or none.")] = None,
    event: Annotated[
        Optional[str], typer.Option("--event", metavar="COLUMN", help="Of the types of events, or none.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a config that is there.")] = False,
) -> Outcome:
    """Look at files and write a commented config that fits them. Exit code 2: a run needs more than can be guessed."""
    from pipeline.data.init.init import Wanted
    from pipeline.data.init.init import init as init_config

    given = {"user": user, "item": item, "time": time, "rating": rating, "event": event}
    roles = {
        role: None if column.lower() == "none" and role not in ("user", "item") else column
        for role, column in given.items()
        if column is not None
    }
    made = init_config(
        Wanted(files, catalogue or (), users or (), roles, out),
        force,
        _ask if sys.stdin.isatty() and sys.stdout.isatty() else None,
    )
    console = Console()
    for line in (made.of_what, *(f"{key}: {value}: {reason}" for key, value, reason in made.said())):
        console.print(f"{MARKS['done']} {shown(line)}", soft_wrap=True, highlight=False)
    for warning in made.warnings:
        console.print(f"[yellow]warning[/]: {shown(warning)}", soft_wrap=True, highlight=False)
    facts = {
        "out": out,
        "of_what": made.of_what,
        "guesses": [{"key": key, "value": value, "why": why} for key, value, why in made.draft.guesses()],
        "warnings": made.warnings,
        "config": made.draft.content,
    }
    if made.problem:
        raise InputError(f"{out} is written, but can't be run as it is: {made.problem}")
    console.print(f"{shown(str(out))} is written: recommender run --config {shown(str(out))}", soft_wrap=True)
    return Outcome(facts=facts)


def _ask(question: str, choices: Sequence[str]) -> str:
    """Asks at the terminal for one of some columns."""
    import click

    return str(click.prompt(question, type=click.Choice(list(choices)), err=True))


@command("validate", "recommender validate --config configs/movielens_100k.yaml", panel=_PANEL)
def validate(source: ConfigSource) -> Outcome:
    """Say what a run would say of a config and its data, from a sample and within seconds, and what it understands."""
    config = source.load()
    from pipeline.data.validate import validate as validate_config  # Beam: seconds

    console = Console()
    facts: dict[str, Any] = {"findings": [], "warnings": []}
    for finding in validate_config(config):
        facts["warnings" if finding.is_warning else "findings"].append(finding.text)
        facts.update(finding.facts)
        mark = "[yellow]warning[/]:" if finding.is_warning else MARKS["done"]
        console.print(f"{mark} {shown(finding.text)}", soft_wrap=True, highlight=False)
        for line in finding.details:
            console.print(f"    {shown(line)}", soft_wrap=True, highlight=False)
    return Outcome(facts={**facts, "config": config.model_dump(mode="json")})


@command(
    "tune",
    "recommender tune --set tuning.trials=50",
    "recommender run --overrides output/movielens_100k/tuning/best.yaml",
    panel=_PANEL,
)
def tune(source: ConfigSource) -> Outcome:
    """Search the config's tuning.space for the best settings of model and training. Goes on where it was stopped."""
    from pipeline.local.tuning import tune as tune_config

    return tune_config(source.load())


@command("demo", "recommender demo --user 42", panel=_PANEL)
def demo(
    source: ConfigSource,
    user: Annotated[
        Optional[str], typer.Option("--user", metavar="ID", help="A user to ask for; by default one of training's.")
    ] = None,
) -> Outcome:
    """Run the pipeline, serve what it pushed, ask it over gRPC and REST, and stop."""
    from pipeline.local.demo import demo as run_demo

    return run_demo(source.load(), user)


@command("doctor", "recommender doctor", panel=_PANEL)
def doctor(source: ConfigSource) -> Outcome:
    """Say what is installed, what is missing or broken, and how to mend it."""
    from pipeline.local.doctor import run_doctor

    return run_doctor(source.load)
