"""What is asked and what is answered, in columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Optional

import numpy as np
import pyarrow as pa

Columns = Mapping[str, pa.StringArray]
"""Columns by their names; what goes by the first is called by it."""


@dataclass(frozen=True)
class Wish:
    """What is asked for every user, or of users for every item: then the rules are rules of users."""

    k: int
    """How many items."""
    exclude: tuple[str, ...] = ()
    """Ids of items, or users, that must not be answered."""
    allow: tuple[str, ...] = ()
    """Ids of the only items that may be; all if empty."""
    filters: tuple[str, ...] = ()
    """Conditions that all of them fulfil, such as `brand=x` or `price<=20`."""
    boosts: tuple[tuple[str, float], ...] = ()
    """Conditions, and what they add to a score."""
    diversity: float | None = None
    """From 0 to 1; None as the model has it."""
    tasks: tuple[tuple[str, float], ...] = ()
    """Names of tasks, and what they count; empty as the model has them."""
    exclude_owners: bool = True
    """Of users: whether those who had the item are left out."""
    leave_out: str = ""
    """Which of a user's items are left out, see `contract.LEAVE_OUT`; empty as the model has it."""

    @property
    def ruled(self) -> bool:
        """Whether there are rules."""
        return bool(self.allow or self.filters or self.boosts or self.diversity is not None)


class Answers(NamedTuple):
    """Answers to B queries, from N things that can be found: items (`item_id`, `title`) or users (`user_id`)."""

    asked: Columns
    """[B], what was asked for: `user_id`, or `item_id` and `title`."""
    rows: np.ndarray
    """[B, k] int32, rows of what was found, best first; -1 is padding."""
    scores: np.ndarray
    """[B, k] float32."""
    sources: Optional[pa.StringArray] = None
    """[B]: user, history or popular; of items' lists alone."""
