"""The optimizers of training."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from pipeline.model.keras_private import moments
from pipeline.model.settings import TrainingSettings


class LazyAdam(keras.optimizers.Adam):
    """Adam that leaves alone the rows of a table that a batch does not have.

    Adam as it is moves and decays the moments of every row at every step, which for a table of a million items is
    hundreds of megabytes. Here a row's moments wait until its next gradient; dense gradients are treated as ever.
    """

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Updates `variable` [N, ...]; the rows of an `IndexedSlices` must be unique, which Keras sees to."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable)
            return
        rows, values = gradient.indices, gradient.values
        step = tf.cast(self.iterations + 1, variable.dtype)
        mean, square = moments(self, variable)
        new_mean = self.beta_1 * tf.gather(mean, rows) + (1 - self.beta_1) * values
        new_square = self.beta_2 * tf.gather(square, rows) + (1 - self.beta_2) * values**2
        mean.scatter_update(tf.IndexedSlices(new_mean, rows))
        square.scatter_update(tf.IndexedSlices(new_square, rows))
        correction = tf.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        rate = tf.cast(self.learning_rate, variable.dtype) * correction
        variable.scatter_sub(tf.IndexedSlices(rate * new_mean / (tf.sqrt(new_square) + self.epsilon), rows))


def make_optimizer(settings: TrainingSettings) -> keras.optimizers.Optimizer:
    """The optimizer that the settings name."""
    kinds = {"adam": keras.optimizers.Adam, "lazy_adam": LazyAdam, "adagrad": keras.optimizers.Adagrad}
    return kinds[settings.optimizer](settings.learning_rate)
