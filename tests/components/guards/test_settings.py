"""Limits that make no sense are refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from components.guards.settings import GuardSettings


@pytest.mark.parametrize(
    "wrong", [{"min_size": 1.5}, {"max_size": 0.5}, {"max_future_days": -1}, {"drift": {"price": 2}}, {"min_rows": 1}]
)
def test_wrong_limits(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GuardSettings.model_validate(wrong)


def test_null_is_no_limit() -> None:
    assert GuardSettings.model_validate({"min_size": None, "drift": {"price": None}}).min_size is None
