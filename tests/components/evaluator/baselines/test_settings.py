"""The baselines' settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pydantic
import pytest

from components.evaluator.baselines import BaselineSettings


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"names": ["popularity", "ease", "ease"]}, "named twice in popularity, ease, ease"),
        ({"names": ["bpr"]}, "'popularity', 'recent_popularity'"),
        ({"recent_half_life_days": 0}, "recent_half_life_days"),
        ({"ease_l2": 0}, "ease_l2"),
        ({"item_knn_shrinkage": -1}, "item_knn_shrinkage"),
        ({"ease_lambda": 1}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_settings_are_named(wrong: dict, message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        BaselineSettings.model_validate(wrong)


def test_the_settings_need_no_numpy() -> None:
    script = "import sys, components.evaluator.baselines; print('numpy' in sys.modules, 'scipy' in sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[4], capture_output=True, text=True, check=True
    )
    assert output.stdout.split() == ["False", "False"]
