"""Settings of the ServableValidator."""

from __future__ import annotations

from typing import Optional

from pydantic import Field

from components.settings import Settings


class ServableValidatorSettings(Settings):
    """What the servable must show in the model server before it may be pushed."""

    num_requests: int = Field(100, ge=1)
    """Requests whose latency is measured, over gRPC and over REST each."""

    max_latency_ms: Optional[float] = Field(1_000.0, gt=0)
    """Longest 99th percentile of the latency over gRPC, one request at a time; null for no limit."""

    max_memory_mb: Optional[float] = Field(None, gt=0)
    """Most resident memory in MiB that the model server may need with this model loaded; null for no limit."""

    load_timeout_s: float = Field(300.0, gt=0)
    """Seconds within which the model server must have started and loaded the model."""

    min_overlap: float = Field(0.1, ge=0, le=1)
    """With `serving.ship: all`: least share of the judged model's answers that must be those of the shipped one too,
    beyond what chance would give; 0 for no limit."""

    max_score_drift: Optional[float] = Field(5.0, gt=1)
    """With `serving.ship: all`: how many times as far apart, or as near, as the judged model's the shipped one's scores
    may lie, which requests' boosts are measured in; null for no limit."""
