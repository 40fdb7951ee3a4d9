"""The command that recommends for many users at once: `batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.cli.options import DEFAULT_CONFIG, ConfigOption


def batch(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The CSV file: user_id, top1, top2 …")],
    users: Annotated[
        str, typer.Option(metavar="all|FILE", help="Everybody whom the model knows, or a file with an id a line.")
    ] = "all",
    k: Annotated[
        Optional[int], typer.Option("-k", "--k", help="How many items; by default as the config says.")
    ] = None,
    model: Annotated[
        Optional[str],
        typer.Option(metavar="VERSION|DIR", help="A pushed version's number or a SavedModel; by default the newest."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write the best items of each user to a CSV file, without a model server."""
    from pipeline.batch import batch as write_batch
    from pipeline.config import load_config

    count = write_batch(load_config(config), users, k, out, model)
    typer.echo(f"{count:,} users in {out}")
