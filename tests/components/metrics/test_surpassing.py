"""Which way does better than the usual one."""

from __future__ import annotations

import numpy as np

from components.metrics.surpassing import surpassing


def test_the_first_unless_another_leads_by_more_than_a_standard_error() -> None:
    usual = np.array([0.0, 1.0, 0.0, 1.0])
    # Leads of 0.25, with a deviation of 0.75 (standard error 0.375) and of none.
    by_chance, always = np.array([0.0, 1.0, 0.0, 2.5]) - [0.125, 0.125, 0.125, 0.125], usual + 0.25
    assert surpassing([usual, by_chance]) == 0
    assert surpassing([usual, by_chance, always]) == 2
    # A lead of 0.75 with a standard error of 0.375.
    often = usual + np.array([0.0, 1.5, 0.0, 1.5])
    assert surpassing([usual, often]) == 1
    assert surpassing([usual, often], errors=3) == 0
    assert surpassing([usual, usual]) == 0
    assert surpassing([usual]) == 0
