"""The second stage: what it sees, and its losses."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from pipeline.model.ranker import NUM_FEATURES, RankingLoss, features
from pipeline.model.settings import RankingSettings


def test_what_the_ranker_sees() -> None:
    seen = features(
        query=tf.constant([[1.0, 2.0]]),
        embedding=tf.constant([[[3.0, 1.0], [0.0, 1.0]]]),
        bias=tf.constant([[0.5, -0.5]]),
        popularity=tf.constant([[np.e - 1, 0.0]], tf.float32),
        history=tf.constant([[[1.0, 0.0], [9.0, 9.0], [0.0, -2.0]]]),
        known=tf.constant([[True, False, True]]),
        votes=tf.constant([[[0.25, 1.0, 0.5], [0.0, -1.0, -0.5]]]),
    ).numpy()
    assert seen.shape == (1, 2, NUM_FEATURES)
    of_two = np.log(1 + 2)
    # Score, bias, log of 1 + events, log of 1 + length; near the last five; near the nearest, near five on average; the
    # votes, which the score has too.
    first = [3 + 2 + 0.5 + 1.75, 0.5, 1, of_two, 3, 0, -2, 0, 0, 3, (3 + 0 + 0 + 0 + 0) / 5, 0.25, 1, 0.5]
    second = [2 - 0.5 - 1.5, -0.5, 0, of_two, 0, 0, -2, 0, 0, 0, 0, 0, -1, -0.5]
    np.testing.assert_allclose(seen[0], [first, second], rtol=1e-6)


def test_a_wider_batch_changes_nothing() -> None:
    chance = np.random.default_rng(0)
    arrays = [chance.normal(size=shape).astype(np.float32) for shape in ((1, 4), (1, 3, 4), (1, 3), (1, 3), (1, 7, 4))]
    arrays[3] = np.abs(arrays[3])
    narrow = features(*arrays, known=tf.ones([1, 7], tf.bool), votes=tf.zeros([1, 3, 3]))
    wide = features(
        *arrays[:4],
        history=np.pad(arrays[4], [[0, 0], [0, 20], [0, 0]], constant_values=5),
        known=tf.constant([[True] * 7 + [False] * 20]),
        votes=tf.zeros([1, 3, 3]),
    )
    np.testing.assert_allclose(narrow, wide, rtol=1e-6)


SCORES = np.array([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0]], np.float32)
PLACE = np.array([0, 2], np.int32)
WEIGHT = np.array([1.0, 4.0], np.float32)


def cross_entropy(scores: np.ndarray, place: int) -> float:
    return float(np.log(np.exp(scores).sum()) - scores[place])


def binary(score: float, label: float) -> float:
    chosen = 1 / (1 + np.exp(-score))
    return float(-label * np.log(chosen) - (1 - label) * np.log(1 - chosen))


@pytest.mark.parametrize(
    ("loss", "target", "expected"),
    [
        ("softmax", "event", np.mean([cross_entropy(SCORES[0], 0), cross_entropy(SCORES[1], 2)])),
        ("softmax", "weight", np.mean([cross_entropy(SCORES[0], 0), 4 * cross_entropy(SCORES[1], 2)])),
        (
            "pointwise",
            "event",
            np.mean([[binary(s, float(p == place)) for p, s in enumerate(row)] for row, place in zip(SCORES, PLACE)]),
        ),
        (
            "pointwise",
            "weight",
            np.mean(
                [
                    [binary(s, (p == place) * weight / 8) for p, s in enumerate(row)]
                    for row, place, weight in zip(SCORES, PLACE, WEIGHT)
                ]
            ),
        ),
    ],
)
def test_losses(loss: str, target: str, expected: float) -> None:
    of = RankingLoss(RankingSettings(loss=loss, target=target), greatest=8.0)
    assert float(of(tf.constant(SCORES), tf.constant(PLACE), tf.constant(WEIGHT))) == pytest.approx(expected, rel=1e-5)
