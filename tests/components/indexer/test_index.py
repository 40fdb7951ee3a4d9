"""The index against hand-made events."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import InputError
from components.indexer.index import Index, build_index
from tests.components.indexer.tiny import (
    EMBEDDING,
    ITEMS,
    STORED,
    write_examples,
)


def test_stored_histories_are_newest_first_and_distinct(index: Index) -> None:
    for row, user in enumerate(index.user_ids):
        start, end = index.history_splits[row : row + 2]
        assert [ITEMS[item] for item in index.history_values[start:end]] == STORED[user.decode()]


def test_empty_catalogue_is_named(towers: str, tmp_path: Path) -> None:
    catalogue = write_examples(tmp_path / "catalogue", "catalogue", [])
    with pytest.raises(InputError, match="the catalogue has no items"):
        build_index(towers, catalogue, "", 1, EMBEDDING)
