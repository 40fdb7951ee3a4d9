"""How much `recommender gc` leaves."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pipeline.config.retention import RetentionSettings


def test_a_limit_may_be_taken_away_but_not_be_nothing() -> None:
    assert RetentionSettings(versions=None, runs=None, days=None, logs=None).gigabytes is None
    for name in RetentionSettings.model_fields:
        with pytest.raises(ValidationError, match="greater than"):
            RetentionSettings(**{name: 0})
