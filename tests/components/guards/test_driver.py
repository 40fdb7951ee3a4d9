"""A cache that follows what is pushed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tfx.orchestration.portable import data_types

from components.guards.driver import Driver
from components.versions import publish
from tests.components.nodes import make_model


@pytest.mark.smoke
def test_another_version_is_another_key(tmp_path: Path) -> None:
    properties = {"base_path": str(tmp_path), "model_name": "m", "accept": ""}
    info = data_types.ExecutionInfo(exec_properties=properties)
    driver = Driver(None)
    assert driver.look(info) == {"last_pushed": ""}
    version = publish(make_model(tmp_path / "new", "new") / "Format-Serving", tmp_path / "m")
    output = driver.run(info).exec_properties
    assert output["last_pushed"].string_value == str(version.number)
    assert output["accept"].string_value == "", (
        "what lets a run through is part of the key too, so it ends with the run"
    )
