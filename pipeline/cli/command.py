"""The program and how its commands are made: what all of them have is here, once.

A command is a function of options and of groups of them (dataclasses of `options.py`), ConfigSource among them, that
returns an Outcome, by which it has `--json`; or None if it becomes another program.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Optional, TypeVar, get_args, get_origin, get_type_hints

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

from pipeline import __version__
from pipeline.cli.options import JsonOption
from pipeline.failures import DONE, EXIT_CODES
from pipeline.terminal import Outcome, json_alone, warn
from pipeline.variables import outdated

F = TypeVar("F", bound=Callable[..., Optional[Outcome]])

NAME_FORMERLY = {"--model": "--name"}
"""What the option for the model's name was called before."""


class CommandError(Exception):
    """A command failed, by no fault of its input: the message says all, and the exit code is 1."""


class _Plain:
    """Help and messages about usage without boxes, unless at a terminal."""

    epilog: Optional[str]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._mode = "rich"
        super().__init__(*arguments, **named)

    @property
    def rich_markup_mode(self) -> Any:
        """Typer's switch between Rich and plain text."""
        at_terminal = sys.stdout.isatty() and sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        return self._mode if at_terminal else None

    @rich_markup_mode.setter
    def rich_markup_mode(self, mode: Any) -> None:
        self._mode = mode

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Writes it as it stands: an example is to be copied, and must not be folded."""
        formatter.write(f"\n{self.epilog}\n")


class _Group(_Plain, TyperGroup):
    """The program, or a command with commands of its own."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Lists the commands by panel, as at a terminal, each with the whole of what it does."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, known in self.commands.items():
            panel = getattr(known, "rich_help_panel", None) or "Commands"
            panels.setdefault(panel, []).append((name, " ".join((known.help or "").split("\n\n")[0].split())))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)


class _Command(_Plain, TyperCommand):
    """A command whose options may have had other names."""

    formerly: Mapping[str, str] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the names of today in the places of former ones, and says so."""
        own = args.index("--") if "--" in args else len(args)
        for place, word in enumerate(args[:own]):
            option, equals, value = word.partition("=")
            if option in self.formerly:
                warn(f"{option} is now {self.formerly[option]}")
                args = [*args[:place], self.formerly[option] + equals + value, *args[place + 1 :]]
        return super().parse_args(ctx, args)


def _made(**settings: Any) -> typer.Typer:
    return typer.Typer(cls=_Group, no_args_is_help=True, rich_markup_mode="rich", **settings)


app = _made(
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\n".join(["Exit codes:", *(f"  {code}  {meaning}" for code, meaning in EXIT_CODES.items())]),
)
canary_app = _made(
    help="Try a version on a share of the users, compare it with the stable one, decide.",
    epilog="Example:\n  recommender canary start 20260102030405 --share 0.05",
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"recommender {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A recommender from a log to a served model: train, judge, push, serve, ask."""


def command(
    name: str, *examples: str, panel: str, of: typer.Typer = app, formerly: Mapping[str, str] = {}
) -> Callable[[F], F]:
    """Makes a command of a function.

    Args:
        name: What it is called.
        *examples: Command lines that its help shows.
        panel: What it stands with in the list of commands.
        of: The program, or the group of commands that it belongs to.
        formerly: Other names that options had, and what they are now; they go on working, with a warning.
    """

    def register(function: F) -> F:
        head = "Example:" if len(examples) == 1 else "Examples:"
        of.command(
            name,
            cls=type("Command", (_Command,), {"formerly": formerly}),
            epilog="\n".join([head, *(f"  {example}" for example in examples)]),
            rich_help_panel=panel,
        )(_with_common_options(function))
        return function

    return register


def _with_common_options(function: Callable[..., Optional[Outcome]]) -> Callable[..., None]:
    """What Typer calls: reads the options, of groups too, calls the function, and prints what came of it."""
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {
        name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint) and name != "return"
    }
    own, grouped = [], []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name not in groups:
            own.append(_option(parameter.name, _annotated(hints[parameter.name]), parameter.default))
    for group in reversed(groups.values()):  # those of the config, which comes first, are shown last
        grouped += _options(group)
    if hints["return"] is Outcome:
        grouped.append(_option("as_json", JsonOption, False))

    @functools.wraps(function)
    def call(as_json: bool = False, **values: Any) -> None:
        made = {
            name: group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        if message := outdated(os.environ):
            warn(message)
        with json_alone() if as_json else contextlib.nullcontext() as write:
            outcome = function(**made, **values)
            if write is not None and outcome is not None and outcome.facts is not None:
                write(outcome.facts)
        if outcome is not None and outcome.show is not None and not as_json:
            outcome.show(Console(highlight=False))
        raise typer.Exit(outcome.exit_code if outcome is not None else DONE)

    parameters = [*own, *grouped]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return call


def _options(group: type) -> list[inspect.Parameter]:
    """A group's options as parameters."""
    hints = get_type_hints(group, include_extras=True)
    return [_option(field.name, hints[field.name], field.default) for field in dataclasses.fields(group)]


def _annotated(hint: Any) -> Any:
    """A parameter's annotation as it was written: before Python 3.11, a default of None makes its hint optional."""
    return next((part for part in get_args(hint) if get_origin(part) is Annotated), hint)


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
