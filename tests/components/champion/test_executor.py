"""Champion's executor: the copy, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts

from components.champion.executor import Executor
from components.versions import publish
from tests.components.nodes import make_model


def _run_executor(candidate: Path, base: Path, output: Path, **driven: str) -> Any:
    model, champion = standard_artifacts.Model(), standard_artifacts.Model()
    model.uri, champion.uri = str(candidate), str(output)
    output.mkdir()
    properties = {"base_path": str(base), "model_name": "m", **driven}
    Executor().Do({"model": [model]}, {"champion": [champion]}, properties)
    return champion


def test_without_a_champion_the_artifact_stays_empty(candidate: Path, tmp_path: Path) -> None:
    champion = _run_executor(candidate, tmp_path / "base", tmp_path / "output")
    assert champion.get_string_custom_property("summary") == "none: first version"
    assert list((tmp_path / "output").iterdir()) == []
    assert not champion.has_custom_property("version")


@pytest.mark.parametrize("driven", [False, True])
def test_the_champion_is_copied(candidate: Path, tmp_path: Path, driven: bool) -> None:
    version = publish(make_model(tmp_path / "old", "old") / "Format-Serving", tmp_path / "base" / "m")
    properties = {"champion_version": str(version.number), "champion_fingerprint": "old"} if driven else {}
    champion = _run_executor(candidate, tmp_path / "base", tmp_path / "output", **properties)
    copy = tmp_path / "output" / "Format-Serving"
    assert (copy / "saved_model.pb").read_bytes() == b"graph of old"
    assert (copy / "assets.extra" / "recommender.json").is_file()
    assert champion.get_string_custom_property("version") == str(version.number)
    assert champion.get_string_custom_property("fingerprint") == "old"
    assert champion.get_string_custom_property("summary") == f"version {version.number}"


def test_the_driver_s_find_counts_also_when_there_is_a_newer_one(candidate: Path, tmp_path: Path) -> None:
    publish(make_model(tmp_path / "late", "late") / "Format-Serving", tmp_path / "base" / "m")
    properties = {"champion_version": "", "champion_fingerprint": ""}
    champion = _run_executor(candidate, tmp_path / "base", tmp_path / "output", **properties)
    assert champion.get_string_custom_property("summary") == "none: first version"
