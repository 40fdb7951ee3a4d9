"""Tables in full and less precision: what is stored, and that the graph reads it right without unpacking all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from components.indexer import compact as compact_module
from components.indexer.compact import Table, quantised
from components.indexer.fingerprint import fingerprint
from components.indexer.index import Index
from components.indexer.settings import Compact
from components.indexer.signatures import Servable
from tests.components.indexer.tiny import (
    ITEMS,
    SETTINGS,
    ask,
    in_memory,
    strings,
)

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

KINDS: list[Compact] = ["float32", "float16", "int8"]
VECTORS = np.array([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0], [0.001, 0.0, -0.0005], [100.0, 50.0, 0.0]], np.float32)
EXACT = np.array([[0.1, 5.0], [0.2, 70_000.0], [0.3, 1.0], [0.4, 65_537.0]], np.float32)


def test_int8_is_in_steps_of_the_largest_entry() -> None:
    steps, scale = quantised(VECTORS)
    # 1 of 2 is 63.5 steps of 127, half a step to the even number.
    assert steps.tolist() == [[64, -127, 32], [0, 0, 0], [127, 0, -64], [127, 64, 0]]
    assert scale == pytest.approx(np.array([2, 0, 0.001, 100]) / 127)


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.floats(-1e4, 1e4, width=32))
)
def test_int8_is_off_by_half_a_step_at_most(vectors: np.ndarray) -> None:
    steps, scale = quantised(vectors)
    off = np.abs(steps * scale[:, np.newaxis] - vectors)
    assert (off <= scale[:, np.newaxis] * 0.501 + np.finfo(np.float32).tiny).all()


@pytest.mark.parametrize(("kind", "tolerance"), [("float32", 0), ("float16", 2**-11), ("int8", 0.5 / 127)])
def test_rows_come_back_as_precise_as_their_kind(kind: Compact, tolerance: float) -> None:
    table = Table(VECTORS, kind, "items", EXACT)
    rows = table.gather(tf.constant([[3, 0], [2, 1]])).numpy()
    assert rows.shape == (2, 2, 3)
    wanted = VECTORS[[[3, 0], [2, 1]]]
    assert (np.abs(rows - wanted) <= tolerance * np.abs(wanted).max(axis=2, keepdims=True) + 1e-9).all()


@pytest.mark.parametrize("kind", KINDS)
def test_exact_columns_come_back_as_they_are(kind: Compact) -> None:
    table = Table(VECTORS, kind, "items", EXACT)
    assert np.array_equal(table.columns(tf.constant([[3, 1]])), EXACT[[[3, 1]]])
    assert Table(VECTORS, kind, "items").columns(tf.constant([0, 2])).shape == (2, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("piece", [1, 3, 4, 100])
def test_products_are_those_with_the_rows_in_any_pieces(
    kind: Compact, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact_module, "_PIECE", piece)
    table = Table(VECTORS, kind, "items", EXACT)
    queries = np.array([[1, 2, 3, 1, 0], [0, 0, 0, 0, 1], [-1, 0.5, 0, 0, 0]], np.float32)
    products = tf.function(table.products)(tf.constant(queries))
    assert products.shape == (3, 4)
    rows = np.concatenate([table.gather(tf.range(4)).numpy(), EXACT], axis=1)
    assert products.numpy() == pytest.approx(queries @ rows.T, rel=1e-6)
    assert np.array_equal(products[1], EXACT[:, 1])  # counts beyond what half precision can tell apart


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_without_exact_columns(kind: Compact) -> None:
    table = Table(VECTORS, kind, "items")
    products = table.products(tf.eye(3)).numpy()
    assert products == pytest.approx(table.gather(tf.range(4)).numpy().T)


@pytest.mark.parametrize(("kind", "bytes_each"), [("float32", 4), ("float16", 2), ("int8", 1)])
def test_what_is_stored_has_the_size_of_its_kind(kind: Compact, bytes_each: int, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(5_000, 32)).astype(np.float32)
    table = Table(vectors, kind, "items")
    table.asked = tf.function(table.products, input_signature=[tf.TensorSpec([None, 32])])
    tf.saved_model.save(table, str(tmp_path))
    stored = (tmp_path / "variables" / "variables.data-00000-of-00001").stat().st_size
    scales = 4 * 5_000 if kind == "int8" else 0
    assert stored == pytest.approx(5_000 * 32 * bytes_each + scales, rel=0.02)
    loaded = tf.saved_model.load(str(tmp_path))
    asked = loaded.asked(tf.constant(vectors[:2])).numpy()
    assert asked == pytest.approx(vectors[:2] @ vectors.T, abs=0.3 if kind == "int8" else 0.02)


@pytest.mark.parametrize(("compact", "tolerance"), [("float16", 0.01), ("int8", 0.1)])
def test_less_precision_changes_scores_a_little_and_counts_not_at_all(
    compact: Any, tolerance: float, towers: str, index: Index, seven: Servable
) -> None:
    settings = SETTINGS.model_copy(update={"compact": compact})
    assert fingerprint(towers, index, settings) != fingerprint(towers, index, SETTINGS)
    smaller = in_memory(towers, index, settings)
    users, histories, candidates = ["ann", "nobody"], [["b", "f"], [""]], [ITEMS] * 2
    asked = {"user_id": tf.constant(users), "history": strings(histories), "candidates": strings(candidates)}
    found, exact = (ask(model, "score", **asked)["scores"] for model in (smaller, seven))
    assert found[0] == pytest.approx(exact[0], abs=tolerance)
    assert not np.array_equal(found[0], exact[0])
    assert np.array_equal(found[1], exact[1])  # the popular items


@pytest.mark.parametrize("compact", KINDS)
def test_vectors_are_those_that_the_servable_ranks_by(compact: Any, towers: str, index: Index) -> None:
    """Not those that the towers gave, before they were rounded."""
    servable = in_memory(towers, index, SETTINGS.model_copy(update={"compact": compact}))
    items = ask(servable, "embed_items", item_id=tf.constant(ITEMS))
    who = {"user_id": tf.constant(["ann"]), "history": strings([["b", "f"]]), "context": tf.constant([""])}
    query = ask(servable, "embed_queries", **who)["embedding"][0]
    answer = ask(servable, "retrieve", **who, exclude=strings([[]]), k=tf.constant(7))
    own = dict(zip((item.encode() for item in ITEMS), items["embedding"] @ query + items["bias"]))
    left = [item for item in answer["item_ids"][0] if item]
    assert len(left) == 4
    assert answer["scores"][0, :4] == pytest.approx([own[item] for item in left], rel=1e-6)
    assert np.array_equal(items["embedding"], index.embedding) == (compact == "float32")
    assert np.array_equal(items["bias"], index.bias)
