"""Settings of the baselines: which are fitted, and how."""

from __future__ import annotations

from typing import Annotated, Literal, Optional, get_args

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator

from components.settings import Settings

Name = Literal[
    "popularity",
    "recent_popularity",
    "item_knn",
    "ease",
    "markov",
    "sequential_knn",
    "slit",
    "session_knn",
    "blend",
    "content",
    "ials",
]

NAMES: tuple[str, ...] = get_args(Name)

NO_IMPLICIT = (
    "the baseline 'ials' needs the package 'implicit': pip install 'recommender-pipeline[ials]', or leave it out of "
    "evaluation.baselines.names"
)


class BaselineSettings(Settings):
    """The simple recommenders that a model is measured against. What is null is chosen from a few values by NDCG@10 on
    the last training event of some users, without the test queries; in doubt it is what does well on many data sets."""

    names: tuple[Name, ...] = (
        "popularity",
        "recent_popularity",
        "item_knn",
        "ease",
        "markov",
        "sequential_knn",
        "slit",
        "session_knn",
        "blend",
    )
    """Which are fitted: popularity (most events), recent_popularity (most recent events), item_knn (items of the same
    users as those of the history), ease (a linear autoencoder), markov (what followed the newest item), sequential_knn
    (what followed each of the history's items within some places), slit (a linear model of what comes next after all of
    the history), session_knn (items of the users with the most alike histories), blend (ease and sequential_knn
    together), content (items with the categories of the history's items), ials (matrix factorisation; needs the extra
    `ials`)."""
    max_events: PositiveInt = 5_000_000
    """Training events that all but the popular items are fitted to at most; of more those of some users, drawn by a
    hash. The popular items are counted in all of them."""
    choice_queries: PositiveInt = 2_000
    """On at most so many users' last training events the parameters that are null are chosen."""
    recent_half_life_days: PositiveFloat = 14.0
    """recent_popularity: after how many days an event counts half. Without times the events of a file count alike."""
    item_knn_neighbours: PositiveInt = 200
    """item_knn: how many similar items each item keeps."""
    item_knn_shrinkage: Optional[NonNegativeFloat] = None
    """item_knn: common users at which a similarity counts half; pulls those down that few users speak for."""
    item_knn_exponent: Optional[NonNegativeFloat] = None
    """item_knn: an item of the history counts (place + 1) to the minus this, the newest at place 0; 0: all alike."""
    ease_l2: Optional[PositiveFloat] = None
    """ease: L2 regularisation of the weights; more where items have many events."""
    ease_exponent: Optional[NonNegativeFloat] = None
    """ease: the same as for item_knn."""
    ease_max_items: PositiveInt = 12_000
    """ease: how many of the most popular items take part; the others have the prior alone. Times the square of it,
    fitting takes 4 bytes of memory, with millions of events up to 16, and 4 on the disk (12,000: 0.6 GB, up to 2.3 GB);
    time grows with its cube (12,000: 30 s on two cores)."""
    ease_prior: NonNegativeFloat = 0.0
    """ease: weight of log(1 + training events) in an item's score."""
    markov_smoothing: PositiveFloat = 10.0
    """markov: how many transitions the items' popularity weighs as much as."""
    sequential_knn_window: PositiveInt = 10
    """sequential_knn: how many places lie between the events of a pair at most; it counts one over the places."""
    sequential_knn_neighbours: PositiveInt = 500
    """sequential_knn: how many following items each item keeps."""
    sequential_knn_half_life: Optional[PositiveFloat] = None
    """sequential_knn: after how many places an item of the history counts half."""
    slit_l2: PositiveFloat = 300.0
    """slit: L2 regularisation of the weights."""
    slit_half_life: Optional[PositiveFloat] = None
    """slit: after how many places an item of the history counts half, also in what it is fitted to."""
    slit_window: PositiveInt = 32
    """slit: how many places before an event are looked at in fitting."""
    slit_max_items: PositiveInt = 6_000
    """slit: how many of the most popular items take part; the others are never recommended. Fitting takes 24 bytes of
    memory times the square of it (6,000: 0.9 GB), and time that grows with its cube (6,000: 20 s on one core)."""
    session_knn_neighbours: PositiveInt = 200
    """session_knn: how many users count."""
    session_knn_half_life: Optional[PositiveFloat] = None
    """session_knn: after how many places an item of the history counts half."""
    blend_share: Optional[Annotated[float, Field(ge=0, le=1)]] = None
    """blend: the share of sequential_knn's scores in the sum, that of ease's being the rest."""
    ials_factors: PositiveInt = 64
    """ials: length of the item vectors."""
    ials_regularization: PositiveFloat = 10.0
    """ials: L2 regularisation of the vectors."""
    ials_alpha: PositiveFloat = 1.0
    """ials: confidence of a pair that was seen, where that of any other is 1. Where users have few events, 20 does
    better."""
    ials_exponent: NonNegativeFloat = 0.5
    """ials: the same as for item_knn, of the confidence."""
    ials_iterations: PositiveInt = 15
    """ials: passes over users and items."""

    @field_validator("names")
    @classmethod
    def _named_once(cls, names: tuple[Name, ...]) -> tuple[Name, ...]:
        if len(set(names)) < len(names):
            raise ValueError(f"a baseline is named twice in {', '.join(names)}")
        return names
