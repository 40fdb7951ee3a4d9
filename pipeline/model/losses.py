"""Losses of retrieval: softmax over sampled items, corrected for how they were sampled, and over all items."""

from __future__ import annotations

import tensorflow as tf

_LEAST = 1e-6
"""Entropy of what is as good as certain: the logarithm of what is left must be a number."""


def log_q(probability: tf.Tensor, batch: tf.Tensor | int, uniform: int, num_items: int) -> tf.Tensor:
    """Logarithm of how often candidates come up in a step, as a share of the step's candidates.

    The items of a batch come as often as they are in the log, the others evenly, so a candidate comes from the mixture
    (Yang et al., "Mixed negative sampling for learning two-tower neural networks in recommendations", WWW 2020).

    Args:
        probability: [C] float32, share of the training events that have each candidate.
        batch: Candidates that come from the events.
        uniform: Candidates that are drawn evenly from all items.
        num_items: How many items there are.

    Returns:
        [C] float32.
    """
    drawn = tf.cast(batch, tf.float32)
    return tf.math.log((drawn * probability + uniform / num_items) / (drawn + uniform))


def weighed(entropy: tf.Tensor, weight: tf.Tensor, signed: bool) -> tf.Tensor:
    """Cross-entropies times their weights; of negative events what it costs to think their items likely instead.

    With p = exp(-entropy) the probability of an event's item, that of a negative event is -log(1 - p) (Welleck et al.,
    "Neural text generation with unlikelihood training", ICLR 2020), times the weight without its sign.

    Args:
        entropy: [B] float32, -log p.
        weight: [B] float32, below 0 for negative events.
        signed: Whether there may be any.

    Returns:
        [B] float32.
    """
    if not signed:
        return entropy * weight
    # The branch that isn't taken must have a finite gradient too.
    unlikely = -tf.math.log(-tf.math.expm1(-tf.where(weight < 0, tf.maximum(entropy, _LEAST), 1.0)))
    return tf.where(weight < 0, unlikely, entropy) * tf.abs(weight)


def sampled_softmax(
    query: tf.Tensor,
    embedding: tf.Tensor,
    bias: tf.Tensor,
    row: tf.Tensor,
    log_q: tf.Tensor,
    weight: tf.Tensor,
    hard_negatives: int = 0,
    mixed_precision: bool = False,
    first: tf.Tensor | int = 0,
    batch: tf.Tensor | None = None,
    signed: bool = False,
) -> tf.Tensor:
    """Weighted mean cross-entropy of the true item among a step's candidates, corrected for how often they come.

    Popular items are in many batches and so are negatives more often; subtracting log Q from the logits undoes that
    (Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019). Negatives
    that are the true item (accidental hits) are left out. With the batch's items as the only candidates the value is
    what `tfrs.tasks.Retrieval` gives with `candidate_sampling_probability` and `remove_accidental_hits`, divided by B;
    that one can only be traced with AutoGraph, which takes ten seconds to rewrite Keras.

    Args:
        query: [B, D] float32.
        embedding: [C, D] float32, C at least B; candidate `first` + i is the true item of query i, the others are
            negatives.
        bias: [C] float32, theirs.
        row: [C] int32, which items they are.
        log_q: [C] float32, logarithm of how often each comes up; a constant in it changes nothing.
        weight: [B] float32, weights of the examples; the sum is divided by B.
        hard_negatives: Only so many negatives of each query count, those of the highest corrected logits; 0: all.
        mixed_precision: Multiply in bfloat16.
        first: Where the true items begin.
        batch: Where the queries are a share of a batch, how many that has, by which the sum is divided instead.
        signed: Whether weights may be below 0, see `weighed`.

    Returns:
        A scalar.
    """
    count = tf.shape(row)[0]
    logits = _scores(query, embedding, bias, mixed_precision) - log_q
    true = first + tf.range(tf.shape(query)[0])
    own = true[:, tf.newaxis] == tf.range(count)
    accidental = (tf.gather(row, true)[:, tf.newaxis] == row) & ~own
    logits = tf.where(accidental, logits.dtype.min, logits)
    if hard_negatives:
        negatives = tf.where(own, logits.dtype.min, logits)
        hardest = tf.math.top_k(negatives, tf.minimum(hard_negatives, count)).values
        positive = tf.reduce_sum(tf.where(own, logits, 0.0), axis=1, keepdims=True)
        logits = tf.concat([positive, hardest], axis=1)
        true = tf.zeros_like(true)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=true, logits=logits)
    return mean(weighed(entropy, weight, signed), batch)


def softmax_against(
    query: tf.Tensor,
    own: tf.Tensor,
    own_bias: tf.Tensor,
    own_row: tf.Tensor,
    embedding: tf.Tensor,
    bias: tf.Tensor,
    row: tf.Tensor,
    log_q: tf.Tensor,
    weight: tf.Tensor,
    mixed_precision: bool = False,
    signed: bool = False,
) -> tf.Tensor:
    """Weighted mean cross-entropy of each query's true item against sampled ones that are the same for all queries.

    What `sampled_softmax` does, for more queries than there are candidates. Each sample stands for all items that would
    come as often, so that the sum over the samples is that over all items.

    Args:
        query: [B, D] float32.
        own: [B, D] float32, the true items' embeddings.
        own_bias: [B] float32, theirs.
        own_row: [B] int32, which items they are.
        embedding: [C, D] float32, the samples'.
        bias: [C] float32, theirs.
        row: [C] int32, which items they are; a true item among them is left out.
        log_q: [C] float32, logarithm of how often each comes up, as a share of the samples.
        weight: [B] float32, weights of the examples; the sum is divided by B.
        mixed_precision: Multiply in bfloat16.
        signed: As in `sampled_softmax`.

    Returns:
        A scalar.
    """
    positive = tf.reduce_sum(query * own, axis=1) + own_bias
    count = tf.cast(tf.size(row), tf.float32)
    logits = _scores(query, embedding, bias, mixed_precision) - log_q - tf.math.log(count)
    logits = tf.where(own_row[:, tf.newaxis] == row, logits.dtype.min, logits)
    entropy = tf.reduce_logsumexp(tf.concat([positive[:, tf.newaxis], logits], axis=1), axis=1) - positive
    return mean(weighed(entropy, weight, signed))


def full_softmax(
    query: tf.Tensor,
    embedding: tf.Tensor,
    bias: tf.Tensor,
    row: tf.Tensor,
    weight: tf.Tensor,
    mixed_precision: bool = False,
    batch: tf.Tensor | None = None,
    signed: bool = False,
) -> tf.Tensor:
    """Weighted mean cross-entropy of the true item among all items.

    Args:
        query: [B, D] float32.
        embedding: [N, D] float32, all items.
        bias: [N] float32.
        row: [B] int32, the row of each query's true item.
        weight: [B] float32, weights of the examples; the sum is divided by B.
        mixed_precision: Multiply in bfloat16.
        batch: As in `sampled_softmax`.
        signed: As in `sampled_softmax`.

    Returns:
        A scalar.
    """
    logits = _scores(query, embedding, bias, mixed_precision)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=row, logits=logits)
    return mean(weighed(entropy, weight, signed), batch)


def mean(values: tf.Tensor, batch: tf.Tensor | None = None) -> tf.Tensor:
    """The mean of values [B], or what they add to the mean over a batch of `batch` of which they are a share."""
    return tf.reduce_mean(values) if batch is None else tf.reduce_sum(values) / tf.cast(batch, values.dtype)


def _scores(query: tf.Tensor, embedding: tf.Tensor, bias: tf.Tensor, mixed_precision: bool) -> tf.Tensor:
    """[B, C] float32; the product is nearly all of a step's arithmetic where there are many candidates."""
    if mixed_precision:
        query, embedding = tf.cast(query, tf.bfloat16), tf.cast(embedding, tf.bfloat16)
    return tf.cast(tf.matmul(query, embedding, transpose_b=True), tf.float32) + bias
