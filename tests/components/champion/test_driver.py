"""A cache that follows the base path."""

from __future__ import annotations

from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from components.versions import publish
from tests.components.nodes import make_model, node_states

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


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
