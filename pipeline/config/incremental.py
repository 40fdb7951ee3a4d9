"""Runs that read and learn what is new alone."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.settings import Settings


class IncrementalSettings(Settings):
    """Runs that read only new files of the log, and train on from the last shipped model on these; see
    docs/training.md."""

    full_every: int = Field(7, ge=2)
    """Every so many runs one is in full, which chooses settings, vocabularies of features and the linear part anew. So
    is one after a change of the config, of the code, or of a file that was read."""

    linear: Literal["keep", "refit"] = "keep"
    """What becomes of the linear part in the others. keep: it is that of the last run in full. refit: it is fitted to
    all events, with the same shares, which of many items takes the most of a night's time."""

    replay: float = Field(1.0, ge=0)
    """So many events of before are learned again for each new one, of users who are drawn anew each time, so that what
    is new doesn't displace what was learned."""


class Before(Settings):
    """What the last shipped model was made of; URIs of artifacts."""

    version: str
    """Its version."""
    examples: str
    """All events."""
    transform_graph: str
    """Their Transform's graph, what it made of them, and the graph of the items' one."""
    transformed_examples: str
    catalogue_graph: str
    run: str
    """The training's run, with its weights."""
