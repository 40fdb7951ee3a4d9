"""The command line: reads arguments, calls the rooms, turns errors into one message and an exit code.

Heavy modules are imported inside the commands, so that `--help`, `query` and a typing mistake answer at once.
"""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.markup import escape

from components.errors import InputError
from pipeline.cli.options import DEFAULT_CONFIG, ConfigOption, OverridesOption, SetOption
from pipeline.failures import explain

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="A recommender from a log to a served model: train, judge, push, serve, ask.",
)


@app.command(epilog="Example: recommender run --config configs/movielens_100k.yaml --set training.epochs=5")
def run(
    config: ConfigOption = DEFAULT_CONFIG,
    overrides_file: OverridesOption = None,
    overrides: SetOption = None,
    first: Annotated[
        Optional[str], typer.Option("--from", metavar="NODE", help="Run this node again and all that follows it.")
    ] = None,
    only: Annotated[
        Optional[str], typer.Option("--only", metavar="NODE", help="Run this node again, and no later one.")
    ] = None,
) -> None:
    """Run the pipeline: data to a pushed version. Exit code 3: trained, but not blessed."""
    from pipeline.config import load_config
    from pipeline.local.run import run as run_config

    if first and only:
        raise InputError("--from and --only exclude each other")
    raise typer.Exit(run_config(load_config(config, tuple(overrides or ()), overrides_file), first, only))


@app.command(epilog="Example: recommender reindex --config configs/movielens_100k.yaml")
def reindex(
    config: ConfigOption = DEFAULT_CONFIG, overrides_file: OverridesOption = None, overrides: SetOption = None
) -> None:
    """Put a changed catalogue under the last run's model, without training: new items come by their features, vanished
    ones go. Exit code 3: not blessed."""
    from pipeline.config import load_config
    from pipeline.local.reindex import reindex as reindex_config

    raise typer.Exit(reindex_config(load_config(config, tuple(overrides or ()), overrides_file)))


@app.command(epilog="Example: recommender validate --config configs/movielens_100k.yaml")
def validate(
    config: ConfigOption = DEFAULT_CONFIG, overrides_file: OverridesOption = None, overrides: SetOption = None
) -> None:
    """Check a config, and the head of its data, within seconds."""
    from pipeline.config import load_config
    from pipeline.data.validate import validate as validate_config

    console = Console()
    for finding in validate_config(load_config(config, tuple(overrides or ()), overrides_file)):
        console.print(f"[green]✓[/] {escape(finding)}", soft_wrap=True, highlight=False)


@app.command(epilog="Example: recommender tune --set tuning.trials=50, then recommender run --overrides FILE")
def tune(
    config: ConfigOption = DEFAULT_CONFIG, overrides_file: OverridesOption = None, overrides: SetOption = None
) -> None:
    """Search the config's tuning.space for the best settings of model and training. Goes on where it was stopped."""
    from pipeline.config import load_config
    from pipeline.local.tuning import tune as tune_config

    raise typer.Exit(tune_config(load_config(config, tuple(overrides or ()), overrides_file)))


@app.command(epilog="Example: recommender demo --user 42")
def demo(
    config: ConfigOption = DEFAULT_CONFIG,
    overrides_file: OverridesOption = None,
    overrides: SetOption = None,
    user: Annotated[
        Optional[str], typer.Option(help="A user to ask for; by default one of the training users.")
    ] = None,
) -> None:
    """Run the pipeline, serve what it pushed, ask it over gRPC and REST, and stop."""
    from pipeline.config import load_config
    from pipeline.local.demo import demo as run_demo

    raise typer.Exit(run_demo(load_config(config, tuple(overrides or ()), overrides_file), user))


@app.command(epilog="Example: recommender doctor")
def doctor() -> None:
    """Say what is installed, what is missing or broken, and how to mend it."""
    from pipeline.local.doctor import run_doctor

    raise typer.Exit(run_doctor(Console()))


def _register() -> None:
    from pipeline.cli import archive, batch, evaluation, kubeflow, promotion, report, serving

    app.command(epilog="Example: recommender evaluate --model 20260102030405 --out evaluation")(evaluation.evaluate)
    app.command(epilog="Example: recommender batch --users all -k 3 --out top3.csv")(batch.batch)
    app.command(epilog="Example: recommender export --version 20260102030405 --out model.tar.gz")(archive.export)
    app.command(epilog="Example: recommender report --version 20260102030405 --out report.html")(report.report)
    app.command(epilog="Example: recommender compare 20260102030405 20260103030405 --out compare.html")(report.compare)
    app.command("compile", epilog="Example: recommender compile --config configs/my.yaml --out pipeline.yaml")(
        kubeflow.compile_config
    )
    app.command(
        epilog='Example: recommender submit --param epochs=5 --wait; recommender submit --schedule "0 3 * * *"'
    )(kubeflow.submit)
    app.command(epilog="Example: recommender trigger --config configs/movielens_100k.yaml")(kubeflow.trigger)
    app.command(
        epilog="Example: recommender serve --config configs/movielens_100k.yaml --port 8500 -- --enable_batching=true"
    )(serving.serve)
    app.command(epilog="Example: recommender versions --json")(promotion.versions)
    app.command(epilog="Example: recommender promote 20260102030405 --label stable --why 'better by 4 %'")(
        promotion.promote
    )
    app.command(epilog="Example: recommender rollback --why 'complaints'")(promotion.rollback)
    app.command(epilog="Example: recommender retire 20260102030405")(promotion.retire)
    app.command(epilog="Example: recommender history")(promotion.history)
    app.add_typer(promotion.canary_app, name="canary")
    app.command(epilog='Example: recommender query --user 42 -k 5; recommender query --history "50,181,1"')(
        serving.query
    )
    app.command(epilog="Example: recommender similar --item 50 -k 5")(serving.similar)


_register()


def main() -> None:
    """Entry point of the console script."""
    if not sys.warnoptions:
        # Google's libraries warn on import about Python versions; nothing here is for the person at the terminal.
        warnings.simplefilter("ignore")
    try:
        app()
    except InputError as error:
        Console(stderr=True).print(f"[red]error[/]: {escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(2)
    except ModuleNotFoundError as error:
        missing = explain(error).message
        Console(stderr=True).print(f"[red]error[/]: {escape(missing)}", soft_wrap=True, highlight=False)
        sys.exit(1)
