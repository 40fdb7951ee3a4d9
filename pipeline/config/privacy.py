"""Settings of what is known and shown of users."""

from __future__ import annotations

from typing import Optional

from pydantic import Field

from components.settings import Settings


class PrivacySettings(Settings):
    """What is known and shown of users."""

    show_users: bool = False
    """Whether pages of runs and comparisons, and warnings, name users by their ids. Otherwise they are user 1, user 2
    and so on."""

    suppression: Optional[str] = Field(None, min_length=1)
    """The list of users whom `recommender forget` has forgotten, and whose events are read no more; its key lies beside
    it. By default `<output>/<name>/suppression.json`; it may lie in s3:// or gs://. It must outlive the output folder,
    so a backup has both."""
