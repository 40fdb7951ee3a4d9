"""What each task of a model counts, inside the graph: by default, or by the weights that a request gives by name.

A query is the sum of the tasks' queries, each times its share. Shares are of 1 in all, so that an item's bias, the
votes of a linear part and a request's boosts mean the same whatever the weights are measured in.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

_MOST = 1e6
"""The greatest weight; sums of larger ones could be no number."""


class Tasks:
    """The T tasks.

    Args:
        shares: What each counts by default, of 1 in all, by its name; empty for a model without tasks.
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        self._names = list(shares)
        self._default = list(shares.values())

    def __len__(self) -> int:
        return len(self._names)

    def default(self, like: tf.Tensor) -> tf.Tensor:
        """The default shares of as many requests as `like` [B] has, [B, T] float32."""
        return tf.repeat([self._default], tf.size(like), axis=0)

    def shares(self, names: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """What each task counts for requests, none of which is refused: [B, T] float32.

        Args:
            names: [B, W] string; the empty string is padding, and a request with nothing else has the default shares.
            weights: [B, W] float32; those of one name add up, and tasks that are not named count for nothing.
        """
        amounts = self._amounts(names, weights)
        shares = tf.math.divide_no_nan(amounts, tf.reduce_sum(amounts, axis=1, keepdims=True))
        return tf.where(_given(names), shares, self._default)

    def checked(self, names: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """`shares`, if none of the requests has a mistake."""
        same = tf.debugging.assert_equal(
            tf.shape(names), tf.shape(weights), "tasks and task_weights must have the same shape"
        )
        with tf.control_dependencies([same]):
            names = tf.identity(names)
        checks = [
            tf.debugging.Assert(~tf.reduce_any(wrong), [mistake, tf.boolean_mask(values, wrong)], summarize=10)
            for wrong, mistake, values in self._mistakes(names, weights)
        ]
        with tf.control_dependencies(checks):
            return self.shares(tf.identity(names), weights)

    def refused(self, names: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Which of the requests [B] have a mistake."""
        return tf.reduce_any(tf.concat([wrong for wrong, _, _ in self._mistakes(names, weights)], axis=1), axis=1)

    def _mistakes(self, names: tf.Tensor, weights: tf.Tensor) -> list[tuple[tf.Tensor, str, tf.Tensor]]:
        """Of each kind of mistake which values have it, [B, …], what to say, and the values."""
        there = names != ""
        none = _given(names) & (tf.reduce_sum(self._amounts(names, weights), axis=1, keepdims=True) <= 0)
        return [
            (
                there & ~tf.reduce_any(self._own(names), axis=2),
                f"tasks are {', '.join(self._names) or 'none'}; not",
                names,
            ),
            (there & ~((weights >= 0) & (weights <= _MOST)), f"task_weights are from 0 to {_MOST:.0f}, not", weights),
            (none & there, "task_weights must not all be 0, but are for", names),
        ]

    def _amounts(self, names: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """The weights of all tasks, [B, T]."""
        return tf.reduce_sum(tf.where(self._own(names), weights[:, :, tf.newaxis], 0.0), axis=1)

    def _own(self, names: tf.Tensor) -> tf.Tensor:
        """Whether a name is that of a task, [B, W, T]."""
        return names[:, :, tf.newaxis] == tf.constant(self._names, tf.string)


def _given(names: tf.Tensor) -> tf.Tensor:
    """Whether a request has weights at all, [B, 1]."""
    return tf.reduce_any(names != "", axis=1, keepdims=True)
