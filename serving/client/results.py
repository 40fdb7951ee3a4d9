"""What the client returns: plain, immutable, typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Optional

from serving.client.errors import RecommenderError


@dataclass(frozen=True)
class Recommendation:
    """An item and its score; scores of one list are comparable with each other only."""

    item_id: str
    score: float


@dataclass(frozen=True)
class RecommendationList:
    """The answer to `recommend`, best first unless it was shuffled, padding stripped; behaves as a sequence of
    `Recommendation`s."""

    items: tuple[Recommendation, ...]
    source: str
    """What the list was made from: `user` (a known user), `history` (the request's), `popular` (neither helped), or
    `fallback` (the client's own list, because no server answered; its scores are 0)."""
    version: Optional[int] = None
    """The model's version that answered; None over REST, whose answers do not tell."""
    label: Optional[str] = None
    """The label that was asked, if it was by label: the canary's, or the client's own."""
    error: Optional[RecommenderError] = field(default=None, compare=False)
    """Why the list is the fall-back one."""
    request_id: str = field(default="", compare=False)
    """By which the servers' logs and the answer log have the request."""
    order: Optional[tuple[int, ...]] = None
    """Of a list that was shuffled (see `Exploration`): which place, from 0, each item has by its score."""
    missing: tuple[str, ...] = ()
    """Of a sharded servable: the servers of the shards that did not answer, without whose items the list is."""

    @property
    def fallback(self) -> bool:
        """Whether no server answered, and the items are the client's fall-back list."""
        return self.error is not None

    @property
    def item_ids(self) -> list[str]:
        """The ids alone, best first."""
        return [item.item_id for item in self.items]

    def __iter__(self) -> Iterator[Recommendation]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Recommendation:
        return self.items[index]


@dataclass(frozen=True)
class SimilarItems:
    """The answer to `similar_items`, most similar first, padding stripped; behaves as a sequence."""

    items: tuple[Recommendation, ...]
    known: bool
    """Whether the model knows the item that was asked for; if not, the list says nothing about it."""
    version: Optional[int] = None
    """The model's version that answered; None over REST, whose answers do not tell."""

    @property
    def item_ids(self) -> list[str]:
        """The ids alone, most similar first."""
        return [item.item_id for item in self.items]

    def __iter__(self) -> Iterator[Recommendation]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Recommendation:
        return self.items[index]


@dataclass(frozen=True)
class ScoredUser:
    """A user and their score."""

    user_id: str
    score: float


@dataclass(frozen=True)
class UserList:
    """The answer to `audience` and `similar_users`, best first, padding stripped; behaves as a sequence."""

    users: tuple[ScoredUser, ...]
    known: bool
    """Whether the model knows the item, or the user, that was asked for; if not, the list is empty."""
    version: Optional[int] = None
    """The model's version that answered; None over REST, whose answers do not tell."""

    @property
    def user_ids(self) -> list[str]:
        """The ids alone, best first."""
        return [user.user_id for user in self.users]

    def __iter__(self) -> Iterator[ScoredUser]:
        return iter(self.users)

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: int) -> ScoredUser:
        return self.users[index]


@dataclass(frozen=True)
class Contribution:
    """An item of a history, and what it adds to a score."""

    item_id: str
    value: float


@dataclass(frozen=True)
class Explanation:
    """What a score comes from: the contributions of the history and the parts add up to it."""

    item_id: str
    score: float
    """-inf for an item that the model doesn't know; then nothing adds to it."""
    history: tuple[Contribution, ...]
    """The history that was used, the request's or the stored one, newest first."""
    parts: Mapping[str, float]
    """What else adds to the score, by name: `bias` (the item's own), `user_id`, `feature:…` (of the query), `ranking`
    (the second stage), `popularity` (all that there is where neither user nor history helped), `empty_history` (what an
    empty history says), `tasks` (what the model's tasks say of an item whatever the query) and, by attribution, `rest`
    (what several of all these carry only together)."""
    method: str
    """`exact`: the score is a sum with a term for each item of the history. `attribution`: what an item adds is how
    much less the score would be without it."""

    def top(self, count: int = 3) -> tuple[Contribution, ...]:
        """The up to `count` items of the history that add most, most first; none that takes away."""
        adding = [item for item in self.history if item.value > 0]
        return tuple(sorted(adding, key=lambda item: -item.value)[:count])

    def __str__(self) -> str:
        terms = [(item.value, item.item_id) for item in self.history]
        terms += [(value, name.replace("_", " ")) for name, value in self.parts.items()]
        terms = sorted((term for term in terms if term[0]), key=lambda term: -abs(term[0]))
        listed = ", ".join(f"{name} {value:+.3f}" for value, name in terms)
        return f"{self.item_id}: {self.score:.3f} ({self.method}: {listed or 'nothing'})"


@dataclass(frozen=True)
class ItemDescription:
    """What a person is shown for an item."""

    item_id: str
    display: str
    """Such as the title; empty for an unknown item."""
    known: bool


@dataclass(frozen=True)
class ItemVector:
    """What the candidate tower makes of an item."""

    item_id: str
    embedding: tuple[float, ...]
    """Its D numbers; zeros for an unknown item."""
    bias: float
    known: bool


@dataclass(frozen=True)
class QueryVector:
    """What the query tower makes of a request: an item's score is the product of both vectors, plus its bias."""

    embedding: tuple[float, ...]
    """Its D numbers, to be compared with items' vectors of the same version only."""
    known: bool
    """False where nothing is known of who asks: then the model has popular items, and the vector finds nothing."""
    seen: tuple[str, ...]
    """The items that `recommend` leaves out: those of the history, the request's and a known user's stored one."""
    version: Optional[int] = None
    """The model's version that answered; None over REST, whose answers do not tell."""


@dataclass(frozen=True)
class VersionStatus:
    """State of one version of the model in the server."""

    version: int
    state: str
    """START, LOADING, AVAILABLE, UNLOADING or END."""
    error_code: int = 0
    """0, or the gRPC status code of what went wrong (a version that could not be loaded)."""
    error_message: str = ""

    @property
    def available(self) -> bool:
        """Whether the version answers requests."""
        return self.state == "AVAILABLE"


@dataclass(frozen=True)
class TensorSpec:
    """Type of an input or output of a signature."""

    dtype: str
    """NumPy's name, such as `float32`; `string` for byte strings."""
    shape: Optional[tuple[Optional[int], ...]]
    """None for a dimension that is free; None altogether if even the rank is."""


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of one of the model's signatures."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclass(frozen=True)
class ModelMetadata:
    """What the server tells about a model."""

    name: str
    version: int
    signatures: Mapping[str, Signature]
