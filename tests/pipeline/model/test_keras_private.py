"""Keras has the private parts that are used, and they do what they are used for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pipeline.model.keras_private import forget, moments


class Twofold(keras.layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.kept = keras.layers.Embedding(2, 3)
        self.left = keras.layers.Embedding(5, 3)
        self.kept.build(None)
        self.left.build(None)


@pytest.mark.smoke
def test_what_is_forgotten_is_neither_trained_nor_saved(tmp_path: Path) -> None:
    layer = Twofold()
    assert [tuple(weight.shape) for weight in layer.trainable_weights] == [(2, 3), (5, 3)]
    forget(layer, "left")
    assert layer.left is None
    assert [tuple(weight.shape) for weight in layer.trainable_weights] == [(2, 3)]
    saved = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "saved"))
    shapes = [shape for name, shape in tf.train.list_variables(saved) if "embeddings" in name]
    assert shapes == [[2, 3]]


@pytest.mark.smoke
def test_moments_are_the_variables_own() -> None:
    first, second = tf.Variable([1.0, 1.0]), tf.Variable([1.0, 1.0])
    optimizer = keras.optimizers.Adam(0.1, beta_1=0.9, beta_2=0.99)
    optimizer.apply_gradients([(tf.constant([1.0, 2.0]), first), (tf.constant([3.0, 0.0]), second)])
    mean, square = moments(optimizer, second)
    np.testing.assert_allclose(mean, [0.1 * 3, 0], rtol=1e-6)
    np.testing.assert_allclose(square, [0.01 * 9, 0], rtol=1e-5)
