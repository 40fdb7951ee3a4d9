"""The index against hand-made events."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from components.closed_forms.linear import Part
from components.errors import InputError
from components.indexer.index import Index, build_index
from tests.components.indexer.three import INDEX
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


def test_a_shard_has_its_own_candidates_and_all_that_a_history_can_have() -> None:
    weights = sparse.csr_array(np.arange(9, dtype=np.float32).reshape(3, 3))
    whole = dataclasses.replace(INDEX, linear=(Part("ease", weights, np.ones(1, np.float32)),))
    one, other = whole.shard(1, 2), whole.shard(2, 2)
    assert [shard.candidate_ids.tolist() for shard in (whole, one, other)] == [[b"a", b"b", b"c"], [b"a"], [b"b", b"c"]]
    assert (one.first, other.first) == (0, 1)
    for name in ("item_ids", "history_embedding", "history_known", "user_ids", "history_values", "history_splits"):
        assert getattr(other, name) is getattr(whole, name)
    assert other.display.tolist() == [b"B", b"C"]
    assert other.embedding.tolist() == [[1, 0], [0, -2]]
    assert (other.bias.tolist(), other.popularity.tolist()) == ([0, -1], [0, 2])
    assert other.linear[0].weights.toarray().tolist() == [[1, 2], [4, 5], [7, 8]]  # from all to its own
    assert [len(whole.shard(number, 3).embedding) for number in (1, 2, 3)] == [1, 1, 1]


def test_whether_it_is_a_shard_is_no_array() -> None:
    """So that fingerprints are what they were before there were any."""
    assert "first" not in INDEX.arrays()
