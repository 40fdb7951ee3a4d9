"""Settings of the model and of its training that are refused."""

from __future__ import annotations

import pytest

from pipeline.model.settings import ModelSettings, TrainingSettings


def test_settings_that_leave_nothing_to_learn_from_are_refused() -> None:
    with pytest.raises(ValueError, match="history none needs"):
        ModelSettings(history="none")


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"workers": 9, "batch_size": 8}, {"workers": 2, "jit_compile": True}]
)
def test_wrong_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="workers"):
        TrainingSettings(**wrong)
