"""Estimates by hand, and that they come near what lists bring in a world whose clicks are known."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from pipeline.config.feedback import FeedbackSettings
from pipeline.feedback.examination import Examination
from pipeline.feedback.off_policy import OffPolicy, propensity
from pipeline.feedback.outcomes import outcomes
from tests.pipeline.feedback.test_outcomes import HOUR, RULES, part


def judged(lists, events, answers, settings=RULES, replicates=0):
    """Of (user, items, exploration's share, order)."""
    named = [("client", f"{n:05d}", user, n % 50, items) for n, (user, items, _, _) in enumerate(lists)]
    whole = part(named, events)
    rows = [
        {**row, "explored": share, "first": share and 2, "order": order}
        for row, (_, _, share, order) in zip(whole.lists.to_pylist(), lists)
    ]
    whole = type(whole)(whole.lists.from_pylist(rows, whole.lists.schema), whole.events, whole.users)
    examination = Examination(settings, replicates)
    estimate = OffPolicy(
        lambda table: (np.full(len(table), True), [answers[int(name)] for name in table["request"].to_pylist()]),
        settings,
        replicates,
        examination,
    )
    found = outcomes(whole, RULES, 999 * HOUR, Counter())
    examination.add(found)
    estimate.add(found)
    return estimate.estimates(0.9)


def test_propensities() -> None:
    assert [propensity(0, place, 0.5, 2) for place in range(3)] == [0.75, 0.25, 0.0]
    assert [propensity(2, place, 0.5, 2) for place in range(3)] == [0.0, 0.0, 1.0]
    assert sum(propensity(item, 1, 0.3, 4) for item in range(6)) == pytest.approx(1)


def test_estimates_by_hand() -> None:
    lists = [("ann", ["a", "b"], 0.5, None), ("bob", ["b", "a"], 0.5, [1, 0]), ("eve", ["a", "b"], 0.5, None)]
    events = [("ann", "a", 0, 0), ("bob", "b", 1, 0), ("eve", "b", 2, 0)]
    settings = FeedbackSettings(examination=(1.0, 0.5))
    found = judged(lists, events, [["a", "b"], ["b", "a"], ["b", "a"]], settings)
    # Weights: 1 / 0.75 for what stood where it stands by score, 1 / 0.25 for what was shuffled there, 0 elsewhere.
    assert found["ips"].value == pytest.approx((4 / 3 + 4) / 3)
    assert found["snips"].value == pytest.approx((4 / 3 + 4) / (4 / 3 + 4 + 0))
    assert found["effective_sample"] == pytest.approx((2 * 16 / 3) ** 2 / (2 * (16 / 9 + 16)))
    assert (found["support"], found["lists"], found["explored_lists"]) == (1.0, 3, 3)
    assert found["logged"].value == found["logged_explored"].value == 1.0
    assert found["position_based"].value == pytest.approx((1 + 1 + 1.0 / 0.5) / 3)
    assert (found["examination"], found["examination_from"]) == ([1.0, 0.5], "feedback.examination")
    clipped = judged(
        lists, events, [["a", "b"], ["b", "a"], ["b", "a"]], FeedbackSettings(clip=1.5, examination=(1, 0.5))
    )
    assert clipped["ips"].value == pytest.approx((4 / 3 + 1.5) / 3)
    assert clipped["position_based"].value == pytest.approx((1 + 1 + 1.5) / 3)


def test_what_was_never_shown_has_no_support() -> None:
    found = judged([("ann", ["a", "b"], 0.5, None)], [("ann", "a", 0, 0)], [["z", "b"]])
    assert (found["ips"].value, found["support"], found["effective_sample"]) == (0.0, 0.5, 1.0)
    plain = judged([("ann", ["a", "b"], None, None)], [("ann", "a", 0, 0)], [["a", "b"]])
    assert "ips" not in plain
    assert (plain["position_based"].value, plain["examination_from"]) == (1.0, "clicks of all lists by place")


def test_nothing_to_ask() -> None:
    assert OffPolicy(lambda _: (np.empty(0), []), RULES, 0, Examination(RULES, 0)).estimates(0.9) == {"lists": 0}


@pytest.mark.slow
def test_they_come_near_the_truth() -> None:
    # "b" is the better item, and the second place is looked at half as often; what is served puts "a" first.
    draw, like, look = random.Random(3), {"a": 0.2, "b": 0.6}, (1.0, 0.5)
    lists, events, share = [], [], 0.4
    for number in range(4000):
        order = [1, 0] if draw.random() < share / 2 else None
        items = ["b", "a"] if order else ["a", "b"]
        lists.append((f"user {number}", items, share, order))
        for place, item in enumerate(items):
            if draw.random() < like[item] * look[place]:
                events.append((f"user {number}", item, number % 50, 0))
    found = judged(lists, events, [["b", "a"]] * len(lists), FeedbackSettings(), replicates=50)
    truth = 0.6 + 0.2 * 0.5
    for name in ("ips", "snips"):
        assert found[name].low < truth < found[name].high
        assert found[name].value == pytest.approx(truth, abs=0.05)
    assert found["logged"].value == pytest.approx(0.8 * (0.2 + 0.3) + 0.2 * truth, abs=0.03)
