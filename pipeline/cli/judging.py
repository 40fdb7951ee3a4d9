"""The commands that judge models that are there already: `evaluate`, `report`, `compare`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.markup import escape

from components.errors import InputError
from pipeline.cli.command import command
from pipeline.cli.options import ConfigSource, LabelOption, NumberOption, VersionOption
from pipeline.terminal import Outcome

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.report.history import Run

_PANEL = "Judge a model"


@command(
    "evaluate",
    "recommender evaluate --version 20260102030405 --out evaluation",
    "recommender evaluate --label stable --json",
    panel=_PANEL,
    formerly={"--model": "--version"},
)
def evaluate(
    source: ConfigSource,
    version: VersionOption = None,
    label: LabelOption = None,
    out: Annotated[
        Optional[Path], typer.Option("--out", "-o", metavar="DIR", help="Keep metrics.json and TFMA's files here.")
    ] = None,
) -> Outcome:
    """Judge a pushed version or any SavedModel of this kind, beside the baselines. Exit code 3: a threshold not met."""
    from pipeline.local.evaluate import evaluate as evaluate_model

    if version and label:
        raise InputError("--version and --label exclude each other")
    config = source.load()
    if label:
        version = str(labelled(config, label))
    return evaluate_model(config, version, out)


@command(
    "report",
    "recommender report --version 20260102030405 --out report.html",
    panel=_PANEL,
)
def report(
    source: ConfigSource,
    run: Annotated[
        Optional[str],
        typer.Option("--run", metavar="ID", help="A run's id or how it begins; by default the newest run."),
    ] = None,
    version: NumberOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The page.")] = Path("report.html"),
) -> Outcome:
    """Write what a run found out as one HTML page: data, training, metrics, examples of answers, lineage."""
    if run and version:
        raise InputError("--run and --version exclude each other")

    def write(config: Config) -> list[Run]:
        from pipeline.report.write import report as write_report  # TensorFlow takes seconds to import

        return [write_report(config, str(version) if version else run, out)]

    return _written(source.load(), write, out)


@command(
    "compare",
    "recommender compare 20260102030405 20260103030405 --out compare.html",
    panel=_PANEL,
)
def compare(
    source: ConfigSource,
    first: Annotated[str, typer.Argument(metavar="A", help="A version's number, or a run's id or how it begins.")],
    second: Annotated[str, typer.Argument(metavar="B", help="What is held against it.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The page.")] = Path("compare.html"),
) -> Outcome:
    """Write two versions or runs beside each other as one HTML page: metrics, settings, data, answers."""

    def write(config: Config) -> list[Run]:
        from pipeline.report.write import compare as write_comparison

        return list(write_comparison(config, first, second, out))

    return _written(source.load(), write, out)


def labelled(config: Config, label: str) -> int:
    """The version with a label.

    Raises:
        InputError: No version has it, or models.config can't be read.
    """
    from serving.promotion import WrongPromotion, files

    try:
        found = files.aspired(files.read_config(config.serving.base_path), config.name)
    except WrongPromotion as error:
        raise InputError(str(error)) from None
    labels: Mapping[str, int] = found.labels if found else {}
    if label not in labels:
        raise InputError(f"--label {label}: no version has it (there are: {', '.join(sorted(labels)) or 'none'})")
    return labels[label]


def _written(config: Config, write: Callable[[Config], list[Run]], out: Path) -> Outcome:
    """Writes a page, and says of what and where it is."""
    from pipeline.local.output import refresh
    from pipeline.local.run import at_terminal
    from pipeline.terminal import Terminal, listening

    def work(_: Path, terminal: Terminal) -> Outcome:
        terminal.start("report")
        with listening(terminal):
            refresh(config)
            runs = write(config)
        what = " and ".join(f"version {run.version}" if run.version else f"run {run.id}" for run in runs)
        terminal.console.print(f"{what}: [bold]{escape(str(out.absolute()))}[/]", soft_wrap=True, highlight=False)
        return Outcome(facts={"out": out.absolute(), "runs": [_facts(run) for run in runs]})

    return at_terminal(config, work)


def _facts(run: Run) -> dict[str, Any]:
    """What a run came to."""
    from components.evaluation_report import load_report

    evaluation = run.output("Evaluator", "evaluation")
    return {
        "run": run.id,
        "version": int(run.version) if run.version else None,
        "failure": run.failure or None,
        "nodes": [
            {"node": node.name, "state": node.state, "seconds": node.seconds, "summary": node.summary}
            for node in run.nodes.values()
        ],
        "evaluation": load_report(evaluation.uri) if evaluation is not None else None,
    }
