"""Settings of the Indexer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class IndexerSettings(BaseModel):
    """What the servable answers when a request leaves it open, and what it remembers."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    default_k: int = Field(10, ge=1)
    """Items answered by the signatures without a k."""

    cold_start: Literal["popularity", "model"] = "popularity"
    """What somebody gets of whom neither the id nor any item is known: the items with most training events, or those
    that the query tower finds for an empty history, which is how training saw each user's first event."""

    stored_history: int = Field(1_000, ge=0)
    """Newest distinct items kept of each training user: what a request without a history is served from, and what such
    a user is not recommended again."""
