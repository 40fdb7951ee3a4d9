"""Pusher: blessings, versions, nothing twice, never from the cache."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts

from components import versions
from components.errors import InputError
from components.pusher.executor import Executor
from tests.components.nodes import make_model, node_states


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model", "new")


def push(model_uri: Path, base: Path, model_blessed: int = 1, infra_blessed: int = 1) -> Any:
    model, pushed = standard_artifacts.Model(), standard_artifacts.PushedModel()
    model_blessing, infra_blessing = standard_artifacts.ModelBlessing(), standard_artifacts.InfraBlessing()
    model.uri = str(model_uri)
    model_blessing.set_int_custom_property("blessed", model_blessed)
    infra_blessing.set_int_custom_property("blessed", infra_blessed)
    inputs = {"model": [model], "model_blessing": [model_blessing], "infra_blessing": [infra_blessing]}
    Executor().Do(inputs, {"pushed_model": [pushed]}, {"base_path": str(base), "model_name": "m"})
    return pushed


def test_a_blessed_model_becomes_the_newest_version(model: Path, tmp_path: Path) -> None:
    pushed = push(model, tmp_path / "base")
    (version,) = versions.list_versions(tmp_path / "base" / "m")
    assert version.fingerprint == "new"
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("version") == str(version.number)
    assert pushed.get_string_custom_property("pushed_destination") == str(version.path)
    assert pushed.get_string_custom_property("reason") == f"version {version.number} is published"
    assert pushed.get_string_custom_property("summary") == f"version {version.number} is published · {version.path}"


@pytest.mark.parametrize(
    ("model_blessed", "infra_blessed", "who"),
    [(0, 1, "the Evaluator"), (1, 0, "the ServableValidator"), (0, 0, "the Evaluator and the ServableValidator")],
)
def test_without_both_blessings_nothing_is_pushed(
    model: Path, tmp_path: Path, model_blessed: int, infra_blessed: int, who: str
) -> None:
    pushed = push(model, tmp_path / "base", model_blessed, infra_blessed)
    assert not (tmp_path / "base").exists()
    assert pushed.get_int_custom_property("pushed") == 0
    assert pushed.get_string_custom_property("summary") == f"not pushed: not blessed by {who}"
    assert not pushed.has_custom_property("version")


def test_the_same_model_is_not_pushed_twice(model: Path, tmp_path: Path) -> None:
    first = push(model, tmp_path / "base").get_string_custom_property("version")
    again = push(model, tmp_path / "base")
    assert again.get_int_custom_property("pushed") == 0
    assert again.get_string_custom_property("version") == first
    assert again.get_string_custom_property("summary") == f"nothing new: version {first} already serves this model"
    assert len(versions.list_versions(tmp_path / "base" / "m")) == 1


def test_a_model_that_served_before_another_one_is_pushed_again(model: Path, tmp_path: Path) -> None:
    push(model, tmp_path / "base")
    push(make_model(tmp_path / "other", "other"), tmp_path / "base")
    push(model, tmp_path / "base")
    found = [version.fingerprint for version in versions.list_versions(tmp_path / "base" / "m")]
    assert found == ["new", "other", "new"]


def test_models_without_a_fingerprint_are_never_taken_for_the_same(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "")
    push(model, tmp_path / "base")
    assert push(model, tmp_path / "base").get_int_custom_property("pushed") == 1


def test_a_base_path_that_can_not_be_written(model: Path, tmp_path: Path) -> None:
    (tmp_path / "base").write_text("a file")
    with pytest.raises(InputError, match=r"base/m: a new version can't be written"):
        push(model, tmp_path / "base")


def test_the_pusher_looks_at_the_base_path_on_every_run(model: Path, tmp_path: Path) -> None:
    from components.pusher.component import Pusher

    base = tmp_path / "base"
    inputs = {
        "model": (model, standard_artifacts.Model),
        "model_blessing": (tmp_path, standard_artifacts.ModelBlessing, {"blessed": 1}),
        "infra_blessing": (tmp_path, standard_artifacts.InfraBlessing, {"blessed": 1}),
    }

    def run() -> tuple[str, int]:
        states = node_states(
            tmp_path / "pipeline", inputs, lambda **channels: Pusher(**channels, base_path=str(base), model_name="m")
        )
        return states["state"], states["artifact"].get_int_custom_property("pushed")

    assert run() == ("COMPLETE", 1)
    assert run() == ("COMPLETE", 0)
    shutil.rmtree(base)
    assert run() == ("COMPLETE", 1), "somebody deleted the version"
    assert len(versions.list_versions(base / "m")) == 1
