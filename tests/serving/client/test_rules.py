"""Rules as their caller writes them, and as they go to the server."""

from __future__ import annotations

import math

import pytest

from serving.client import InvalidRequest, rules


@pytest.mark.parametrize(
    ("filters", "conditions"),
    [
        ({}, []),
        ({"brand": "x"}, ["brand=x"]),
        ({"brand": ["x", "y"], "price<=": 20}, ["brand=x", "brand=y", "price<=20"]),
        ({"price>=": 0.5, "size=": 3}, ["price>=0.5", "size=3"]),
        ({"brand": "a=b"}, ["brand=a=b"]),
    ],
)
def test_filters(filters, conditions):
    assert rules.conditions(filters) == conditions


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (["brand=x"], "it is a dict of values"),
        ({"brand": []}, "a name and one value or several"),
        ({5: "x"}, "a name and one value or several"),
        ({"price<=": True}, "is a bool, not a number"),
        ({"price<=": math.nan}, "must be finite"),
        ({"brand": None}, "is a NoneType, not a number"),
    ],
)
def test_filters_that_are_none(filters, message):
    with pytest.raises(InvalidRequest, match=message):
        rules.conditions(filters)


def test_boosts():
    assert rules.boosted({"brand=x": 0.5, "price<=20": -1}) == [("brand=x", 0.5), ("price<=20", -1.0)]


@pytest.mark.parametrize(
    ("boosts", "message"),
    [
        ([("brand=x", 1)], "it is a dict of numbers by condition"),
        ({"brand": 1.0}, "'brand' is no condition"),
        ({"brand=x": "1"}, "is a str, not a number"),
        ({"brand=x": math.inf}, "must be finite"),
    ],
)
def test_boosts_that_are_none(boosts, message):
    with pytest.raises(InvalidRequest, match=message):
        rules.boosted(boosts)


@pytest.mark.parametrize("diversity", [None, 0, 0.25, 1])
def test_diversity(diversity):
    assert rules.checked_diversity(diversity) == diversity


@pytest.mark.parametrize("diversity", [-0.1, 1.1, "0.5", True, math.nan])
def test_diversity_that_is_none(diversity):
    with pytest.raises(InvalidRequest, match="diversity="):
        rules.checked_diversity(diversity)


def test_weights_of_tasks():
    assert rules.weighed({"purchase": 1, "view": 0.0}) == [("purchase", 1.0), ("view", 0.0)]
    assert rules.weighed({}) == []


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("purchase", "it is a dict of weights by task"),
        ({"": 1}, "is no name of a task"),
        ({5: 1}, "is no name of a task"),
        ({"view": "much"}, "is a str, not a number"),
        ({"view": math.inf}, "must be finite"),
        ({"view": -1, "purchase": 2}, "weights are 0 or more, and one of them is more"),
        ({"view": 0, "purchase": 0}, "weights are 0 or more, and one of them is more"),
    ],
)
def test_weights_that_are_none(tasks, message):
    with pytest.raises(InvalidRequest, match=message):
        rules.weighed(tasks)
