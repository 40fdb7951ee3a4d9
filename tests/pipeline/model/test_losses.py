"""The losses against closed forms worked out by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from pipeline.model.losses import full_softmax, log_q, sampled_softmax, softmax_against, weighed


def test_full_softmax_is_the_weighted_mean_cross_entropy() -> None:
    query = tf.constant([[1.0], [2.0]])
    embedding = tf.constant([[1.0], [0.0], [-1.0]])
    bias = tf.constant([0.0, math.log(2.0), 0.0])
    loss = full_softmax(query, embedding, bias, tf.constant([0, 2]), tf.constant([1.0, 3.0]))
    # Logits (1, log 2, -1) and (2, log 2, -2).
    first = math.log(math.e + 2 + 1 / math.e) - 1
    second = math.log(math.e**2 + 2 + math.e**-2) + 2
    assert float(loss) == pytest.approx((1 * first + 3 * second) / 2, rel=1e-6)


def sampled(
    candidates: list[float], rows: list[int], log_of_q: list[float], weight: list[float], hard_negatives: int = 0
) -> float:
    """The loss of queries that are all (1), one for each weight, with one-dimensional candidates without bias."""
    return float(
        sampled_softmax(
            tf.ones([len(weight), 1]),
            tf.constant(candidates)[:, tf.newaxis],
            tf.zeros([len(candidates)]),
            tf.constant(rows),
            tf.constant(log_of_q),
            tf.constant(weight),
            hard_negatives,
        )
    )


def test_sampled_softmax_subtracts_log_q() -> None:
    # Corrected logits of both queries: 2 - log 0.8, 0 - log 0.2; query i's true item is candidate i.
    a, b = math.exp(2) / 0.8, 1 / 0.2
    expected = (-math.log(a / (a + b)) - math.log(b / (a + b))) / 2
    assert sampled([2.0, 0.0], [7, 8], [math.log(0.8), math.log(0.2)], [1.0, 1.0]) == pytest.approx(expected, rel=1e-5)


def test_sampled_softmax_leaves_out_accidental_hits() -> None:
    # Queries 0 and 1 share item 7, so neither is the other's negative. Q is the same for all and cancels.
    own = -math.log(math.e**2 / (math.e**2 + 1))
    third = -math.log(1 / (2 * math.e**2 + 1))
    assert sampled([2.0, 2.0, 0.0], [7, 7, 8], [0.5] * 3, [1.0] * 3) == pytest.approx((2 * own + third) / 3, rel=1e-5)


def test_sampled_softmax_weights_examples() -> None:
    expected = 3 * math.log(1 + math.e**2) / 2
    assert sampled([2.0, 0.0], [7, 8], [0.5, 0.5], [0.0, 3.0]) == pytest.approx(expected, rel=1e-5)


def test_further_candidates_are_negatives_of_every_query() -> None:
    # One query, true item 7; of the drawn items 8, 7 and 9 the 7 is an accidental hit.
    expected = -math.log(math.e / (math.e + math.e**2 + 1))
    assert sampled([1.0, 2.0, 1.0, 0.0], [7, 8, 7, 9], [0.0] * 4, [1.0]) == pytest.approx(expected, rel=1e-5)


def test_hard_negatives_keep_the_highest_corrected_logits() -> None:
    # Corrected logits: true 1, negatives 3, 2 - 5 and 0; the two hardest are 3 and 0.
    expected = -math.log(math.e / (math.e + math.e**3 + 1))
    loss = sampled([1.0, 3.0, 2.0, 0.0], [6, 7, 8, 9], [0.0, 0.0, 5.0, 0.0], [1.0], hard_negatives=2)
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("hard_negatives", [3, 50])
def test_as_many_hard_negatives_as_there_are_change_nothing(hard_negatives: int) -> None:
    candidates, rows, log_of_q = [0.5, -1.0, 2.0, 0.3], [5, 6, 7, 8], [0.1, 0.2, 0.3, 0.4]
    assert sampled(candidates, rows, log_of_q, [1.0, 2.0], hard_negatives) == pytest.approx(
        sampled(candidates, rows, log_of_q, [1.0, 2.0]), rel=1e-5
    )


def test_log_q_is_the_share_of_the_mixture() -> None:
    # Of 3 + 1 candidates a step, 3 come from the log, where the item has a half, and 1 evenly from 5 items.
    [value] = log_q(tf.constant([0.5]), 3, 1, 5).numpy()
    assert value == pytest.approx(math.log((3 * 0.5 + 1 / 5) / 4), rel=1e-5)
    assert log_q(tf.constant([0.5, 0.1]), 7, 0, 5).numpy() == pytest.approx([math.log(0.5), math.log(0.1)], rel=1e-5)


def test_corrected_sampling_estimates_the_full_softmax() -> None:
    rng = np.random.default_rng(0)
    items, count, batch, uniform = 50, 40_000, 64, 512
    probability = rng.dirichlet(np.full(items, 0.3)).astype(np.float32)
    embedding = rng.normal(size=(items, 1)).astype(np.float32)
    bias, zeros = np.zeros(items, np.float32), np.zeros(1, np.float32)
    row = np.array([3], np.int32)
    exact = float(
        full_softmax(tf.ones([1, 1]), tf.constant(embedding), tf.constant(bias), tf.constant(row), tf.ones(1))
    )
    from_log = rng.choice(items, count * batch // (batch + uniform), p=probability / probability.sum())
    evenly = rng.integers(0, items, count * uniform // (batch + uniform))
    drawn = np.concatenate([row, from_log, evenly]).astype(np.int32)
    loss = sampled_softmax(
        tf.ones([1, 1]),
        tf.gather(embedding, drawn),
        tf.gather(bias, drawn),
        tf.constant(drawn),
        # The drawn are as many draws as there are; the true item is there once, with its own chance of one.
        tf.concat(
            [zeros, log_q(tf.gather(probability, drawn[1:]), batch, uniform, items) + math.log(len(drawn) - 1)], 0
        ),
        tf.ones(1),
    )
    assert float(loss) == pytest.approx(exact, rel=0.02)


def test_softmax_against_all_items_is_the_full_softmax() -> None:
    rng = np.random.default_rng(0)
    query, embedding = (tf.constant(rng.normal(size=(size, 3)), tf.float32) for size in (5, 4))
    bias, weight = (tf.constant(rng.random(size), tf.float32) for size in (4, 5))
    row = tf.constant([0, 3, 3, 1, 2])
    own, own_bias = tf.gather(embedding, row), tf.gather(bias, row)
    evenly = tf.fill([4], -math.log(4))
    found = softmax_against(query, own, own_bias, row, embedding, bias, tf.range(4), evenly, weight)
    np.testing.assert_allclose(found, full_softmax(query, embedding, bias, row, weight), rtol=1e-6)
    # Twice the samples, each of which comes as often, say the same; of a half each stands for two.
    twice = tf.concat([tf.range(4)] * 2, axis=0)
    again = softmax_against(
        query,
        own,
        own_bias,
        row,
        tf.gather(embedding, twice),
        tf.gather(bias, twice),
        twice,
        tf.fill([8], -math.log(4)),
        weight,
    )
    np.testing.assert_allclose(again, found, rtol=1e-6)
    one = softmax_against(
        query[:1], own[:1], own_bias[:1], row[:1], embedding[1:2], bias[1:2], [1], evenly[:1], weight[:1]
    )
    logits = (query[:1] @ tf.transpose(embedding) + bias).numpy()[0]
    expected = math.log(math.exp(logits[0]) + 4 * math.exp(logits[1])) - logits[0]
    assert float(one) == pytest.approx(float(weight[0]) * expected, rel=1e-5)


def test_bfloat16_is_close() -> None:
    rng = np.random.default_rng(0)
    query, embedding = (tf.constant(rng.normal(size=(8, 16)), tf.float32) for _ in range(2))
    bias, row, weight = tf.zeros([8]), tf.range(8), tf.ones([8])
    exact = float(full_softmax(query, embedding, bias, row, weight))
    assert float(full_softmax(query, embedding, bias, row, weight, mixed_precision=True)) == pytest.approx(
        exact, rel=0.02
    )


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
    ours = sampled_softmax(query, embedding, bias, row, log_q(probability, 6, 0, 5), weight)
    assert float(ours) == pytest.approx(float(theirs) / 6, rel=1e-5)


def test_hard_negatives_are_what_tfrs_computes() -> None:
    rng = np.random.default_rng(0)
    query, embedding = (tf.constant(rng.normal(size=(6, 3)), tf.float32) for _ in range(2))
    theirs = tfrs.tasks.Retrieval(num_hard_negatives=2)(query, embedding, compute_metrics=False)
    ours = sampled_softmax(query, embedding, tf.zeros([6]), tf.range(6), tf.zeros([6]), tf.ones([6]), hard_negatives=2)
    assert float(ours) == pytest.approx(float(theirs) / 6, rel=1e-5)


def test_a_negative_event_costs_what_makes_its_item_likely() -> None:
    # Of three items at logits 1, log 2 and -1 the first has p = e / (e + 2 + 1/e).
    query, embedding = tf.constant([[1.0], [1.0]]), tf.constant([[1.0], [0.0], [-1.0]])
    bias = tf.constant([0.0, math.log(2.0), 0.0])
    p = math.e / (math.e + 2 + 1 / math.e)
    weight = tf.constant([-2.0, 1.0])
    loss = full_softmax(query, embedding, bias, tf.constant([0, 0]), weight, signed=True)
    assert float(loss) == pytest.approx((2 * -math.log(1 - p) - math.log(p)) / 2, rel=1e-6)
    # Against sampled items, of whose logarithms log Q is taken, likewise.
    log_of_q = tf.zeros([3])
    against = softmax_against(
        query, embedding[:1], bias[:1], tf.constant([0, 0]), embedding[1:], bias[1:], tf.constant([1, 2]),
        log_of_q[1:] - math.log(2.0), weight, signed=True,
    )  # fmt: skip
    assert float(against) == pytest.approx(float(loss), rel=1e-6)
    sampled = sampled_softmax(
        query, tf.gather(embedding, [0, 0, 1, 2]), tf.gather(bias, [0, 0, 1, 2]), tf.constant([0, 0, 1, 2]),
        tf.zeros([4]), weight, signed=True,
    )  # fmt: skip
    assert float(sampled) == pytest.approx(float(loss), rel=1e-6)


def test_what_a_negative_event_costs_has_a_gradient_wherever_it_is() -> None:
    entropy, weight = tf.Variable([0.0, 1e-9, 30.0, 2.0]), tf.constant([-1.0, -1.0, -1.0, 0.5])
    with tf.GradientTape() as tape:
        loss = weighed(entropy, weight, True)
    gradient = tape.gradient(loss, entropy).numpy()
    assert np.isfinite(loss.numpy()).all()
    assert np.isfinite(gradient).all()
    assert gradient[2] == pytest.approx(-math.exp(-30.0), rel=1e-4)  # d -log(1 - e^-x) / dx = -1 / (e^x - 1)
    assert gradient[3] == 0.5
    assert (
        weighed(tf.constant([2.0]), tf.constant([0.5]), True).numpy()
        == weighed(tf.constant([2.0]), tf.constant([0.5]), False).numpy()
    )
