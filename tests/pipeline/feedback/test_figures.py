"""Sums over parts and replicates."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from components.evaluator.bootstrap import user_weights
from pipeline.feedback import figures
from pipeline.feedback.figures import OTHERS, UNKNOWN, Rate, Tally, rate, weighted_sums
from pipeline.feedback.outcomes import outcomes
from tests.pipeline.feedback.test_outcomes import HOUR, RULES, part


def test_sums_of_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_USERS", 2)  # several blocks
    user, code = np.array([2, 0, 1, 0]), np.array([1, 0, 1, 1])
    counts = np.array([[1.0, 0], [2, 1], [4, 0], [8, 0]])
    weights = np.array([[1, 0, 3], [1, 2, 0], [1, 1, 1]])
    expected = [[[2, 1], [13, 0]], [[0, 0], [9, 0]], [[6, 3], [25, 0]]]  # code 1: 1·w2 + 4·w1 + 8·w0
    assert weighted_sums(user, code, counts, weights, 2).tolist() == expected


def test_rates() -> None:
    assert rate(np.array([1.0]), np.array([4.0]), 0.95) == Rate(0.25)
    assert rate(np.array([0.0, 1]), np.array([0.0, 2]), 0.95) == Rate(None)
    found = rate(np.array([1.0, 0, 2, 1, 0]), np.array([4.0, 4, 4, 4, 0]), 0.5)  # a replicate without anything
    assert found == Rate(0.25, 0.125, 0.375)


def test_parts_add_up_to_the_whole() -> None:
    lists = [
        ("client", f"{n}", user, n % 5, ["a", "b"][: 1 + n % 2]) for n, user in enumerate(["ann", "bob", "eve"] * 7)
    ]
    events = [("ann", "a", 2, 0), ("bob", "b", 3, 0), ("eve", "a", 4, 1)]
    whole, apart = Tally((), 20), Tally((), 20)
    whole.add(outcomes(part(lists, events), RULES, 99 * HOUR, Counter()))
    for name in ("ann", "bob", "eve"):
        own = part([one for one in lists if one[2] == name], [one for one in events if one[0] == name])
        apart.add(outcomes(own, RULES, 99 * HOUR, Counter()))
    assert whole.sums.keys() == apart.sums.keys()
    for key in whole.sums:
        np.testing.assert_allclose(whole.sums[key], apart.sums[key])
    assert whole.figures(0.9) == apart.figures(0.9)
    assert [one.value for one in whole.figures(0.9) if one.dimension == "place"] == ["1", "2"]
    assert [one.value for one in whole.figures(0.9) if one.dimension == "label"] == [UNKNOWN]


def test_values_beyond_the_most_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_MOST", 2)
    one = part([("client", str(n), "ann", 1, ["a"]) for n in range(6)], [])
    codes = pa.array([1, 1, 2, 3, 4, 1])
    one = type(one)(one.lists.set_column(4, "version", codes), one.events, one.users)
    tally = Tally((), 0)
    tally.add(outcomes(one, RULES, 99 * HOUR, Counter()))
    lists = {found.value: found.lists for found in tally.figures(0.9) if found.dimension == "version"}
    assert lists == {"1": 3, "2": 1, OTHERS: 2}


def test_the_draws_are_the_evaluators() -> None:
    tally = Tally((), 3)
    one = part([("client", "0", "ann", 1, ["a"]), ("client", "1", "bob", 1, ["a"])], [])
    tally.add(outcomes(one, RULES, 99 * HOUR, Counter()))
    assert tally.sums["all", ""][:, 0].tolist() == user_weights(np.array([b"ann", b"bob"]), 3).sum(0).tolist()
