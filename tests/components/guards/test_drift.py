"""Drift of features, and whose limits count."""

from __future__ import annotations

import pytest

from components.guards.drift import measure
from components.guards.settings import GuardSettings
from tests.components.guards.data import statistics

COLUMNS = {"kind": ["a", "b", "b", "b"] * 10, "price": [1.0, 2.0, 3.0, 4.0] * 10}


def test_the_same_data_have_no_drift() -> None:
    found = measure({"": statistics(COLUMNS)}, {"": statistics(COLUMNS)}, GuardSettings())
    assert [(drift.feature, drift.measure, drift.value) for drift in found] == [
        ("kind", "L-infinity", 0),
        ("price", "Jensen-Shannon", 0),
    ]


def test_what_was_a_quarter_is_all() -> None:
    today = statistics({"kind": ["a"] * 40})
    [found] = measure({"catalogue.": today}, {"catalogue.": statistics(COLUMNS)}, GuardSettings())
    assert (found.feature, found.value, found.limit) == ("catalogue.kind", pytest.approx(0.75), 0.3)


def test_a_feature_s_own_limit_counts_and_null_is_none() -> None:
    days = {"": statistics(COLUMNS)}, {"": statistics(COLUMNS)}
    settings = GuardSettings(drift={"price": 0.9, "kind": None})
    assert [(drift.feature, drift.limit, drift.setting) for drift in measure(*days, settings)] == [
        ("price", 0.9, "drift.price")
    ]
    none = GuardSettings(max_l_infinity=None, max_jensen_shannon=None)
    assert measure(*days, none) == []


def test_few_values_say_nothing_and_tables_are_told_apart() -> None:
    few = statistics({"kind": ["a"] * 19 + [None] * 21})
    assert measure({"": few}, {"": statistics(COLUMNS)}, GuardSettings()) == []
    assert measure({"": statistics(COLUMNS)}, {"": few}, GuardSettings()) == []
    assert measure({"": statistics(COLUMNS)}, {"catalogue.": statistics(COLUMNS)}, GuardSettings()) == []
