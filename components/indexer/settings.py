"""Settings of the Indexer."""

from __future__ import annotations

from typing import Annotated, Literal, Optional, Union

from pydantic import Field

from components.settings import Settings

Compact = Literal["float32", "float16", "int8"]
Exclude = Union[
    Literal["all", "nothing"], Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
]
"""What is left out of a user's answers: all of their items, none, or those of some types of events."""


NO_SCANN = (
    "serving.index.type scann needs the package scann 1.3.2, which fits TensorFlow 2.16 (TFX 1.16) alone: there "
    "pip install 'recommender-pipeline[scann]', elsewhere set serving.index.type: exact"
)


class ExportSettings(Settings):
    """How the servable is stored."""

    compact: Compact = "float32"
    """Precision of the servable's tables: the items' embeddings, those of histories and of users. float16 halves them,
    int8, with a scale for each row, makes them about a quarter; requests then take somewhat longer."""


class SimilarSettings(Settings):
    """What `similar_items` goes by. The defaults do best on the latest training events of MovieLens-100K."""

    method: Literal["co_occurrence", "embedding"] = "co_occurrence"
    """co_occurrence: what users have near the item, with the candidate tower's embeddings for what few or none had;
    embedding: the cosine of those embeddings alone."""

    window: int = Field(20, ge=1)
    """co_occurrence: how many earlier items of its user an event counts for, at most `history.max_length`; the p-th
    counts 1 / p."""

    max_events: int = Field(5_000_000, ge=1)
    """co_occurrence: training events that are counted at most; of a longer log those of some users, drawn by a hash."""

    dim: int = Field(128, ge=1)
    """co_occurrence: length of the item vectors. More of it finds rarer items, fewer smooth more."""

    popularity_exponent: float = Field(0.4, ge=0, le=1)
    """co_occurrence: how strongly popular items are held back: 0 not at all, 0.5 as a cosine does, 1 most."""

    embedding_weight: float = Field(0.5, ge=0)
    """co_occurrence: weight of the embeddings' cosine, where the vectors of items with events have a mean square length
    of 1. New items are found by it alone."""


class IndexSettings(Settings):
    """How the best items are found. All but `type` is for scann alone."""

    type: Literal["exact", "scann"] = "exact"
    """exact: all items are scored, by TensorFlow's own ops; scann: ScaNN finds candidates, which are then scored. Needs
    the extra `scann`, which there is for TFX 1.16 only, and a model server that has its ops: the embedded one."""

    leaves: Optional[int] = Field(None, ge=1)
    """Parts into which the items are cut; null: the square root of their number."""

    searched: float = Field(0.3, gt=0, le=1)
    """Share of the leaves that a query looks at."""

    candidates: int = Field(300, ge=1)
    """Items that are scored exactly, beside as many as a request asks for and excludes."""

    min_recall: float = Field(0.95, ge=0, le=1)
    """Least share of the exact index's best items that must be found; else the run stops."""

    recall_at: int = Field(10, ge=1)
    """How many best items those are."""

    max_latency_ms: Optional[float] = Field(None, gt=0)
    """Longest median time of a query; null for no limit."""

    queries: int = Field(200, ge=1)
    """Evaluation queries that both are measured on."""


class AnswerSettings(Settings):
    """What the servable answers when a request leaves it open, and what it remembers."""

    default_k: int = Field(10, ge=1)
    """Items answered by the signatures without a k."""

    cold_start: Literal["popularity", "model"] = "popularity"
    """What somebody gets of whom neither the id nor any item is known: the items with most training events, or those
    that the query tower finds for an empty history, which is how training saw each user's first event."""

    stored_history: int = Field(1_000, ge=0)
    """Newest distinct items kept of each training user: what a request without a history is served from, and what such
    a user is not recommended again (see `exclude`)."""

    exclude: Exclude = "all"
    """What is left out of a user's answers unless a request says so itself: all that they had to do with, nothing, or
    the items of some types of events, such as [purchase], of which the newest `stored_history` are kept; a request's
    own history, which tells no types, is then left out no more. What they rejected is left out in any case."""

    similar: SimilarSettings = SimilarSettings()
    """Item to item."""

    index: IndexSettings = IndexSettings()
    """How the best items are found, exactly or nearly so."""

    audience: bool = False
    """Whether the servable answers which users an item is for, and which users are alike: `audience`, `similar_users`.
    It then has a vector of each user of the training events, as precise as `export.compact` says, and their stored
    histories once more, and to make it all items are scored for each of these users."""

    only_listed: bool = False
    """Whether items that the log has, but the catalogue doesn't list, are left out of all answers. What was listed when
    the model was trained, and is listed no more, `recommender reindex` leaves out in either case."""

    filters: tuple[str, ...] = ()
    """Features of the catalogue by which requests can filter and boost items: categories and numbers."""

    diversity: float = Field(0.0, ge=0, le=1)
    """How much recommendations are to differ from each other (maximal marginal relevance; 1 - lambda), unless a request
    says so itself: 0 is by score alone, 1 by difference alone."""

    diversity_candidates: int = Field(100, ge=1)
    """Of how many best items a diverse list is chosen; at least of k."""


class IndexerSettings(AnswerSettings, ExportSettings):
    """All that the Indexer goes by."""
