"""Settings of the baselines: which are fitted, and how."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from components.settings import Settings

Name = Literal["popularity", "recent_popularity", "item_knn", "ease", "markov", "content", "ials"]

NAMES: tuple[str, ...] = get_args(Name)

NO_IMPLICIT = (
    "the baseline 'ials' needs the package 'implicit': pip install 'recommender-pipeline[ials]', or leave it out of "
    "evaluation.baselines.names"
)


class BaselineSettings(Settings):
    """The simple recommenders that a model is measured against. Their defaults do best on the latest training events of
    MovieLens-100K."""

    names: tuple[Name, ...] = ("popularity", "recent_popularity", "item_knn", "ease", "markov")
    """Which are fitted: popularity (most events), recent_popularity (most recent events), item_knn (items of the same
    users as those of the history), ease (a linear autoencoder), markov (what followed the newest item), content
    (items with the categories of the history's items), ials (matrix factorisation; needs the extra `ials`)."""
    max_events: PositiveInt = 5_000_000
    """Training events that item_knn, ease, markov and ials are fitted to at most; of more those of some users, drawn by
    a hash. The popular items are counted in all of them."""
    recent_half_life_days: PositiveFloat = 14.0
    """recent_popularity: after how many days an event counts half. Without times the events of a file count alike."""
    item_knn_neighbours: PositiveInt = 200
    """item_knn: how many similar items each item keeps."""
    item_knn_shrinkage: Annotated[float, Field(ge=0)] = 0.0
    """item_knn: common users at which a similarity counts half; pulls those down that few users speak for. Where items
    have few events, 10 to 100 does better."""
    ease_l2: PositiveFloat = 300.0
    """ease: L2 regularisation of the weights. Where items have few events, 50 does better."""
    ease_max_items: PositiveInt = 12_000
    """ease: how many of the most popular items take part; the others have the prior alone. Times the square of it,
    fitting takes 4 bytes of memory, with millions of events up to 16, and 4 on the disk (12,000: 0.6 GB, up to 2.3 GB);
    time grows with its cube (12,000: 30 s on two cores)."""
    ease_prior: Annotated[float, Field(ge=0)] = 0.01
    """ease: weight of log(1 + training events) in an item's score."""
    markov_smoothing: PositiveFloat = 10.0
    """markov: how many transitions the items' popularity weighs as much as."""
    ials_factors: PositiveInt = 64
    """ials: length of the item vectors."""
    ials_regularization: PositiveFloat = 10.0
    """ials: L2 regularisation of the vectors."""
    ials_alpha: PositiveFloat = 1.0
    """ials: confidence of a pair that was seen, where that of any other is 1. Where users have few events, 20 does
    better."""
    ials_iterations: PositiveInt = 15
    """ials: passes over users and items."""

    @field_validator("names")
    @classmethod
    def _named_once(cls, names: tuple[Name, ...]) -> tuple[Name, ...]:
        if len(set(names)) < len(names):
            raise ValueError(f"a baseline is named twice in {', '.join(names)}")
        return names
