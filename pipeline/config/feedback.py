"""Settings of the feedback: which later events an answer is held against."""

from __future__ import annotations

from typing import Annotated, Optional

from pydantic import Field, model_validator

from components.settings import Settings

_Name = Annotated[str, Field(min_length=1)]


class FeedbackSettings(Settings):
    """What `recommender feedback` makes of logged answers and later events. See docs/operations.md."""

    clicks: tuple[_Name, ...] = ()
    """Types of events (`data.interactions.columns.event`) that are clicks; by default all but the conversions and the
    negative ones."""

    conversions: tuple[_Name, ...] = ()
    """Types of events that are conversions, such as purchases."""

    window_hours: float = Field(24.0, gt=0)
    """How long after an answer an event of its user with an item of it may come to be ascribed to it. An event is
    ascribed to the latest answer with the item before it."""

    conversion_window_hours: Optional[Annotated[float, Field(gt=0)]] = None
    """The same of conversions; by default as `window_hours`."""

    clock_seconds: float = Field(1.0, ge=0)
    """How far the log's times may be behind those of the answers: an event that is so much earlier still counts as
    later. A log of whole seconds is behind by up to one."""

    user_hours: float = Field(24.0, gt=0)
    """In a trial that is judged by what users did (`recommender canary compare --log`) each user counts once, with what
    came of the lists of so many hours from their first on."""

    slices: tuple[_Name, ...] = ()
    """Features of the logged context by whose values figures are told too."""

    key_env: Optional[_Name] = None
    """The variable of the environment with the key of the log's pseudonyms; without it users are logged by their
    ids."""

    least_impressions: int = Field(1, ge=1)
    """An item becomes a negative event of a user when it was shown to them in so many lists and never taken."""

    impression_event: _Name = "impression"
    """The type of the training rows of what was shown and not taken; give it a weight below 0 in
    `data.interactions.event_weights`."""

    clip: float = Field(100.0, ge=1)
    """The largest weight of a click in off-policy estimates and in training rows: less noise, at the price of too low
    an estimate."""

    examination: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    """How likely an item at each place is to be looked at, from the first on, for the estimate by the position-based
    model and the weights of training rows. By default it is estimated from shuffled answers. Where there are none the
    estimate goes by the clicks of all, which are more at the front for better items stand there, and the rows have no
    weights."""

    @model_validator(mode="after")
    def _types_are_apart(self) -> FeedbackSettings:
        both = sorted(set(self.clicks) & set(self.conversions))
        if both:
            raise ValueError(f"feedback.clicks and feedback.conversions both have {', '.join(both)}")
        return self
