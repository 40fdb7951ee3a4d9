"""Champion: which version, its copy, and a cache that follows the base path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts

from components.champion.champion import copy_champion, find_champion
from components.champion.executor import Executor
from components.errors import InputError
from components.versions import Version, publish
from serving.promotion import Promoter
from tests.components.nodes import make_model, node_states


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    return make_model(tmp_path / "candidate", "new")


def _run_executor(candidate: Path, base: Path, output: Path, **driven: str) -> Any:
    model, champion = standard_artifacts.Model(), standard_artifacts.Model()
    model.uri, champion.uri = str(candidate), str(output)
    output.mkdir()
    properties = {"base_path": str(base), "model_name": "m", **driven}
    Executor().Do({"model": [model]}, {"champion": [champion]}, properties)
    return champion


def test_the_champion_is_the_newest_version_that_is_not_the_candidate(candidate: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    assert find_champion(str(candidate), str(base), "m") is None
    publish(candidate / "Format-Serving", base / "m")
    assert find_champion(str(candidate), str(base), "m") is None
    old = publish(make_model(tmp_path / "old", "old") / "Format-Serving", base / "m")
    publish(candidate / "Format-Serving", base / "m")
    assert find_champion(str(candidate), str(base), "m") == old


def test_the_champion_is_what_was_promoted(candidate: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    old, other, new = (
        publish(make_model(tmp_path / name, name) / "Format-Serving", base / "m") for name in ("old", "other", "new")
    )
    promoter = Promoter(base, "m", [])
    promoter.promote(old.number, "stable")
    promoter.promote(other.number, "canary")
    assert find_champion(str(candidate), str(base), "m") == old
    promoter.promote(new.number, "stable")
    assert find_champion(str(candidate), str(base), "m") == other, "that is the candidate itself"
    (base / "models.config").write_text("nonsense")
    with pytest.raises(InputError, match=r"not a models\.config"):
        find_champion(str(candidate), str(base), "m")


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


def test_a_version_that_goes_while_it_is_copied(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="7: this version was removed while it was read; run again"):
        copy_champion(Version(7, tmp_path / "7", ""), str(tmp_path / "output"))


def test_the_cache_is_valid_as_long_as_the_champion_stays_the_same(candidate: Path, tmp_path: Path) -> None:
    from components.champion.component import Champion

    base = tmp_path / "base"

    def run() -> tuple[str, str]:
        states = node_states(
            tmp_path / "pipeline",
            {"model": (candidate, standard_artifacts.Model)},
            lambda model: Champion(model=model, base_path=str(base), model_name="m"),
        )
        return states["state"], states["artifact"].get_string_custom_property("summary")

    assert run() == ("COMPLETE", "none: first version")
    assert run() == ("CACHED", "none: first version")
    publish(candidate / "Format-Serving", base / "m")
    assert run() == ("CACHED", "none: first version"), "what was pushed is the candidate itself"
    version = publish(make_model(tmp_path / "other", "other") / "Format-Serving", base / "m")
    assert run() == ("COMPLETE", f"version {version.number}")
    assert run() == ("CACHED", f"version {version.number}")
