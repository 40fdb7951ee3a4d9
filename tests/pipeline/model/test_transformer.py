"""The transformer: what it looks at, and attention worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pipeline.model.transformer import Transformer

DIM, PLACES = 6, 5


@pytest.fixture(scope="module")
def transformer() -> Transformer:
    """Of two blocks whose weights are all drawn, so that nothing is a small correction."""
    keras.utils.set_random_seed(1)
    made = Transformer(2, 3, DIM, PLACES)
    made.encode(tf.zeros([1, 1, DIM]), tf.ones([1, 1], tf.bool))
    rng = np.random.default_rng(0)
    made.set_weights([rng.normal(0, 0.5, weight.shape) for weight in made.get_weights()])
    return made


def encode(transformer: Transformer, items: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    known = np.ones(items.shape[:2], bool) if known is None else known
    return transformer.encode(tf.constant(items, tf.float32), tf.constant(known)).numpy()


ITEMS = np.random.default_rng(1).normal(size=(2, PLACES, DIM)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.smoke
def test_a_place_sees_itself_and_what_is_older(transformer: Transformer) -> None:
    before = encode(transformer, ITEMS)
    for place in range(PLACES):
        changed = ITEMS.copy()
        changed[:, place] += 1
        differs = np.abs(encode(transformer, changed) - before).max(axis=(0, 2)) > 1e-6
        assert differs.tolist() == [other <= place for other in range(PLACES)]


def test_what_is_not_known_is_not_seen_but_takes_its_place(transformer: Transformer) -> None:
    known = np.ones((2, PLACES), bool)
    known[:, 2] = False
    found = encode(transformer, ITEMS, known)
    changed = ITEMS.copy()
    changed[:, 2] += 1
    np.testing.assert_allclose(encode(transformer, changed, known)[:, [0, 1, 3, 4]], found[:, [0, 1, 3, 4]], atol=1e-5)
    closer = encode(transformer, np.delete(ITEMS, 2, axis=1))
    assert np.abs(closer[:, 0] - found[:, 0]).max() > 1e-3


@pytest.mark.parametrize("blocks", [1, 2])
def test_one_place_is_what_it_is_among_all(blocks: int) -> None:
    made = Transformer(blocks, 3, DIM, PLACES)
    known = np.ones((2, PLACES), bool)
    known[1, :2] = False
    whole = encode(made, ITEMS, known)
    for at in ([0, 2], [4, 3]):
        found = made.encode_at(tf.constant(ITEMS), tf.constant(known), tf.constant(at))
        np.testing.assert_allclose(found, whole[[0, 1], at], atol=1e-5)


@pytest.mark.slow
@pytest.mark.smoke
def test_a_part_of_a_sequence_is_what_it_is_in_the_whole(transformer: Transformer) -> None:
    """So what is learned at any place holds for a request, and padding changes nothing."""
    whole = encode(transformer, ITEMS)
    for start in range(PLACES):
        np.testing.assert_allclose(encode(transformer, ITEMS[:, start:])[:, 0], whole[:, start], atol=1e-5)
    padded = np.concatenate([ITEMS, np.full((2, 3, DIM), 7.0)], axis=1)
    known = np.arange(PLACES + 3) < PLACES
    np.testing.assert_allclose(encode(transformer, padded, np.tile(known, (2, 1)))[:, :PLACES], whole, atol=1e-5)


def test_attention_by_hand() -> None:
    """One head of width 2: of two places the newest mixes both by the softmax of their logits and distances."""
    keras.utils.set_random_seed(1)
    made = Transformer(1, 1, 2, 3)
    items = np.array([[[1.0, -1.0], [3.0, 1.0]]], np.float32)
    encode(made, items)
    [block] = made._blocks
    rng = np.random.default_rng(0)
    parts, mix, wide, narrow = (rng.normal(size=shape) for shape in ((2, 6), (2, 2), (2, 8), (4, 2)))
    gates = [(rng.normal(size=(2, 2)), rng.normal(size=2)) for _ in range(2)]
    distances = np.array([[0.3], [-0.2], [0.0]])
    for layer, weights in (
        (block._parts, [parts]),
        (block._mix, [mix]),
        (block._wide, [wide]),
        (block._narrow, [narrow]),
    ):
        layer.set_weights(weights)
    for gate, weights in zip(block._gates, gates):
        gate.set_weights(weights)
    block._distances.assign(distances)

    def norm(value: np.ndarray) -> np.ndarray:
        return value / np.sqrt((value**2).mean(axis=-1, keepdims=True) + 1e-6)

    def sigmoid(value: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-value))

    value = items[0].astype(float)
    normed = norm(value)
    query, key, content = np.split(normed @ parts, 3, axis=1)
    logits = query @ key.T / np.sqrt(2)
    newest = np.exp(logits[0] + [0.3, -0.2])
    attended = np.stack([newest @ content / newest.sum(), content[1]])
    value = value + attended @ mix * sigmoid(normed @ gates[0][0] + gates[0][1])
    normed = norm(value)
    linear, gate = np.split(normed @ wide, 2, axis=1)
    value = value + (linear * gate * sigmoid(gate)) @ narrow * sigmoid(normed @ gates[1][0] + gates[1][1])
    np.testing.assert_allclose(encode(made, items)[0], norm(value), atol=1e-5)


def test_what_is_dropped_is_said_by_the_caller(transformer: Transformer) -> None:
    dropped = transformer.encode(tf.constant(ITEMS), tf.ones([2, PLACES], tf.bool), tf.zeros_like)
    assert not dropped.numpy().any()
