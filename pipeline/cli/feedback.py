"""The command that says what became of what was served: `feedback`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.cli.command import command
from pipeline.cli.options import ConfigSource, EventsOption, LogOption
from pipeline.cli.serving import PANEL
from pipeline.terminal import Outcome


@command(
    "feedback",
    "recommender feedback --config shop.yaml --log 'answers/*.jsonl' --out feedback",
    "recommender feedback --config shop.yaml --log answers --out feedback --candidate 20260102030405",
    panel=PANEL,
)
def feedback(
    source: ConfigSource,
    log: LogOption,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The folder for figures, page and training rows.")
    ],
    events: EventsOption = None,
    candidate: Annotated[
        Optional[str],
        typer.Option(
            "--candidate",
            metavar="VERSION|DIR",
            help="Estimate what the lists of this version would have brought, which needn't be served.",
        ),
    ] = None,
) -> Outcome:
    """Join logged answers with later events: clicks and conversions by version, place, source and slice, and training
    rows."""
    from pipeline.feedback.run import feedback as run_feedback

    return run_feedback(source.load(), log or [], out, events, candidate)
