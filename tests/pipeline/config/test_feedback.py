"""The settings of the feedback, alone and with the log's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from components.errors import InputError
from pipeline.config import load_config
from pipeline.config.feedback import FeedbackSettings


def test_a_type_is_either() -> None:
    with pytest.raises(ValidationError, match=r"feedback\.clicks and feedback\.conversions both have buy"):
        FeedbackSettings(clicks=("view", "buy"), conversions=("buy",))


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ({}, "feedback.clicks and feedback.conversions need data.interactions.columns.event"),
        ({"columns": {"event": "type"}, "event_weights": {"view": 1}}, "feedback: events of type 'buy' are dropped"),
    ],
)
def test_types_are_those_of_the_log(tmp_path: Path, log: dict, message: str) -> None:
    content = {
        "name": "shop",
        "data": {"interactions": {"path": "log.csv", **log}},
        "feedback": {"conversions": ["buy"]},
    }
    (tmp_path / "shop.yaml").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        load_config(tmp_path / "shop.yaml")


def test_the_keys_variable_may_begin_as_ours_do(tmp_path: Path) -> None:
    content = {"name": "shop", "data": {"interactions": {"path": "log.csv"}}}
    content["feedback"] = {"key_env": "RECOMMENDER_ANSWERS_KEY"}
    (tmp_path / "shop.yaml").write_text(json.dumps(content))
    environ = {"RECOMMENDER_ANSWERS_KEY": "secret"}
    assert load_config(tmp_path / "shop.yaml", environ=environ).feedback.key_env == "RECOMMENDER_ANSWERS_KEY"
