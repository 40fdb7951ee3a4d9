"""Where the list of users lies who are forgotten."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Config


def test_the_list_lies_with_the_output_unless_it_is_named() -> None:
    content = {"name": "shop", "output": "out", "data": {"interactions": {"path": "log.csv"}}}
    assert Config.model_validate(content).suppression() == Path("out/shop/suppression.json").absolute()
    named = {**content, "privacy": {"suppression": "/safe/list.json"}}
    assert Config.model_validate(named).suppression() == Path("/safe/list.json")
    assert not Config.model_validate(content).privacy.show_users
