"""The best of very many scores, in native ops: only the most promising blocks of them are looked at closely."""

from __future__ import annotations

import tensorflow as tf

_BLOCK = 128
_BLOCKS_FROM = 8_192
"""From so many items on the best are looked for in blocks."""


def rows_for(num_items: int) -> int:
    """Returns how many rows a table of so many items must have: what is more than the items fills the last block."""
    return num_items + (-num_items % _BLOCK if num_items >= _BLOCKS_FROM else 0)


def best(scores: tf.Tensor, count: tf.Tensor, num_rows: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns scores and rows [B, count] of the best of `scores` [B, R], R = `num_rows` as `rows_for` has it."""
    return best_in_blocks(scores, count) if num_rows >= _BLOCKS_FROM else tuple(tf.math.top_k(scores, count))


def best_in_blocks(scores: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`tf.math.top_k` of `scores` [B, R], R a multiple of `_BLOCK`, in a fraction of its time.

    The `count` best lie in the `count` blocks with the highest maxima, also where scores are equal: who is in another
    block has a better one, or an equal one that comes earlier, in each of these.
    """
    blocks = tf.reshape(scores, [-1, scores.shape[1] // _BLOCK, _BLOCK])
    _, best = tf.math.top_k(tf.reduce_max(blocks, axis=2), tf.minimum(count, blocks.shape[1]))
    best = tf.sort(best, axis=1)  # of equal scores the earliest counts
    scores, place = tf.math.top_k(
        tf.reshape(tf.gather(blocks, best, batch_dims=1), [tf.shape(best)[0], tf.shape(best)[1] * _BLOCK]), count
    )
    return scores, tf.gather(best, place // _BLOCK, batch_dims=1) * _BLOCK + place % _BLOCK
