"""The commands that make a model: `run`, `reindex`, `validate`, `tune`, `demo`, `doctor`.

Heavy modules are imported inside the commands, here as in the modules beside this one, so that `--help`, `query` and a
typing mistake answer at once.
"""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer
from rich.console import Console

from components.errors import InputError
from pipeline.cli.command import command
from pipeline.cli.options import ConfigSource
from pipeline.nodes import NODES
from pipeline.terminal import MARKS, Outcome, shown

_PANEL = "Make a model"


def _nodes() -> list[str]:
    return list(NODES)


@command(
    "run",
    "recommender run --config configs/movielens_100k.yaml --set training.epochs=5",
    "recommender run --from Trainer",
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
) -> Outcome:
    """Run the pipeline: data to a pushed version. Exit code 3: trained, but not blessed."""
    from pipeline.local.run import run as run_config

    if first and only:
        raise InputError("--from and --only exclude each other")
    return run_config(source.load(), first, only)


@command("reindex", "recommender reindex --config configs/movielens_100k.yaml", panel=_PANEL)
def reindex(source: ConfigSource) -> Outcome:
    """Put a changed catalogue under the last run's model, without training: new items come by their features, vanished
    ones go. Exit code 3: not blessed."""
    from pipeline.local.reindex import reindex as reindex_config

    return reindex_config(source.load())


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
