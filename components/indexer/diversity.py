"""Lists whose items differ from each other: maximal marginal relevance."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def diverse(
    scores: tf.Tensor, directions: tf.Tensor, diversity: tf.Tensor, pool: tf.Tensor, count: tf.Tensor
) -> tf.Tensor:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998) among the best, greedily.

    The next is the one with the highest `(1 - diversity) * relevance - diversity * closest`: relevance is the score,
    scaled so that the request's candidates go from 0 to 1; closest is the highest cosine with what was chosen before.
    With diversity 0 the order stays as it is.

    Args:
        scores: [B, N], best first; -inf for what is no candidate, which comes last.
        directions: [B, N, D], the items' vectors, of length 1.
        diversity: [B], 1 - lambda of the paper.
        pool: [B] int32, how many of the N are candidates of each request.
        count: [] int32, how many to choose, at most N.

    Returns:
        Their places among the N, [B, count] int32.
    """
    present = ~tf.math.is_inf(scores) & (tf.range(tf.shape(scores)[1]) < pool[:, tf.newaxis])
    best = scores[:, :1]
    least = tf.reduce_min(tf.where(present, scores, best), axis=1, keepdims=True)
    relevance = tf.where(present, tf.math.divide_no_nan(scores - least, best - least), 0.0)
    weight = diversity[:, tf.newaxis]
    # What is no candidate comes after all candidates; what was chosen never again, and argmax overlooks the very least.
    value = tf.where(present, (1 - weight) * relevance, tf.float32.min / 2)
    closest = tf.fill(tf.shape(scores), -np.inf)

    def choose(step: tf.Tensor, value: tf.Tensor, closest: tf.Tensor, places: tf.TensorArray) -> tuple[tf.Tensor, ...]:
        marginal = value - tf.where(present & (step > 0), weight * closest, 0.0)
        place = tf.argmax(marginal, axis=1, output_type=tf.int32)
        chosen = tf.gather(directions, place, batch_dims=1)
        cosine = tf.squeeze(tf.matmul(directions, chosen[:, :, tf.newaxis]), axis=2)
        value = tf.where(tf.one_hot(place, tf.shape(scores)[1], True, False, dtype=tf.bool), -np.inf, value)
        return step + 1, value, tf.maximum(closest, cosine), places.write(step, place)

    places = tf.TensorArray(tf.int32, size=count, element_shape=scores.shape[:1])
    *_, places = tf.while_loop(lambda step, *_: step < count, choose, (0, value, closest, places))
    # An array of nothing can't be stacked where the number of requests is unknown as the graph is made.
    chosen = tf.cond(
        count > 0, lambda: tf.transpose(places.stack()), lambda: tf.zeros([tf.shape(scores)[0], 0], tf.int32)
    )
    return tf.reshape(chosen, [tf.shape(scores)[0], count])
