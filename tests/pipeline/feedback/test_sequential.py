"""Confidence sequences by hand; benchmarks/trial.py and test_trial.py look at how often they err."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.feedback.sequential import LEAST, Difference, Group, difference, half_width, mismatch, users_needed


def test_half_width_by_hand() -> None:
    # rho^2 = (5.99146 + ln 6.99146) / 20,000 = 3.96808e-4, n rho^2 + 1 = 8.93615, ln(sqrt(8.93615) / 0.05) = 4.09078:
    # 3.04 standard errors of 1 / sqrt(20,000), where a test of fixed size has 1.96.
    assert half_width(1.0, 20_000, 0.05) == pytest.approx(0.0214622, rel=1e-4)
    assert half_width(4.0, 20_000, 0.05) == pytest.approx(2 * half_width(1.0, 20_000, 0.05))


def test_a_group() -> None:
    assert Group.of(np.array([0, 3, 0, 1])) == Group(4, 1.0, 1.5, 2)
    assert Group.of(np.array([], np.int64)) == Group(0, 0.0, 0.0, 0)


def test_the_difference_has_an_interval_once_enough_did_something() -> None:
    stable, canary = Group(15_000, 0.5, 1.0, 5_000), Group(5_000, 0.6, 1.0, LEAST)
    found = difference(stable, canary, 0.05)
    margin = half_width(1 / 0.75 + 1 / 0.25, 20_000, 0.05)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1 - margin, 0.1 + margin))
    few = difference(stable, Group(5_000, 0.6, 1.0, LEAST - 1), 0.05)
    assert few == Difference(pytest.approx(0.1), -math.inf, math.inf)


def test_a_group_that_seems_calm_has_the_variance_of_all() -> None:
    stable, calm = Group(900, 1.0, 2.0, 900), Group(100, 1.0, 0.0, 100)
    margin = difference(stable, calm, 0.05).high
    assert margin == pytest.approx(half_width(2.0 / 0.9 + 1.8 / 0.1, 1000, 0.05))


@pytest.mark.parametrize("share", [None, 0.5])
def test_users_needed(share: float | None) -> None:
    stable, canary = Group(900, 1.0, 2.0, 900), Group(100, 1.0, 2.0, 100)
    variance = 2.0 / 0.9 + 2.0 / 0.1 if share is None else 8.0
    count = users_needed(stable, canary, 0.05, 0.05, share)
    assert half_width(variance, count, 0.05) <= 0.05 < half_width(variance, count - 1, 0.05)


def test_groups_of_other_sizes_than_drawn_are_noticed() -> None:
    assert not mismatch(500, 10_000, 0.05)
    assert mismatch(350, 10_000, 0.05)
    assert mismatch(800, 10_000, 0.05)
    assert not mismatch(0, 20, 0.05)
    assert not mismatch(7, 7, 1.0)  # nobody is left to be compared with, which other figures say
    rng = np.random.default_rng(0)
    wrong = [
        any(mismatch(int(c), n + 1, 0.3) for n, c in enumerate(np.cumsum(rng.random(500) < 0.3))) for _ in range(40)
    ]
    assert not any(wrong)
