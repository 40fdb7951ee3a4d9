"""The command that judges a model that is there already: `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from components.errors import InputError
from pipeline.cli.options import DEFAULT_CONFIG, ConfigOption, OverridesOption, SetOption

if TYPE_CHECKING:
    from pipeline.config import Config


def evaluate(
    config: ConfigOption = DEFAULT_CONFIG,
    model: Annotated[
        Optional[str],
        typer.Option(metavar="VERSION|DIR", help="A pushed version's number or a SavedModel; by default the newest."),
    ] = None,
    label: Annotated[Optional[str], typer.Option(help="The version with this label, such as stable.")] = None,
    out: Annotated[Optional[Path], typer.Option(metavar="DIR", help="Keep metrics.json and TFMA's files here.")] = None,
    overrides_file: OverridesOption = None,
    overrides: SetOption = None,
) -> None:
    """Judge a pushed version or any SavedModel of this kind, beside the baselines. Exit code 3: a threshold not met."""
    from pipeline.config import load_config
    from pipeline.local.evaluate import evaluate as evaluate_model

    if model and label:
        raise InputError("--model and --label exclude each other")
    loaded = load_config(config, tuple(overrides or ()), overrides_file)
    if label:
        model = str(_labelled(loaded, label))
    raise typer.Exit(evaluate_model(loaded, model, out))


def _labelled(config: Config, label: str) -> int:
    from serving.promotion import WrongPromotion, files

    try:
        found = files.aspired(files.read_config(config.serving.base_path), config.name)
    except WrongPromotion as error:
        raise InputError(str(error)) from None
    labels = found.labels if found else {}
    if label not in labels:
        raise InputError(f"--label {label}: no version has it (there are: {', '.join(sorted(labels)) or 'none'})")
    return labels[label]
