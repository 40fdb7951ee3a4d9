"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_CONFIG = Path("configs/movielens_100k.yaml")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The config file.")]
