"""The Pusher as a node: it always runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from components import versions
from components.data_profile import DataProfile
from tests.components.nodes import node_states

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def test_the_pusher_looks_at_the_base_path_on_every_run(
    model: Path, evaluation: Path, profile: Path, tmp_path: Path
) -> None:
    from components.pusher.component import Pusher

    base = tmp_path / "base"
    inputs = {
        "model": (model, standard_artifacts.Model),
        "model_blessing": (tmp_path, standard_artifacts.ModelBlessing, {"blessed": 1}),
        "infra_blessing": (tmp_path, standard_artifacts.InfraBlessing, {"blessed": 1}),
        "evaluation": (evaluation, standard_artifacts.ModelEvaluation),
        "champion": (tmp_path / "none", standard_artifacts.Model),
        "examples": (tmp_path / "examples", standard_artifacts.Examples),
        "profile": (profile, DataProfile),
    }

    def run() -> tuple[str, int]:
        states = node_states(
            tmp_path / "pipeline",
            inputs,
            lambda **channels: Pusher(**channels, base_path=str(base), model_name="m", origin={}),
        )
        return states["state"], states["artifact"].get_int_custom_property("pushed")

    assert run() == ("COMPLETE", 1)
    (version,) = versions.list_versions(base / "m")
    lineage = versions.release(version.path)["lineage"]
    assert (lineage["pipeline"], lineage["parent"]) == ("test", "")
    assert lineage["run"]
    assert all(lineage["artifacts"].values())
    assert run() == ("COMPLETE", 0)
    shutil.rmtree(base)
    assert run() == ("COMPLETE", 1), "somebody deleted the version"
    assert len(versions.list_versions(base / "m")) == 1
