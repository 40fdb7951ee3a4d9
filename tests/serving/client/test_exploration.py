"""The orders of shuffled answers."""

from __future__ import annotations

from collections import Counter

import pytest

from serving.client import Exploration, InvalidRequest


def test_all_orders_of_the_first_are_as_likely_and_the_rest_stays():
    every = Exploration(1.0, first=3)
    orders = Counter(tuple(every.order(f"request-{number}", 0, 5)) for number in range(6000))
    assert len(orders) == 6
    assert all(order[3:] == (3, 4) for order in orders)
    assert all(850 <= count <= 1150 for count in orders.values())  # 1000 expected, five standard deviations


def test_a_share_is_shuffled_and_the_same_each_time():
    some = Exploration(0.1, first=4)
    orders = [some.order(f"request-{number}", 0, 10) for number in range(2000)]
    assert 140 <= sum(order is not None for order in orders) <= 260
    assert orders == [some.order(f"request-{number}", 0, 10) for number in range(2000)]
    assert orders != [some.order(f"request-{number}", 1, 10) for number in range(2000)]
    assert Exploration(0).order("any", 0, 10) is None


def test_a_short_list_is_shuffled_as_a_whole():
    assert sorted(Exploration(1.0).order("any", 0, 3)) == [0, 1, 2]
    assert Exploration(1.0).order("any", 0, 0) == []


@pytest.mark.parametrize("wrong", [{"share": 2}, {"share": True}, {"share": 0.1, "first": 1}, {"share": 0, "salt": 3}])
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(InvalidRequest, match="exploration: "):
        Exploration(**wrong)
