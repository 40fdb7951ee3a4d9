"""What is used of Keras beneath its public API.

- `forget`: Keras tracks what was once an attribute of a layer, and saves it, also after the attribute was set to None;
  only `_delete_tracking` ends that. Deleting the attribute doesn't, for layers that are in no list.
- `moments`: an optimizer hands out its variables as one list, in an order of its own. Which belong to which variable of
  the model only `_index_dict` and `_var_key` say, and Adam's are `_momentums` and `_velocities`.

tf-keras 2.16 and 2.21 have all of them; `tests/pipeline/model/test_keras_private.py` tells of one that hasn't.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras


def forget(layer: keras.layers.Layer, name: str) -> None:
    """Sets an attribute of a layer to None, so that what it was is neither trained nor saved with the layer."""
    setattr(layer, name, None)
    layer._delete_tracking(name)


def moments(optimizer: keras.optimizers.Adam, variable: tf.Variable) -> tuple[tf.Variable, tf.Variable]:
    """Returns Adam's moving means of a variable's gradients and of their squares, both of the variable's shape."""
    position = optimizer._index_dict[optimizer._var_key(variable)]
    return optimizer._momentums[position], optimizer._velocities[position]
