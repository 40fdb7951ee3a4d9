"""The command that judges a model that is there already: `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.cli.options import DEFAULT_CONFIG, ConfigOption, OverridesOption, SetOption


def evaluate(
    config: ConfigOption = DEFAULT_CONFIG,
    model: Annotated[
        Optional[str],
        typer.Option(metavar="VERSION|DIR", help="A pushed version's number or a SavedModel; by default the newest."),
    ] = None,
    out: Annotated[Optional[Path], typer.Option(metavar="DIR", help="Keep metrics.json and TFMA's files here.")] = None,
    overrides_file: OverridesOption = None,
    overrides: SetOption = None,
) -> None:
    """Judge a pushed version or any SavedModel of this kind, beside the baselines. Exit code 3: a threshold not met."""
    from pipeline.config import load_config
    from pipeline.evaluate import evaluate as evaluate_model

    raise typer.Exit(evaluate_model(load_config(config, tuple(overrides or ()), overrides_file), model, out))
