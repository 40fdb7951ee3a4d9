"""The Promoter as a node."""

from __future__ import annotations

import json
from pathlib import Path

from tfx.types import standard_artifacts

from components.promoter.component import Promoter


def test_the_component_takes_the_replicas_of_the_config(tmp_path: Path) -> None:
    from tfx.types import Channel

    node = Promoter(Channel(standard_artifacts.PushedModel), "/models", "m", "stable", "false", ("a:8500", "b:8500"))
    assert json.loads(node.exec_properties["replicas"]) == ["a:8500", "b:8500"]
