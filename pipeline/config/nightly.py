"""Settings of the nights: what becomes of what was pushed, what follows, and who is told."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Optional

from pydantic import Field, model_validator

from components.settings import Settings

Share = Annotated[float, Field(ge=0, le=1)]
_Text = Annotated[str, Field(min_length=1)]
VARIABLE = re.compile(r"\$\{(\w+)\}")
"""A variable of the environment in a URL of `notify`."""


class TrialSettings(Settings):
    """How a version is tried before it becomes `stable`; the limits are those of `recommender canary compare`."""

    share: Share = 0.1
    """The share of the users that it answers meanwhile."""

    hours: float = Field(0.0, ge=0)
    """How long it answers them before it is decided on. With 0 the night that pushed it decides; else the first call
    after that time does, and the nights between go on without it."""

    num_queries: int = Field(200, ge=1)
    """How many queries both versions are asked."""

    max_error_rate: Share = 0.0
    """How far its share of errors may be above that of the stable version."""

    max_p99_ratio: float = Field(2.0, ge=0)
    """How many times the stable version's p99 its own may be; 5 ms more are always allowed."""

    min_overlap: Share = 0.1
    """The least mean share of items that both recommend."""

    outcome: Optional[Literal["clicks", "conversions"]] = None
    """What users do that decides beside these limits, by `nightly.answers` (docs/operations.md): the trial goes on
    until they have decided. By default the limits alone do."""

    min_effect: float = Field(0.05, gt=0, le=1)
    """The least difference of the outcome that matters, as a share of what the stable version's users do."""

    alpha: float = Field(0.05, ge=1e-6, le=0.5)
    """The chance that users decide wrongly, however many nights a trial takes."""

    better: bool = False
    """Whether the users' outcome must be better for a version to become stable; else it must not be worse by
    `min_effect`."""


class NightlySettings(Settings):
    """What `recommender nightly` does beside a run, and what `recommender status` finds wrong. See
    docs/operations.md."""

    release: Literal["canary", "stable", "none"] = "canary"
    """What becomes of a new version. canary: it is tried as `canary`, compared, and becomes `stable` or goes back.
    stable: it becomes that at once. none: labels stay where they are. The first version of all becomes `stable`."""

    trial: TrialSettings = TrialSettings()
    """The trial."""

    answers: tuple[_Text, ...] = ()
    """Logs of answers, files, globs or folders, that are held against events after each run, as `recommender feedback`
    does; without any nothing is."""

    gc: bool = True
    """Whether what `retention` does not keep goes after each run, as by `recommender gc`."""

    skip_down: bool = False
    """Whether labels move although a replica does not answer, which must then start again from models.config; else
    they wait for it."""

    notify: tuple[_Text, ...] = ()
    """Who is told of what a person must know: Apprise's URLs, such as `json://host/path` for a webhook or
    `mailtos://user:${SMTP_PASSWORD}@host?to=ops@host`. `${NAME}` is that variable of the environment, escaped as a part
    of a URL; where it is all, it is the URL. Needs the package apprise."""

    notify_of: Literal["problems", "changes"] = "problems"
    """Whether they are told of problems alone, or of new stable versions too."""

    max_age_days: Optional[Annotated[float, Field(gt=0)]] = 7.0
    """How old the newest event may be that the stable version was made from, before `status` finds that wrong; null for
    any age."""

    max_silence_hours: Optional[Annotated[float, Field(gt=0)]] = 36.0
    """How long ago the last night may have come to its end, likewise."""

    @model_validator(mode="after")
    def _users_are_logged(self) -> NightlySettings:
        if self.trial.outcome is not None and not self.answers:
            raise ValueError("nightly.trial.outcome needs nightly.answers, the logs that say who was shown what")
        return self
