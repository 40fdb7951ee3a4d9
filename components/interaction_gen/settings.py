"""The settings of InteractionGen: how the log looks, what is kept, how it is split."""

from typing import Annotated, Literal, Optional, Union

from pydantic import AfterValidator, Field, model_validator

from components.settings import Settings
from components.tables.features import Features, column_of
from components.tables.formats import TableSettings, TimeForm, TimeZone

_Column = Annotated[str, Field(min_length=1)]


def _check_weight(weight: float) -> float:
    if not weight:
        raise ValueError("a weight is above 0, or below it for what speaks against an item")
    return weight


_Weight = Annotated[float, Field(ge=-1e6, le=1e6), AfterValidator(_check_weight)]


class Columns(Settings):
    """Which columns of the log hold what."""

    user_id: _Column = "user_id"
    """Who."""
    item_id: _Column = "item_id"
    """What."""
    timestamp: Optional[_Column] = "timestamp"
    """When. Without it (null) the order of the rows is the order of time."""
    rating: Optional[_Column] = None
    """How much, if the log has ratings."""
    event: Optional[_Column] = None
    """The type of the event (view, purchase...), if the log has types."""
    weight: Optional[_Column] = None
    """How much the event counts, such as the time spent. Rows where it is 0 or less are dropped."""


class History(Settings):
    """How much of a user's past an example carries."""

    max_length: int = Field(default=200, ge=0, le=10_000)
    """The newest items of the past, repetitions included, that `history` holds."""
    max_seen: int = Field(default=1000, ge=0, le=10_000)
    """The newest distinct items that `seen` holds in the evaluation split."""
    ties: Literal["exclude", "log_order"] = "exclude"
    """The user's other events at the very time of the event. exclude: none is in its history. log_order: those that
    stand earlier in the log are, for logs whose clock is coarser than their order."""


class Split(Settings):
    """How the log is divided into training and evaluation events."""

    method: Literal["time", "leave_last_n", "hash", "files"] = "time"
    """time: the newest events are for evaluation. leave_last_n: each user's newest n. hash: events at random; that
    leaks the future into training, histories apart. files: as the given files."""
    eval_fraction: float = Field(default=0.2, gt=0, lt=1)
    """The share of events for evaluation (time, hash)."""
    n: int = Field(default=1, ge=1)
    """Events of each user for evaluation (leave_last_n). Users who have no more than that stay in training."""
    eval_path: Optional[str] = Field(default=None, min_length=1)
    """The evaluation files, a path or a glob (files)."""

    @model_validator(mode="after")
    def _complete(self) -> "Split":
        if (self.method == "files") != (self.eval_path is not None):
            raise ValueError("split.eval_path is needed with split.method files, and only there")
        return self


class Users(TableSettings):
    """The table of users whose features are joined onto their events. Its path is given beside the settings."""

    id: _Column = "user_id"
    """The column with the user's id."""
    features: Features = Field(default_factory=dict)
    """Features of the user, by name."""


class InteractionSettings(TableSettings):
    """How to read, clean and split a log of interactions."""

    columns: Columns = Field(default_factory=Columns)
    """Which columns hold what."""
    spread: bool = False
    """Whether a row holds a list of items, such as all those of a session, and is spread out into an event for each, in
    the order of the list, by a microsecond each where the row has one time for all. Other columns of lists of the same
    length go along."""
    separator: str = Field(default="|", min_length=1)
    """What stands between the items in a text file (spread)."""
    clicked: Optional[str] = Field(default=None, min_length=1)
    """What an item ends in that was clicked, such as "-1" in `N55689-1 N35729-0`, a list of all that were shown. It is
    taken off, and items without it are dropped."""
    timestamp_unit: Literal["auto", "s", "ms", "us", "ns", "days", "excel", "iso"] = "auto"
    """Unit of numeric timestamps since 1970, excel for the days of a spreadsheet, or iso for ISO 8601 text. auto looks
    at the first rows. Parquet's own timestamps know their unit."""
    timestamp_format: Optional[TimeForm] = None
    """The form of timestamps in text that are not ISO 8601, as Python's strptime takes it, such as "%d.%m.%Y %H:%M". %Z
    stands for the letters of a zone, such as CEST; those that several zones have, such as CST, need `timezone`."""
    timezone: Optional[TimeZone] = None
    """The time zone of timestamps without an offset, such as Europe/Berlin; UTC if not given. Of an hour that clocks
    showed twice the first is meant. Numbers count from 1970 in UTC."""
    earliest_year: Optional[Annotated[int, Field(ge=1, le=9999)]] = None
    """Rows of an earlier year can't be used, as those whose missing time is written as 0, which is 1970."""
    event_weights: dict[str, _Weight] = Field(default_factory=dict)
    """Weight by type of event; events of other types are dropped. Without it all types are kept with weight 1. A weight
    below 0 is that of a negative event, such as a dislike, a return or a skip: the model learns that the item is not
    what follows, it is in no history, is left out of the user's answers until a later event with it is none, and is
    never what an answer is judged by."""
    never_again: tuple[_Column, ...] = ()
    """Types of negative events that no later one takes back, such as a "never show me this". They weigh -1 unless
    `event_weights` says more."""
    rating_weights: dict[Annotated[float, Field(allow_inf_nan=False)], _Weight] = Field(default_factory=dict)
    """Weight by rating, multiplied with the one of the event's type. A rating that is not listed has the weight of the
    nearest one that is, the lower of two. Without it ratings weigh nothing. Below 0 as of event types."""
    weight_transform: Literal["none", "log"] = "none"
    """What becomes of the column `weight` before it is multiplied with the others. log: log(1 + value), for times and
    amounts, of which a few are huge. Only ratios of weights count: training scales them to a mean of 1."""
    rating_range: Optional[tuple[float, float]] = None
    """Lowest and highest rating that make sense; the ExampleValidator stops the run at others."""
    min_rating: Optional[float] = None
    """Events rated lower are dropped."""
    drop_unrated: bool = False
    """Whether events without a rating are dropped like these; otherwise they are rows that can't be used."""
    deduplicate: Union[bool, Literal["user_item"]] = True
    """Drop an event with the user, item and timestamp of an earlier row. user_item: each user's first event with an
    item is the only one, for logs in which people come back to the same items, which they aren't recommended anyway."""
    top_users: Optional[int] = Field(default=None, ge=1)
    """Only so many users are kept, those with the most events; with the time and files splits only training events
    count. Of users with equally many the first by id are."""
    max_user_events: Optional[int] = Field(default=None, ge=1)
    """Of each user only so many events are kept, the newest, against bots: with the time and files splits so many for
    training and as many for evaluation, else so many in all. The others are gone from histories too."""
    max_item_events: Optional[int] = Field(default=None, ge=1)
    """Of each item only so many events are kept, the newest, after those of users. With the time and files splits only
    training events count and are dropped; histories still hold them."""
    window_days: Optional[float] = Field(default=None, gt=0)
    """Only events of so many days before the newest one are kept; the others are gone from histories too."""
    half_life: Optional[float] = Field(default=None, gt=0)
    """Days after which a training event weighs half, counted back from the cut of the split by time, or else from the
    newest event."""
    min_user_events: int = Field(default=1, ge=1)
    """Users with fewer events are dropped. With the time and files splits only training events count and are dropped,
    so that nothing of the future decides what is trained on; histories still hold them."""
    min_item_events: int = Field(default=1, ge=1)
    """Items with fewer events, after the users were dropped, are dropped likewise."""
    features: Features = Field(default_factory=dict)
    """Features of the event, by name."""
    users: Optional[Users] = None
    """The table of users, if there is one."""
    history: History = Field(default_factory=History)
    """How much of a user's past an example carries."""
    split: Split = Field(default_factory=Split)
    """How the log is divided into training and evaluation events."""
    max_rejected_fraction: float = Field(default=0.01, ge=0, le=1)
    """The run stops when more than this share of the rows can't be used (not counting rows dropped by a rule)."""
    partitions: int = Field(default=0, ge=0, le=10_000)
    """Into how many parts, by user, the work and the output are divided; 0 goes by the files' size."""

    @model_validator(mode="after")
    def _consistent(self) -> "InteractionSettings":
        if self.timestamp_format is not None and self.timestamp_unit != "auto":
            raise ValueError("timestamp_format is for times in text: leave out timestamp_unit")
        for name in ("event_weights", "never_again"):
            if getattr(self, name) and self.columns.event is None:
                raise ValueError(f"{name} needs columns.event")
        for name in self.never_again:
            if self.event_weights.get(name, -1.0) > 0:
                raise ValueError(f"never_again: {name!r} has a weight above 0 in event_weights")
        for name in ("rating_weights", "min_rating", "rating_range", "drop_unrated"):
            if getattr(self, name) not in (None, {}, False) and self.columns.rating is None:
                raise ValueError(f"{name} needs columns.rating")
        for name in ("half_life", "earliest_year"):
            if getattr(self, name) is not None and self.columns.timestamp is None:
                raise ValueError(f"{name} needs columns.timestamp")
        if self.separator != "|" and not self.spread:
            raise ValueError("separator is for rows that hold lists of items: set spread: true")
        if self.weight_transform != "none" and self.columns.weight is None:
            raise ValueError("weight_transform needs columns.weight")
        if self.rating_range is not None and not self.rating_range[0] < self.rating_range[1]:
            raise ValueError("rating_range must be the lowest and the highest rating")
        if self.users is not None:
            both = sorted(set(self.features) & set(self.users.features))
            if both:
                raise ValueError(f"features and users.features both have {', '.join(both)}")
        return self

    @property
    def has_negatives(self) -> bool:
        """Whether events may be negative."""
        weights = (*self.event_weights.values(), *self.rating_weights.values())
        return bool(self.never_again) or any(weight < 0 for weight in weights)

    @property
    def weight_of_type(self) -> dict[str, float]:
        """The weights of the types of events that are kept, all of them where it is empty."""
        if not self.event_weights:
            return {}
        return {**dict.fromkeys(self.never_again, -1.0), **self.event_weights}

    def log_columns(self) -> dict[str, str]:
        """Returns the columns to read from the log, by the setting that names them."""
        named = {f"columns.{key}": value for key, value in self.columns.model_dump().items() if value is not None}
        features = {f"features.{name}": column_of(name, feature) for name, feature in self.features.items()}
        return named | features
