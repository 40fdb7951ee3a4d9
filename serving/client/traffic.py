"""Who is served by the canary, and what is shown when nobody answers: both may lie in files that change."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from serving.client.errors import InvalidRequest
from serving.client.files import WatchedFile


@dataclass(frozen=True)
class Traffic:
    """Sends a share of the users to the version with a label.

    A user is on the canary's side if the first 8 bytes of SHA-256(salt + user_id), UTF-8, as a big-endian number
    divided by 2**64, are below `share`. So a user stays there while the share only grows, all clients with the same
    salt agree, and another salt draws other users. Who has no id is drawn by chance at each call, so that the canary
    gets its part of every kind of query.

    Raises:
        InvalidRequest: no label, or a share outside of [0, 1].
    """

    label: str
    share: float
    salt: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.label, str) or not self.label:
            raise InvalidRequest(f"traffic: label={self.label!r} is no label")
        if isinstance(self.share, bool) or not isinstance(self.share, (int, float)) or not 0 <= self.share <= 1:
            raise InvalidRequest(f"traffic: share={self.share!r} must be a number in [0, 1]")
        if not isinstance(self.salt, str):
            raise InvalidRequest(f"traffic: salt={self.salt!r} must be a text")

    def takes(self, user_id: str) -> bool:
        """Whether the canary serves this user; an empty id is nobody's."""
        if not user_id:
            return random.random() < self.share
        digest = hashlib.sha256((self.salt + user_id).encode()).digest()
        # Compared as whole numbers: a float has too few digits to keep a share of 1 from missing someone.
        return int.from_bytes(digest[:8], "big") < self.share * 2**64

    def current(self) -> Traffic:
        """Itself; a `TrafficFile` is what can change."""
        return self


class TrafficFile(WatchedFile[Optional[Traffic]]):
    """A `Traffic` in a file: JSON such as {"label": "canary", "share": 0.05, "salt": "2024-06"}.

    Read again when it changed, looked at once a second at most. Without the file there is no canary; one that makes no
    sense leaves the last good one in force.

    Raises:
        InvalidRequest: the file is there and makes no sense.
    """

    def __init__(self, path: Union[str, Path]):
        super().__init__(path, _traffic)


class FileFallback(WatchedFile[tuple[str, ...]]):
    """Fall-back items in a file, best first, an item id a line (UTF-8); read again when it changed.

    Raises:
        InvalidRequest: there is no such file, or it has no items.
    """

    def __init__(self, path: Union[str, Path]):
        super().__init__(path, _items)


def _traffic(text: Optional[str]) -> Optional[Traffic]:
    if text is None:
        return None
    try:
        found = json.loads(text)
        return Traffic(found["label"], found["share"], found.get("salt", ""))
    except (KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError('it is no JSON such as {"label": "canary", "share": 0.05, "salt": ""}') from None


def _items(text: Optional[str]) -> tuple[str, ...]:
    if text is None:
        raise ValueError("there is no such file of item ids, one a line")
    items = tuple(line for line in text.split("\n") if line)
    if not items:
        raise ValueError("it has no item ids, one a line")
    return items
