"""The commands that show what runs came to: `report` and `compare`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.markup import escape

from components.errors import InputError
from pipeline.cli.options import DEFAULT_CONFIG, ConfigOption, OverridesOption, SetOption

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.report.history import Run


def report(
    run: Annotated[
        Optional[str], typer.Option(metavar="ID", help="A run's id or how it begins; by default the newest run.")
    ] = None,
    version: Annotated[Optional[str], typer.Option(metavar="VERSION", help="The run that pushed this version.")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("report.html"),
    config: ConfigOption = DEFAULT_CONFIG,
    overrides_file: OverridesOption = None,
    overrides: SetOption = None,
) -> None:
    """Write what a run found out as one HTML page: data, training, metrics, examples of answers, lineage."""
    from pipeline.config import load_config

    if run and version:
        raise InputError("--run and --version exclude each other")
    if version and not version.isdecimal():
        raise InputError(f"--version {version}: a version is a number, see `recommender versions`")

    def write(config: Config) -> str:
        from pipeline.report.write import report as write_report  # TensorFlow takes seconds to import

        return _named(write_report(config, run or version, out))

    raise typer.Exit(_at_terminal(load_config(config, tuple(overrides or ()), overrides_file), write, out))


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A version's number, or a run's id or how it begins.")],
    second: Annotated[str, typer.Argument(metavar="B", help="What is held against it.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("compare.html"),
    config: ConfigOption = DEFAULT_CONFIG,
    overrides_file: OverridesOption = None,
    overrides: SetOption = None,
) -> None:
    """Write two versions or runs beside each other as one HTML page: metrics, settings, data, answers."""
    from pipeline.config import load_config

    def write(config: Config) -> str:
        from pipeline.report.write import compare as write_comparison

        return " and ".join(_named(run) for run in write_comparison(config, first, second, out))

    raise typer.Exit(_at_terminal(load_config(config, tuple(overrides or ()), overrides_file), write, out))


def _at_terminal(config: Config, write: Callable[[Config], str], out: Path) -> int:
    """Writes a page, and says of what and where it is; returns the exit code."""
    from pipeline.failures import DONE
    from pipeline.local.run import at_terminal
    from pipeline.terminal import Terminal, listening

    def work(_: Path, terminal: Terminal) -> int:
        terminal.start("report")
        with listening(terminal):
            what = write(config)
        terminal.console.print(f"{what}: [bold]{escape(str(out.absolute()))}[/]", soft_wrap=True, highlight=False)
        return DONE

    return at_terminal(config, work)


def _named(run: Run) -> str:
    return f"version {run.version}" if run.version else f"run {run.id}"
