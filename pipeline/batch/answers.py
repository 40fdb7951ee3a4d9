"""What is asked and what is answered, in columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Wish:
    """What is asked for every user."""

    k: int
    """How many items."""
    exclude: tuple[str, ...] = ()
    """Ids of items that must not be answered."""
    allow: tuple[str, ...] = ()
    """Ids of the only items that may be; all if empty."""
    filters: tuple[str, ...] = ()
    """Conditions that all items fulfil, such as `brand=x` or `price<=20`."""
    boosts: tuple[tuple[str, float], ...] = ()
    """Conditions, and what they add to a score."""
    diversity: float | None = None
    """From 0 to 1; None as the model has it."""

    @property
    def ruled(self) -> bool:
        """Whether there are rules."""
        return bool(self.allow or self.filters or self.boosts or self.diversity is not None)


class Items(NamedTuple):
    """The N items of a model, in its order."""

    ids: pa.StringArray
    titles: pa.StringArray


class Answers(NamedTuple):
    """Answers to B queries."""

    user_ids: pa.StringArray
    """[B]."""
    rows: np.ndarray
    """[B, k] int32, rows of the items, best first; -1 is padding."""
    scores: np.ndarray
    """[B, k] float32."""
    sources: pa.StringArray
    """[B]: user, history or popular."""
