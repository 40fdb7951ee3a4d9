"""A place by a config alone; what options change of it is in tests/pipeline/cli/test_place.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from pipeline.config import Config
from pipeline.local.place import find_place


def config(**serving: Any) -> Config:
    return Config.model_validate({"name": "m", "data": {"interactions": {"path": "log.csv"}}, "serving": serving})


def test_a_config_names_versions_and_servers(tmp_path: Path) -> None:
    found = find_place(config(base_path=tmp_path, replicas=["a:1", "b"], default_k=3))
    assert (found.base_path, found.name, found.versions) == (tmp_path, "m", tmp_path / "m")
    assert (found.targets, found.tls, found.default_k) == (("a:1", "b:8500"), None, 3)
    assert find_place(config(), Path("/elsewhere"), ["c:2"]).versions == Path("/elsewhere/m")
    assert find_place(config(), targets=["c:2"]).targets == ("c:2",)


def test_servers_must_be_named_where_they_are_asked() -> None:
    assert find_place(config(port=0), asked=False).targets == ()
    with pytest.raises(InputError, match=r"^serving\.port is 0"):
        find_place(config(port=0))
    with pytest.raises(InputError, match=r"^a replica is named twice"):
        find_place(config(replicas=["a", "a:8500"]))
