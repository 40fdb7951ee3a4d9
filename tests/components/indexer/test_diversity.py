"""Maximal marginal relevance against values worked out by hand and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.indexer.diversity import diverse
from tests.serving.wire import contract


def test_diversity_by_hand() -> None:
    """Two alike and one across: the second of the alike gives way as soon as diversity outweighs its lead."""
    scores = tf.constant([[4.0, 3.0, 2.0]] * 3)
    directions = tf.constant([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]] * 3)
    # Relevance is 1, 0.5 and 0. Second place: 0.5 (1 - d) - d against 0, equal at d = 1/3.
    places = diverse(scores, directions, tf.constant([0.0, 0.3, 0.4]), tf.constant([3, 3, 3]), tf.constant(3))
    assert places.numpy().tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 1]]


traced = tf.function(
    diverse,
    [
        tf.TensorSpec([None, 8]),
        tf.TensorSpec([None, 8, 3]),
        tf.TensorSpec([None]),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([], tf.int32),
    ],
    autograph=False,
)


@pytest.mark.slow
@pytest.mark.smoke
@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 8), st.integers(0, 12), st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0])), max_size=4
    ),
    seed=st.integers(0, 99),
    count=st.integers(0, 8),
)
def test_diversity_equals_the_plain_loop(rows: list[tuple[int, int, float]], seed: int, count: int) -> None:
    """Whatever else is in the batch: with fewer candidates than places, and with candidates beyond a row's pool."""
    rng = np.random.default_rng(seed)
    world = contract.World(rng.normal(size=(8, 3)).astype(np.float32), *[np.zeros(0, np.float32)] * 2, {}, [])
    directions = world.embedding / np.linalg.norm(world.embedding, axis=1, keepdims=True)
    scores = np.full((len(rows), 8), -np.inf, np.float32)
    for row, (present, _, _) in enumerate(rows):
        scores[row, :present] = -np.sort(-rng.normal(size=present))
    places = traced(
        tf.constant(scores),
        tf.constant(np.tile(directions, (len(rows), 1, 1))),
        tf.constant([diversity for *_, diversity in rows], tf.float32),
        tf.constant([pool for _, pool, _ in rows], tf.int32),
        tf.constant(count),
    ).numpy()
    assert places.shape == (len(rows), count)
    for row, (present, pool, diversity) in enumerate(rows):
        candidates = min(present, pool)
        expected = world.diverse(contract.ITEMS[:candidates], scores[row, :candidates], diversity, count)
        assert [contract.ITEMS[place] for place in places[row, : len(expected)]] == expected
        assert len(set(places[row].tolist())) == count
