"""What is asked for every user."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.batch.answers import Wish


@pytest.mark.parametrize(
    ("wish", "ruled"),
    [
        ({}, False),
        ({"exclude": ("a",)}, False),  # which every signature takes
        ({"allow": ("a",)}, True),
        ({"filters": ("brand=x",)}, True),
        ({"boosts": (("brand=x", 0.0),)}, True),
        ({"diversity": 0.5}, True),
        ({"diversity": 0.0}, True),  # not the model's own
    ],
)
def test_rules_need_a_signature_that_takes_them(wish: dict[str, Any], ruled: bool) -> None:
    assert Wish(3, **wish).ruled is ruled
