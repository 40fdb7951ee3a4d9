"""The bootstrap: weights of users, and intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from components.evaluator.bootstrap import interval, user_weights
from tests.components.evaluator.arrays import ids


def test_a_users_queries_have_the_same_weights_whatever_they_come_with() -> None:
    users = ids("u", "v", "u", "w")
    weights = user_weights(users, 50)
    assert weights.shape == (4, 51)
    assert (weights[:, 0] == 1).all(), "the first column is the data as it is"
    assert (weights[0] == weights[2]).all()
    assert (weights[0] != weights[1]).any()
    assert (user_weights(users[3:], 50) == weights[3:]).all()
    assert (user_weights(users, 20) == weights[:, :21]).all()
    assert user_weights(users, 0).tolist() == [[1]] * 4


def test_weights_are_draws_from_poisson_1() -> None:
    weights = user_weights(ids(*map(str, range(2000))), 200)[:, 1:].astype(int)
    shares = np.bincount(weights.ravel(), minlength=5)[:5] / weights.size
    assert shares.tolist() == pytest.approx([math.exp(-1) / math.factorial(n) for n in range(5)], abs=0.003)
    # Neither users nor replicates resemble one another: correlations are of the size of chance.
    assert np.abs(np.corrcoef(weights[:, :20], rowvar=False) - np.eye(20)).max() < 0.1
    assert np.abs(np.corrcoef(weights[:20]) - np.eye(20)).max() < 0.35


def test_an_interval() -> None:
    replicates = np.array([*np.arange(101), math.nan])
    assert interval(replicates, 0.9) == pytest.approx((5, 95))
    assert interval(np.array([0.5, 0.5]), 0.95) == (0.5, 0.5)


def test_intervals_hold_the_true_mean_as_often_as_they_say() -> None:
    """Users with ten alike queries each: taking the queries for independent would be wrong by the root of ten."""
    draw = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        hits = draw.random(100) < 0.3
        weights = user_weights(ids(*(f"{trial} {user}" for user in range(100))), 200)[:, 1:]
        low, high = interval(hits @ weights / weights.sum(axis=0), 0.9)
        held += low <= 0.3 <= high
    assert 0.83 < held / 200 < 0.96
