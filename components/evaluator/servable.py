"""A servable as the Evaluator asks it: through the very signature that is served."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from components import versions
from components.errors import InputError

_SIGNATURE = "recommend"


def check_servable(path: str, name: str) -> None:
    """Makes sure, without loading it, that a SavedModel can be judged.

    Args:
        path: the SavedModel's directory.
        name: what to call it in the message.

    Raises:
        InputError: it lacks the signature `recommend`.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    with tf.io.gfile.GFile(os.path.join(path, "saved_model.pb"), "rb") as file:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read())
    if not any(_SIGNATURE in graph.signature_def for graph in saved_model.meta_graphs):
        raise InputError(
            f"the {name} {path} has no signature {_SIGNATURE!r}, so it isn't a servable of this pipeline and can't be "
            "compared; remove that version from the base path, or use another model name"
        )


def served_depth(path: str, depth: int) -> int:
    """Returns `depth`, or the most items that the servable gives in one answer if that is less."""
    return min(depth, int(versions.describe(path).get("max_k", depth)))


class Servable:
    """A loaded servable."""

    def __init__(self, path: str, depth: int):
        """Loads the SavedModel in directory `path`; its answers will have `depth` items."""
        self._model = tf.saved_model.load(path)
        self._recommend = self._model.signatures[_SIGNATURE]
        self._k = tf.constant(depth, tf.int32)

    def recommend(self, user_id: np.ndarray, history: np.ndarray, exclude: np.ndarray) -> np.ndarray:
        """Answers a batch of queries.

        Args:
            user_id: [B] bytes.
            history: [B, H] bytes, newest first, padded with the empty string.
            exclude: [B, E] bytes, padded with the empty string.

        Returns:
            [B, depth] item ids, bytes; padding is the empty string.
        """
        answer = self._recommend(
            user_id=tf.constant(user_id, tf.string),
            history=tf.constant(history, tf.string, history.shape),
            exclude=tf.constant(exclude, tf.string, exclude.shape),
            k=self._k,
        )
        return answer["item_ids"].numpy()
