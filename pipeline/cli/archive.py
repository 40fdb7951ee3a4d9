"""The command that packs a version up: `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.cli.options import DEFAULT_CONFIG, ConfigOption, SetOption


def export(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The archive, such as model.tar.gz.")],
    version: Annotated[
        Optional[str],
        typer.Option(metavar="VERSION|DIR", help="A pushed version's number or a SavedModel; by default the newest."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    overrides: SetOption = None,
) -> None:
    """Write a version as one .tar.gz, to be unpacked into a model server's base path."""
    from pipeline.config import load_config
    from pipeline.local.archive import archive

    size = archive(load_config(config, tuple(overrides or ())), out, version)
    typer.echo(f"{out}: {size / 2**20:,.1f} MiB")
