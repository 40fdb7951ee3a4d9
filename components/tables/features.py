"""Side features: how a column of the log, of the users or of the catalogue becomes a typed feature of the examples."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Optional, TypeVar

from pydantic import AfterValidator, Field, model_validator

from components.settings import Settings
from components.tables import encoders

RESERVED_NAMES = frozenset(
    {
        *("user_id", "item_id", "timestamp", "weight", "rating", "event", "history", "seen", "user_type", "display"),
        *("history_length", "item_popularity"),
        *("exclude", "k", "allow", "filter", "boost", "boost_by", "diversity", "leave_out"),
    }
)
"""Features that the generators make themselves, what the Evaluator makes slices of, and what a request's Example holds
beside features (docs/architecture.md); a side feature can't have their names."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class Feature(Settings):
    """One side feature and the column that it is read from."""

    type: Literal["category", "categories", "number", "text"]
    """category: one value of a set; categories: any number of them; number: a float; text: words."""
    column: Optional[str] = Field(default=None, min_length=1)
    """The column's name in the file, or the path to what lies deeper in one, such as style.color; the feature's own
    name if not given."""
    separator: str = Field(default="|", min_length=1)
    """What stands between the values of `categories` in a text file."""
    min: Optional[float] = Field(default=None, allow_inf_nan=False)
    """Smallest allowed `number`."""
    max: Optional[float] = Field(default=None, allow_inf_nan=False)
    """Largest allowed `number`."""
    values: Optional[tuple[str, ...]] = Field(default=None, min_length=1)
    """All allowed values of a `category`; any if not given."""

    @model_validator(mode="after")
    def _fits_type(self) -> "Feature":
        if self.type != "number" and (self.min is not None or self.max is not None):
            raise ValueError(f"min and max are for features of type number, not {self.type}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        if self.type != "category" and self.values is not None:
            raise ValueError(f"values is for features of type category, not {self.type}")
        return self


class ItemFeature(Feature):
    """One side feature of the items and the column that it is read from."""

    type: Literal["category", "categories", "number", "text", "vector"]  # type: ignore[assignment]  # one more
    """category: one value of a set; categories: any number of them; number: a float; text: words; vector: an embedding
    that is given, a list of numbers or its text (as long for all items, scaled to length 1), or a row of a file at
    `path`."""
    dim: Optional[int] = Field(default=None, ge=1, le=8192)
    """How many numbers a `vector` has; by default as many as the data say, which `recommender compile` doesn't see."""
    path: Optional[str] = Field(default=None, min_length=1)
    """A `.npy` file with a `vector` a row, of the items in `ids`, instead of a column of the catalogue."""
    ids: Optional[str] = Field(default=None, min_length=1)
    """Whose the rows of `path` are: a text file with an item's id a line, a `.npy` file of ids, or a table that has
    them in `column`, by default in the catalogue's `item_id`."""
    encoder: Optional[encoders.Name] = None
    """Makes of a `text` one vector that says what it is about, instead of its words: wordllama (needs the extra
    `text`). The same column can be two features, one with and one without."""

    @model_validator(mode="after")
    def _encodes_text(self) -> "ItemFeature":
        if self.encoder is not None and self.type != "text":
            raise ValueError(f"encoder is for features of type text, not {self.type}")
        return self

    @model_validator(mode="after")
    def _gives_vectors(self) -> "ItemFeature":
        given = [name for name in ("dim", "path", "ids") if getattr(self, name) is not None]
        if given and self.type != "vector":
            raise ValueError(f"{given[0]} is for features of type vector, not {self.type}")
        if (self.path is None) != (self.ids is None):
            raise ValueError("path and ids belong together: the vectors, and the items whose they are")
        return self

    @property
    def kind(self) -> str:
        """What the model gets: `type`, `vector` of an encoded text, or `embedding` of a vector that is given."""
        if self.type == "vector":
            return "embedding"
        return self.type if self.encoder is None else "vector"


def column_of(name: str, feature: Feature) -> str:
    """Returns the column that the feature called `name` is read from."""
    return feature.column or name


_Some = TypeVar("_Some", bound=Mapping[str, Feature])


def _check_names(features: _Some) -> _Some:
    for name in features:
        if not _NAME.fullmatch(name):
            raise ValueError(f"feature name {name!r} must be a letter followed by letters, digits and underscores")
        if name in RESERVED_NAMES:
            raise ValueError(
                f"feature name {name!r} is reserved; choose another name and give the column as `column: {name}`"
            )
    return features


Features = Annotated[dict[str, Feature], AfterValidator(_check_names)]
"""Features by name, the names checked."""

ItemFeatures = Annotated[dict[str, ItemFeature], AfterValidator(_check_names)]
"""The same, of items."""
