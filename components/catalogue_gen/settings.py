"""The settings of CatalogueGen: how the catalogue looks and what of it is kept."""

import string
from typing import Annotated, Literal, Optional

from pydantic import AfterValidator, Field

from components.tables import encoders
from components.tables.features import ItemFeature, ItemFeatures, column_of
from components.tables.formats import TableSettings


def display_columns(template: str) -> list[str]:
    """Returns the columns that a display template such as "{title} ({year})" names, in their order.

    Raises:
        ValueError: The template is malformed, or has something else than plain columns in braces.
    """
    columns = []
    for _, column, spec, conversion in string.Formatter().parse(template):
        if column is None:
            continue
        if not column or spec or conversion:
            raise ValueError(f"display {template!r} may hold only columns in braces, such as {{title}}")
        columns.append(column)
    if not columns:
        raise ValueError(f"display {template!r} names no column; write one in braces, such as {{title}}")
    return columns


def _check_display(template: str) -> str:
    display_columns(template)
    return template


class CatalogueSettings(TableSettings):
    """How to read a catalogue of items."""

    item_id: str = Field(default="item_id", min_length=1)
    """The column with the item's id."""
    display: Optional[Annotated[str, AfterValidator(_check_display)]] = None
    """What a person is shown, with columns in braces, such as "{title} ({year})"; the id if not given."""
    features: ItemFeatures = Field(default_factory=dict)
    """Features of the item, by name."""
    repeated_ids: Literal["error", "first"] = "error"
    """What becomes of an item that has more than one row. first: of each feature the first value that is not missing
    counts, so that a log whose rows hold its items' features can be the catalogue too."""
    max_unlisted_fraction: float = Field(default=0.5, ge=0, le=1)
    """The run stops when more than this share of the log's events are of items that the catalogue lacks."""
    max_rejected_fraction: float = Field(default=0.01, ge=0, le=1)
    """The run stops when more than this share of the rows can't be used."""

    def encoders(self) -> dict[str, encoders.Name]:
        """Returns the encoders by the features that they make vectors of."""
        return {name: feature.encoder for name, feature in self.features.items() if feature.encoder is not None}

    def vectors(self) -> dict[str, ItemFeature]:
        """Returns the features whose vectors are given."""
        return {name: feature for name, feature in self.features.items() if feature.type == "vector"}

    def matrices(self) -> dict[str, ItemFeature]:
        """Returns those of them whose vectors are beside the catalogue."""
        return {name: feature for name, feature in self.features.items() if feature.path is not None}

    def in_table(self) -> dict[str, ItemFeature]:
        """Returns the features that the catalogue's own files have."""
        return {name: feature for name, feature in self.features.items() if feature.path is None}

    def columns(self) -> list[str]:
        """Returns the columns to read, each once."""
        shown = display_columns(self.display) if self.display else []
        features = [column_of(name, feature) for name, feature in self.in_table().items()]
        return list(dict.fromkeys([self.item_id, *shown, *features]))
