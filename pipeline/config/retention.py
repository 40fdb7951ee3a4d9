"""Settings of `recommender gc`: what it leaves on the disk."""

from __future__ import annotations

from typing import Optional

from pydantic import Field

from components.settings import Settings


class RetentionSettings(Settings):
    """What `recommender gc` leaves; null takes a limit away. Beyond all limits stay what serves, what has a label, what
    a rollback goes back to, the newest version, the newest run, the newest that came to its end, and all that a version
    that stays was made from. Nothing is deleted unless the command is run."""

    versions: Optional[int] = Field(5, ge=1)
    """How many versions stay, the newest."""

    runs: Optional[int] = Field(3, ge=1)
    """Of how many runs the artifacts and metadata stay, the newest."""

    days: Optional[float] = Field(90.0, gt=0)
    """What is older goes: versions, runs, logs, pages, searches of `recommender tune`."""

    logs: Optional[int] = Field(30, ge=1)
    """How many log files stay, the newest."""

    gigabytes: Optional[float] = Field(None, gt=0)
    """How much all of it may take, of 10^9 bytes: beyond that the oldest versions and runs go, too."""
