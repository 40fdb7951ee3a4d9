"""Item vectors from co-occurrence: against hand-made logs, and in the servable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from components.examples.sampling import share_of_users
from components.hashing import hashes
from components.indexer import similar
from components.indexer.settings import SimilarSettings
from components.indexer.similar import cooccurrence, orthonormal, read_vectors, vectors
from tests.components.conftest import write_examples

FULL = SimilarSettings(dim=64, popularity_exponent=0.5)
"""More directions than the items here have, so that nothing is smoothed."""


def test_pairs_count_by_distance_in_either_order() -> None:
    found = cooccurrence(np.array([0, 0, 2, 1]), np.array([1, 2, 0, 1]), np.array([0, 1, 3, 0]), num_items=3)
    assert found.toarray().tolist() == [[0, 1, 0.75], [1, 0, 0], [0.75, 0, 0]]


def test_products_are_the_scaled_cooccurrence() -> None:
    """Two items that only come with each other are [[0, 1], [1, 0]], with one positive direction: (1, 1) / sqrt(2)."""
    found = vectors(sparse.csr_array(np.array([[0, 4, 0], [4, 0, 0], [0, 0, 0]], np.float32)), FULL)
    assert found @ found.T == pytest.approx(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]]), abs=1e-6)


def test_the_exponent_holds_popular_items_back() -> None:
    """Item 0 comes 2 times with 1 and 6 with 2, so their strengths are 8, 2 and 6; of each vector |v| ~ s^(1/2 - a)."""
    together = sparse.csr_array(np.array([[0, 2, 6], [2, 0, 0], [6, 0, 0]], np.float32))
    lengths = [
        np.linalg.norm(vectors(together, SimilarSettings(dim=8, popularity_exponent=exponent)), axis=1)
        for exponent in (0.5, 0.0)
    ]
    ratio = lengths[1] / lengths[0]
    assert ratio / ratio[1] == pytest.approx(np.sqrt(np.array([8, 2, 6]) / 2), rel=1e-5)


@pytest.mark.slow
@pytest.mark.smoke
@given(
    pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 3)), max_size=20),
    dim=st.integers(1, 9),
)
def test_any_log_gives_finite_vectors_the_same_every_time(pairs: list[tuple[int, int, int]], dim: int) -> None:
    item, earlier, place = (np.array([pair[column] for pair in pairs], np.int64) for column in range(3))
    together = cooccurrence(item, earlier, place, num_items=6)
    settings = SimilarSettings(dim=dim)
    found = vectors(together, settings)
    assert found.shape == (6, min(dim, 6))
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    alone = together.sum(axis=1) == 0
    assert not found[alone].any()
    assert (vectors(together, settings) == found).all()


def test_histories_are_read_up_to_the_window(tmp_path: Path) -> None:
    """b came after a, then c after b and a: with a window of 1 only neighbours count, so a and c never meet."""
    folder = tmp_path / "Split-train"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "data-00000-of-00001.gz"), "GZIP") as writer:
        for item, history in ((b"a", []), (b"b", [b"a"]), (b"c", [b"b", b"a"])):
            example = tf.train.Example()
            example.features.feature["item_id"].bytes_list.value.append(item)
            example.features.feature["history"].bytes_list.value.extend(history)
            writer.write(example.SerializeToString())
    rows = {b"a": 0, b"b": 1, b"c": 2, b"new": 3}
    for window, pairs in ((1, [[0, 1, 0], [1, 0, 1], [0, 1, 0]]), (2, [[0, 1, 0.5], [1, 0, 1], [0.5, 1, 0]])):
        settings = SimilarSettings(dim=8, window=window)
        expected = vectors(sparse.csr_array(np.pad(np.array(pairs, np.float32), [[0, 1], [0, 1]])), settings)
        assert read_vectors(str(tmp_path), rows, settings, events=3) == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
@pytest.mark.smoke
def test_long_logs_are_added_up_in_batches_and_counted_by_some_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    events = [
        {
            "user_id": f"u{row % 60}",
            "item_id": f"i{draw.integers(0, 9)}",
            "history": [f"i{draw.integers(0, 9)}" for _ in range(3)],
        }
        for row in range(300)
    ]
    rows = {f"i{item}".encode(): item for item in range(9)}
    whole, chosen = str(tmp_path / "whole"), str(tmp_path / "few")
    write_examples(Path(whole), "train", events)

    def read(uri: str, batch: int, **changed: int) -> np.ndarray:
        monkeypatch.setattr(similar, "_BATCH", batch)
        return read_vectors(uri, rows, SimilarSettings(dim=9, **changed), events=300)

    at_once = read(whole, 1_000)
    assert read(whole, 7) == pytest.approx(at_once, abs=1e-4)
    share = share_of_users(whole, "train", 100)
    few = [event for event in events if (hashes([event["user_id"].encode()]) < np.uint64(share * 2**64)).all()]
    assert 50 < len(few) <= 100
    write_examples(Path(chosen), "train", few)
    expected = read(chosen, 1_000)
    assert read(whole, 50, max_events=100) == pytest.approx(expected, abs=1e-4)
    assert not np.allclose(expected, at_once, atol=1e-2)


@pytest.mark.parametrize("rank", [6, 2, 0], ids=["independent", "dependent", "zeros"])
def test_orthonormal_columns_span_the_same(rank: int) -> None:
    chance = np.random.default_rng(0)
    columns = (chance.normal(size=(50, rank)) @ chance.normal(size=(rank, 6))).astype(np.float32)
    basis = orthonormal(columns)
    assert basis.T @ basis == pytest.approx(np.eye(6), abs=1e-4)
    assert basis @ (basis.T @ columns) == pytest.approx(columns, abs=1e-4)
