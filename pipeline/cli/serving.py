"""The commands that serve a model and ask it: `serve`, `query`, `similar`.

With --target and --model the two that ask need neither a config nor anything that the client doesn't.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.errors import InputError
from pipeline.cli.options import DEFAULT_CONFIG, ConfigOption
from pipeline.terminal import shown
from serving.client import (
    InvalidRequest,
    Recommendation,
    RecommendationList,
    RecommenderClient,
    RecommenderError,
    ServerUnavailable,
)

if TYPE_CHECKING:
    from pipeline.config import Config

_DEFAULT_K = 10

TargetOption = Annotated[
    Optional[str], typer.Option(help="host:port of the model server; by default as the config says.")
]
ModelOption = Annotated[Optional[str], typer.Option(help="The model's name; by default the config's.")]
LabelOption = Annotated[
    Optional[str],
    typer.Option(help="Ask the version with this label, such as stable; by default the newest that is loaded."),
]
TransportOption = Annotated[str, typer.Option(help="grpc or rest.")]
ExcludeOption = Annotated[
    Optional[list[str]],
    typer.Option(help='Items not to return, "id1,id2"; an id with a comma in double quotes. Repeatable.'),
]
ContextOption = Annotated[
    Optional[list[str]],
    typer.Option(
        metavar="NAME=VALUE",
        help="A feature of the request, the value in YAML, such as device=ios, age=30, tags=\\[a,b] or"
        " timestamp=2026-01-31T20:15:00; a text that looks like a number in quotes: zip='\"90210\"'. Repeatable.",
    ),
]
AllowOption = Annotated[
    Optional[list[str]], typer.Option(help="The only items that may be returned, written as for --exclude. Repeatable.")
]
FilterOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--filter",
        metavar="CONDITION",
        help="What all items must fulfil: brand=x (of several with the same name one must do), 'price<=20', 'price>=5'."
        " Repeatable.",
    ),
]
BoostOption = Annotated[
    Optional[list[str]],
    typer.Option(
        metavar="CONDITION:NUMBER",
        help="Add to the scores of items that fulfil a condition: brand=x:0.5. Repeatable.",
    ),
]
DiversityOption = Annotated[
    Optional[float],
    typer.Option(
        help="How much the items are to differ, from 0 (by score alone) to 1; by default as the model has it."
    ),
]
CountOption = Annotated[Optional[int], typer.Option("-k", help="How many items; by default as the config says.")]


@dataclass(frozen=True)
class _Endpoint:
    """Which model to ask where, and for how many items unless told."""

    target: str
    model: str
    label: Optional[str]
    transport: str
    default_k: int


def serve(
    config: ConfigOption = DEFAULT_CONFIG,
    base_path: Annotated[
        Optional[Path], typer.Option(help="Versions lie in BASE_PATH/<model>/<version>; by default as the config says.")
    ] = None,
    model: ModelOption = None,
    port: Annotated[Optional[int], typer.Option(help="gRPC port; 0 picks a free one.", min=0, max=65535)] = None,
    rest_port: Annotated[Optional[int], typer.Option(help="REST port; 0 picks a free one.", min=0, max=65535)] = None,
    host: Annotated[Optional[str], typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = None,
    flags: Annotated[
        Optional[list[str]], typer.Argument(metavar="[-- FLAGS]", help="More flags for the model server, after --.")
    ] = None,
) -> None:
    """Serve a model until Ctrl-C: what was promoted, or before any promotion the newest version as it is pushed.

    Runs tensorflow_model_server where one is on the PATH, else the embedded model server.
    """
    from components.versions import model_dir, newest
    from serving.promotion import WrongPromotion, files
    from serving.server.ports import free_port
    from serving.server.process import EMBEDDED, command, environment, find_model_server

    loaded = _load(config)
    settings, name = loaded.serving, model or loaded.name
    base_path = base_path or settings.base_path
    host = host or settings.host
    port = settings.port if port is None else port
    rest_port = settings.rest_port if rest_port is None else rest_port
    versions = model_dir(base_path, name)
    version = newest(versions)
    if version is None:
        raise InputError(f"{versions}: no version of {name} to serve; make one with `recommender run`")
    try:
        promoted = files.aspired(files.read_config(base_path), name)
    except WrongPromotion as error:
        raise InputError(str(error)) from None
    binary = find_model_server() or EMBEDDED
    if binary != EMBEDDED:
        port, rest_port = port or free_port(), rest_port or free_port()
        if host not in ("0.0.0.0", "::"):
            typer.echo(f"note: tensorflow_model_server listens on all addresses, not only on {host}")
    config_file = files.config_path(base_path) if promoted else None
    arguments = command(
        base_path, name, port=port, rest_port=rest_port, host=host, binary=binary, config_file=config_file
    )
    what = f"version {version.number}"
    if promoted and promoted.labels:
        what = ", ".join(f"{label} version {number}" for label, number in sorted(promoted.labels.items()))
    typer.echo(f"serving {name} {what} from {versions} by {_server_name(binary)}")
    typer.echo(f"gRPC on {host}:{port or '(a free port)'}, REST on {host}:{rest_port or '(a free port)'}; Ctrl-C stops")
    typer.echo(f"ask with: recommender query --user ID{_target_hint(port, settings.port)}")
    sys.stdout.flush()
    # The server takes this process's place, so that signals and the exit code are its own.
    os.execvpe(arguments[0], [*arguments, *(flags or ())], environment())


def query(
    user: Annotated[
        Optional[str], typer.Option(help="Whom to recommend for; nobody in particular if left out.")
    ] = None,
    history: Annotated[
        Optional[list[str]],
        typer.Option(
            help='What they had to do with, newest first, "id1,id2"; an id with a comma in double quotes. Repeatable.'
        ),
    ] = None,
    exclude: ExcludeOption = None,
    context: ContextOption = None,
    allow: AllowOption = None,
    filters: FilterOption = None,
    boost: BoostOption = None,
    diversity: DiversityOption = None,
    k: CountOption = None,
    target: TargetOption = None,
    transport: TransportOption = "grpc",
    model: ModelOption = None,
    label: LabelOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Ask a running model server for recommendations."""
    endpoint = _endpoint(config, target, model, label, transport)
    seen = parse_ids(history or (), "--history")
    excluded = parse_ids(exclude or (), "--exclude")
    features = parse_context(context or ())
    rules = parse_rules(allow, filters, boost, diversity)
    with _client(endpoint) as client:
        answer = client.recommend(user, seen, excluded, endpoint.default_k if k is None else k, features, **rules)
        if answer.items:
            _show(client, answer.items, _version(client, answer.version), endpoint.model)
        typer.echo(_explain(answer, user, seen, bool(allow or filters)))


def similar(
    item: Annotated[str, typer.Option(help="The item's id.")],
    exclude: ExcludeOption = None,
    allow: AllowOption = None,
    filters: FilterOption = None,
    boost: BoostOption = None,
    diversity: DiversityOption = None,
    k: CountOption = None,
    target: TargetOption = None,
    transport: TransportOption = "grpc",
    model: ModelOption = None,
    label: LabelOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Ask a running model server for items similar to one."""
    endpoint = _endpoint(config, target, model, label, transport)
    excluded = parse_ids(exclude or (), "--exclude")
    rules = parse_rules(allow, filters, boost, diversity)
    with _client(endpoint) as client:
        answer = client.similar_items(item, excluded, endpoint.default_k if k is None else k, **rules)
        if not answer.known:
            raise InputError(f"item {item!r}: the model {endpoint.model!r} doesn't know it (ids are matched exactly)")
        if not answer.items:
            typer.echo("nothing is left: every other item is excluded or ruled out")
            return
        (asked,) = client.describe([item])
        _show(client, answer.items, _version(client, answer.version), endpoint.model)
        typer.echo(f"similar to {item} {asked.display}".rstrip())


def parse_ids(values: Sequence[str], option: str) -> list[str]:
    """Reads ids from options that each hold a comma-separated list, quoted as in CSV.

    Args:
        values: such as `['50,181', '"Matrix, The",1']`.
        option: the option's name, for the message.

    Returns:
        All ids in order, such as `['50', '181', 'Matrix, The', '1']`; empty ones are left out.

    Raises:
        InputError: a quote is not closed.
    """
    try:
        rows = [row for value in values for row in csv.reader([value], skipinitialspace=True, strict=True)]
    except csv.Error as error:
        raise InputError(
            f"{option}: {error}; write ids as id1,id2, and one that has a comma or begins with a quote in double"
            " quotes, its own quotes doubled"
        ) from None
    return [item for row in rows for item in row if item]


def parse_context(values: Sequence[str]) -> dict[str, Any]:
    """Reads features of a request from options that each hold `name=value`, the value in YAML.

    Args:
        values: such as `['device=ios', 'age=30']`.

    Returns:
        The features by name, such as `{'device': 'ios', 'age': 30}`.

    Raises:
        InputError: an option is no `name=value`, a value is no YAML, or a name is given twice.
    """
    import yaml

    context: dict[str, Any] = {}
    for option in values:
        name, separator, value = option.partition("=")
        if not separator or not name:
            raise InputError(f"--context {option!r}: expected name=value, such as device=ios")
        if name in context:
            raise InputError(f"--context {option!r}: {name} is given twice; write several values as {name}=[a,b]")
        try:
            context[name] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that doesn't exist
            raise InputError(
                f"--context {option!r}: the value is not valid YAML: {' '.join(str(error).split())}"
            ) from None
    return context


def parse_filters(values: Sequence[str]) -> dict[str, list[str]]:
    """Reads filters from options that each hold a condition.

    Args:
        values: such as `['brand=x', 'brand=y', 'price<=20']`.

    Returns:
        Values by the name with its operator, such as `{'brand=': ['x', 'y'], 'price<=': ['20']}`.

    Raises:
        InputError: an option is no condition.
    """
    filters: dict[str, list[str]] = {}
    for option in values:
        condition = re.fullmatch(r"(\w+(?:<=|>=|=))(.*)", option, re.DOTALL)
        if not condition:
            raise InputError(f"--filter {option!r}: expected name=value, such as brand=x, or price<=20, price>=5")
        filters.setdefault(condition[1], []).append(condition[2])
    return filters


def parse_boosts(values: Sequence[str]) -> dict[str, float]:
    """Reads boosts from options that each hold `condition:number`; of a condition given twice the sum counts.

    Raises:
        InputError: an option is none.
    """
    boosts: dict[str, float] = {}
    for option in values:
        condition, _, by = option.rpartition(":")
        try:
            boosts[condition] = boosts.get(condition, 0.0) + float(by)
        except ValueError:
            condition = ""
        if not condition:
            raise InputError(f"--boost {option!r}: expected condition:number, such as brand=x:0.5")
    return boosts


def parse_rules(
    allow: Optional[list[str]], filters: Optional[list[str]], boost: Optional[list[str]], diversity: Optional[float]
) -> dict[str, Any]:
    """Reads rules from their options; returns them as arguments of the client.

    Raises:
        InputError: an option is written wrongly.
    """
    return {
        "allow": parse_ids(allow, "--allow") if allow else None,
        "filters": parse_filters(filters or ()),
        "boosts": parse_boosts(boost or ()),
        "diversity": diversity,
    }


def _endpoint(
    config: Path, target: Optional[str], model: Optional[str], label: Optional[str], transport: str
) -> _Endpoint:
    if transport not in ("grpc", "rest"):
        raise InputError(f"--transport {transport}: it is grpc or rest")
    if target and model:
        return _Endpoint(target, model, label, transport, _DEFAULT_K)
    loaded = _load(config)
    serving = loaded.serving
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(serving.host, serving.host)
    port = serving.port if transport == "grpc" else serving.rest_port
    return _Endpoint(target or f"{host}:{port}", model or loaded.name, label, transport, serving.default_k)


def _load(config: Path) -> Config:
    from pipeline.config import load_config

    return load_config(config)


@contextmanager
def _client(endpoint: _Endpoint) -> Iterator[RecommenderClient]:
    """A client whose errors end the command with one line and the right exit code."""
    try:
        with RecommenderClient(
            endpoint.target, model=endpoint.model, label=endpoint.label, transport=endpoint.transport
        ) as client:
            yield client
    except InvalidRequest as error:
        raise InputError(str(error)) from None
    except ServerUnavailable:
        _fail(f"no model server at {endpoint.target}: start one with `recommender serve`")
    except RecommenderError as error:
        _fail(str(error))


def _fail(message: str) -> None:
    Console(stderr=True).print(f"[red]error[/]: {escape(message)}", soft_wrap=True, highlight=False)
    raise typer.Exit(1)


def _show(client: RecommenderClient, items: Sequence[Recommendation], version: int, model: str) -> None:
    table = Table(title=f"{escape(model)} version {version}", title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("id", overflow="fold")
    table.add_column("title", overflow="fold")
    table.add_column("score", justify="right")
    described = client.describe([item.item_id for item in items])
    for rank, (item, description) in enumerate(zip(items, described), 1):
        table.add_row(str(rank), shown(item.item_id), shown(description.display), f"{item.score:.4f}")
    Console(highlight=False).print(table)


def _version(client: RecommenderClient, version: Optional[int]) -> int:
    """The version that answered; REST doesn't tell, then it is the one that would answer now."""
    return client.metadata().version if version is None else version


def _explain(answer: RecommendationList, user: Optional[str], history: Sequence[str], ruled: bool) -> str:
    """Says what the list was made from."""
    if not answer.items:
        rest = " or ruled out" if ruled else ""
        return f"nothing is left to recommend: every item was seen or is excluded{rest}"
    unknown = f"user {user} is unknown to the model; " if user else ""
    if answer.source == "user":
        return f"source: user ({user} is known{', served from the history given' if history else ''})"
    if answer.source == "history":
        return f"source: history ({unknown}served from the history given)"
    if history:
        unknown += "none of the history's items is known; "
    return f"source: {answer.source} ({unknown}these are the popular items)"


def _server_name(binary: str) -> str:
    return "the embedded model server" if binary == "embedded" else shlex.quote(binary)


def _target_hint(port: int, configured: int) -> str:
    return "" if port == configured else f" --target localhost:{port or 'PORT'}"
