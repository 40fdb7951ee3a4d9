"""Losses of retrieval: softmax over the items of the batch, and over all items."""

from __future__ import annotations

import tensorflow as tf


def in_batch_softmax(
    query: tf.Tensor,
    embedding: tf.Tensor,
    bias: tf.Tensor,
    row: tf.Tensor,
    probability: tf.Tensor,
    weight: tf.Tensor,
) -> tf.Tensor:
    """Weighted mean cross-entropy of the true item among the batch's items, corrected for how often they are sampled.

    Popular items are in many batches and so are negatives more often; subtracting log Q from the logits undoes that
    (Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019). Negatives
    that are the true item (accidental hits) are left out. The same value as `tfrs.tasks.Retrieval` gives with
    `candidate_sampling_probability` and `remove_accidental_hits`, divided by B; that one can only be traced with
    AutoGraph, which takes ten seconds to rewrite Keras.

    Args:
        query: [B, D] float32.
        embedding: [B, D] float32, the true items of the queries.
        bias: [B] float32, theirs.
        row: [B] int32, which items they are.
        probability: [B] float32, share of the training events that have this item.
        weight: [B] float32, weights of the examples; the sum is divided by B.

    Returns:
        A scalar.
    """
    logits = tf.matmul(query, embedding, transpose_b=True) + bias - tf.math.log(probability)
    same = row[:, tf.newaxis] == row
    accidental = same & ~tf.eye(tf.shape(row)[0], dtype=tf.bool)
    logits = tf.where(accidental, logits.dtype.min, logits)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.range(tf.shape(row)[0]), logits=logits)
    return tf.reduce_mean(loss * weight)


def full_softmax(
    query: tf.Tensor, embedding: tf.Tensor, bias: tf.Tensor, row: tf.Tensor, weight: tf.Tensor
) -> tf.Tensor:
    """Weighted mean cross-entropy of the true item among all items.

    Args:
        query: [B, D] float32.
        embedding: [N, D] float32, all items.
        bias: [N] float32.
        row: [B] int32, the row of each query's true item.
        weight: [B] float32, weights of the examples; the sum is divided by B.

    Returns:
        A scalar.
    """
    logits = tf.matmul(query, embedding, transpose_b=True) + bias
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=row, logits=logits)
    return tf.reduce_mean(loss * weight)
