"""The command that recommends for many users at once: `batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from components.errors import InputError
from pipeline.cli.options import DEFAULT_CONFIG, ConfigOption, SetOption
from pipeline.cli.serving import (
    AllowOption,
    BoostOption,
    ContextOption,
    DiversityOption,
    ExcludeOption,
    FilterOption,
    parse_context,
    parse_ids,
    parse_rules,
)


def batch(
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE|DIR",
            help="A .csv, .parquet or .tfrecord file; a name without an ending is a folder of files.",
        ),
    ],
    users: Annotated[
        str,
        typer.Option(
            metavar="all|FILE",
            help="Everybody whom the model knows, a file with an id a line, or JSON lines (.jsonl) of user_id, history,"
            " exclude and context.",
        ),
    ] = "all",
    k: Annotated[
        Optional[int], typer.Option("-k", "--k", help="How many items; by default as the config says.")
    ] = None,
    file_format: Annotated[
        Optional[str],
        typer.Option("--format", metavar="FORMAT", help="csv, parquet or tfrecord; by default as --out ends."),
    ] = None,
    layout: Annotated[
        Optional[str],
        typer.Option(
            metavar="LAYOUT",
            help="wide: user_id, top1, top2 …, as CSV has it by default; long: user_id, rank, item_id, title, score,"
            " source, version.",
        ),
    ] = None,
    exclude: ExcludeOption = None,
    context: ContextOption = None,
    allow: AllowOption = None,
    filters: FilterOption = None,
    boost: BoostOption = None,
    diversity: DiversityOption = None,
    model: Annotated[
        Optional[str],
        typer.Option(metavar="VERSION|DIR", help="A pushed version's number or a SavedModel; by default the newest."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    overrides: SetOption = None,
) -> None:
    """Write the best items of many users to files, without a model server. Goes on where it was stopped."""
    from pipeline.batch.answers import Wish
    from pipeline.batch.outputs import output_of
    from pipeline.batch.run import Request
    from pipeline.batch.run import batch as write_batch
    from pipeline.config import load_config
    from serving.client import InvalidRequest
    from serving.client.calls import checked_rules

    loaded = load_config(config, tuple(overrides or ()))
    try:
        rules = checked_rules(**parse_rules(allow, filters, boost, diversity))
    except InvalidRequest as error:
        raise InputError(str(error)) from None
    wish = Wish(
        k=loaded.serving.default_k if k is None else k,
        exclude=tuple(parse_ids(exclude or (), "--exclude")),
        allow=tuple(rules.allow),
        filters=tuple(rules.filters),
        boosts=tuple(rules.boosts),
        diversity=rules.diversity,
    )
    request = Request(wish, output_of(out, file_format, layout), users, parse_context(context or ()))
    raise typer.Exit(write_batch(loaded, request, model))
