"""What runs that go on need of a config."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.config import Config


def config(interactions: dict[str, Any] | None = None, **more: Any) -> Config:
    data = {"interactions": {"path": "log/*.csv", **(interactions or {})}}
    return Config.model_validate({"name": "shop", "data": data, "incremental": {}, **more})


def test_the_default_is_off_and_full_every_week() -> None:
    assert Config.model_validate({"name": "shop", "data": {"interactions": {"path": "log.csv"}}}).incremental is None
    made = config().incremental
    assert made is not None
    assert (made.full_every, made.replay) == (7, 1.0)


@pytest.mark.parametrize(
    ("interactions", "more", "words"),
    [
        ({}, {"serving": {"ship": "judged"}}, "incremental needs serving.ship: all"),
        ({"columns": {"timestamp": None}}, {}, "incremental needs data.interactions.columns.timestamp"),
        ({"split": {"method": "files", "eval_path": "a.csv"}}, {}, "another data.interactions.split.method than files"),
        ({}, {"training": {"histories": "others"}}, "incremental needs training.histories before"),
        ({}, {"incremental": {"full_every": 1}}, "greater than or equal to 2"),
    ],
)
def test_what_can_not_go_on(interactions: dict[str, Any], more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config(interactions, **more)
