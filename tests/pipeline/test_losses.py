"""The losses against closed forms worked out by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from pipeline.losses import full_softmax, in_batch_softmax


def test_full_softmax_is_the_weighted_mean_cross_entropy() -> None:
    query = tf.constant([[1.0], [2.0]])
    embedding = tf.constant([[1.0], [0.0], [-1.0]])
    bias = tf.constant([0.0, math.log(2.0), 0.0])
    loss = full_softmax(query, embedding, bias, tf.constant([0, 2]), tf.constant([1.0, 3.0]))
    # Logits (1, log 2, -1) and (2, log 2, -2).
    first = math.log(math.e + 2 + 1 / math.e) - 1
    second = math.log(math.e**2 + 2 + math.e**-2) + 2
    assert float(loss) == pytest.approx((1 * first + 3 * second) / 2, rel=1e-6)


def in_batch(candidates: list[float], rows: list[int], probability: list[float], weight: list[float]) -> float:
    """The loss of queries that are all (1) with one-dimensional candidates without bias."""
    count = len(rows)
    return float(
        in_batch_softmax(
            tf.ones([count, 1]),
            tf.constant(candidates)[:, tf.newaxis],
            tf.zeros([count]),
            tf.constant(rows),
            tf.constant(probability),
            tf.constant(weight),
        )
    )


def test_in_batch_softmax_subtracts_log_q() -> None:
    # Corrected logits of both queries: 2 - log 0.8, 0 - log 0.2; query i's true item is candidate i.
    a, b = math.exp(2) / 0.8, 1 / 0.2
    expected = (-math.log(a / (a + b)) - math.log(b / (a + b))) / 2
    assert in_batch([2.0, 0.0], [7, 8], [0.8, 0.2], [1.0, 1.0]) == pytest.approx(expected, rel=1e-5)


def test_in_batch_softmax_leaves_out_accidental_hits() -> None:
    # Queries 0 and 1 share item 7, so neither is the other's negative. Q is the same for all and cancels.
    own = -math.log(math.e**2 / (math.e**2 + 1))
    third = -math.log(1 / (2 * math.e**2 + 1))
    assert in_batch([2.0, 2.0, 0.0], [7, 7, 8], [0.5] * 3, [1.0] * 3) == pytest.approx((2 * own + third) / 3, rel=1e-5)


def test_in_batch_softmax_weights_examples() -> None:
    expected = 3 * math.log(1 + math.e**2) / 2
    assert in_batch([2.0, 0.0], [7, 8], [0.5, 0.5], [0.0, 3.0]) == pytest.approx(expected, rel=1e-5)


def test_in_batch_softmax_is_what_tfrs_computes() -> None:
    rng = np.random.default_rng(0)
    query, embedding = (tf.constant(rng.normal(size=(6, 3)), tf.float32) for _ in range(2))
    bias, weight = (tf.constant(rng.random(6), tf.float32) for _ in range(2))
    row = tf.constant([1, 2, 3, 1, 2, 4])
    probability = tf.constant([0.1, 0.2, 0.3, 0.1, 0.2, 0.4])
    theirs = tfrs.tasks.Retrieval(remove_accidental_hits=True)(
        tf.concat([query, tf.ones([6, 1])], axis=1),
        tf.concat([embedding, bias[:, tf.newaxis]], axis=1),
        sample_weight=weight,
        candidate_sampling_probability=probability,
        candidate_ids=row,
        compute_metrics=False,
    )
    ours = in_batch_softmax(query, embedding, bias, row, probability, weight)
    assert float(ours) == pytest.approx(float(theirs) / 6, rel=1e-5)
