"""The ServableValidator's settings."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from components.servable_validator.settings import ServableValidatorSettings


def test_settings_are_strict():
    with pytest.raises(ValidationError):
        ServableValidatorSettings(num_request=3)
    with pytest.raises(ValidationError):
        ServableValidatorSettings(max_latency_ms=0)
    assert ServableValidatorSettings(max_latency_ms=None).max_latency_ms is None
