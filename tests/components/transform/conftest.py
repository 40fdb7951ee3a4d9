"""A log that is transformed already, and events that come after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.transform.growing import Growing, Vocabularies
from pipeline.model.preprocessing import ITEM_COUNTS, ITEM_VOCABULARY, USER_VOCABULARY
from tests.components.conftest import write_examples
from tests.pipeline.model.conftest import transformed  # noqa: F401  a fixture
from tests.pipeline.model.small_log import HOUR, ITEMS

GROWING = Growing(
    vocabularies={
        "item_id": Vocabularies(ids=ITEM_VOCABULARY, counts=ITEM_COUNTS),
        "user_id": Vocabularies(ids=USER_VOCABULARY),
    },
    user="user_hash",
    time="timestamp",
)


def event(item: str, *history: str, user: str = "user 0", hour: int = 1000) -> dict[str, Any]:
    """A raw event."""
    return {
        "user_id": user,
        "item_id": item,
        "event": "view",
        "device": "tv",
        "age": 1.0,
        "history": list(history),
        "weight": 3.0,
        "timestamp": hour * HOUR,
        "#place": 0,
    }


def write_later(uri: Path, split: str = "eval") -> None:
    """Writes events with the items a and b, three times each, c, once, and one that was there before."""
    rows = [event("a", ITEMS[0]), event("b", "a"), event("a"), event("b"), event("b", "c"), event("a", user="new")]
    write_examples(uri, split, [*rows, event("c"), event(ITEMS[0], "a", ITEMS[0])])
