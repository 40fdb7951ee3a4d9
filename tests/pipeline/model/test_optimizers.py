"""LazyAdam: what it updates and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pipeline.model.optimizers import LazyAdam


def steps(optimizer: keras.optimizers.Optimizer, gradients: list[tf.IndexedSlices | tf.Tensor]) -> np.ndarray:
    table = tf.Variable(tf.ones([3, 2]))
    for gradient in gradients:
        optimizer.apply_gradients([(gradient, table)])
    return table.numpy()


def rows(values: list[list[float]], indices: list[int]) -> tf.IndexedSlices:
    return tf.IndexedSlices(tf.constant(values), tf.constant(indices), tf.constant([3, 2]))


def test_it_is_adam_where_every_step_has_every_row() -> None:
    rng = np.random.default_rng(0)
    gradients = [rows(rng.normal(size=(3, 2)).tolist(), [0, 1, 2]) for _ in range(5)]
    assert steps(LazyAdam(0.1), gradients) == pytest.approx(steps(keras.optimizers.Adam(0.1), gradients), abs=1e-5)


def test_it_is_adam_on_dense_gradients() -> None:
    gradients = [tf.constant([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]])] * 3
    assert steps(LazyAdam(0.1), gradients) == pytest.approx(steps(keras.optimizers.Adam(0.1), gradients), abs=1e-6)


def test_rows_that_a_step_lacks_stay_where_they_are() -> None:
    first = rows([[1.0, 1.0]], [0])
    after_one = steps(LazyAdam(0.1), [first])
    after_two = steps(LazyAdam(0.1), [first, rows([[1.0, 1.0]], [2])])
    assert after_two[0].tolist() == after_one[0].tolist()
    assert after_two[1].tolist() == [1.0, 1.0]
    # Adam itself goes on moving the first row by its momentum.
    assert steps(keras.optimizers.Adam(0.1), [first, rows([[1.0, 1.0]], [2])])[0, 0] < after_one[0, 0]


def test_gradients_of_a_row_that_comes_twice_add_up() -> None:
    twice = steps(LazyAdam(0.1), [rows([[1.0, 1.0], [2.0, 2.0]], [1, 1])] * 2)
    once = steps(LazyAdam(0.1), [rows([[3.0, 3.0]], [1])] * 2)
    assert twice == pytest.approx(once, abs=1e-6)
