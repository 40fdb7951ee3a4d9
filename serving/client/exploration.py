"""Shuffled answers: for a few requests the first items come in a random order, which tells what places do."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Optional

from serving.client.errors import InvalidRequest


@dataclass(frozen=True)
class Exploration:
    """Shuffles the first items of a share of the answers, all orders being as likely.

    So the probability with which an item stood at a place is known: from logs of such answers `recommender feedback`
    estimates how much places count and what another version's lists would have brought. A hash of salt, request id and
    row decides, and gives the order.

    Raises:
        InvalidRequest: a value out of its range.
    """

    share: float
    """Of the answers, from 0 to 1."""
    first: int = 10
    """So many items of a list are shuffled, or all if it has fewer; at least 2."""
    salt: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.share, bool) or not isinstance(self.share, (int, float)) or not 0 <= self.share <= 1:
            raise InvalidRequest(f"exploration: share={self.share!r} must be a number in [0, 1]")
        if isinstance(self.first, bool) or not isinstance(self.first, int) or self.first < 2:
            raise InvalidRequest(f"exploration: first={self.first!r} must be a whole number of at least 2")
        if not isinstance(self.salt, str):
            raise InvalidRequest(f"exploration: salt={self.salt!r} must be a text")

    def order(self, request_id: str, row: int, count: int) -> Optional[list[int]]:
        """How a list of `count` items is shown: of each place which place the item has by score, both from 0; None as
        it is."""
        digest = hashlib.sha256(f"{self.salt}/{request_id}/{row}".encode()).digest()
        if int.from_bytes(digest[:8], "big") >= self.share * 2**64:
            return None
        first = list(range(min(self.first, count)))
        random.Random(digest).shuffle(first)
        return [*first, *range(len(first), count)]
