"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

DEFAULT_CONFIG = Path("configs/movielens_100k.yaml")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The config file.")]

OverridesOption = Annotated[
    Optional[Path],
    typer.Option("--overrides", metavar="FILE", help="A YAML file whose keys override the config's, as tune writes."),
]

SetOption = Annotated[
    Optional[list[str]],
    typer.Option("--set", help="Override a key of the config, such as model.dim=32. May be given several times."),
]
