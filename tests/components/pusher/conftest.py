"""What is pushed."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.evaluation_report import Check, Report, save_report
from tests.components.nodes import make_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model", "new")


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Guards' artifact."""
    path = tmp_path_factory.mktemp("profile")
    (path / "data_profile.json").write_text("what the data are like")
    return path


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Evaluator's artifact."""
    path = tmp_path_factory.mktemp("evaluation")
    metrics = {
        "candidate": {"overall": {"hit_rate@10": 0.25, "count": 4.0}, "a=x": {"hit_rate@10": 0.5}},
        "popularity": {"overall": {"hit_rate@10": 0.125, "count": 4.0}},
    }
    checks = (Check("hit_rate@10", "overall", 0.25, 0.125, "popularity", True),)
    save_report(Report(metrics, checks, True, "hit_rate@10", {}, "all", 1, 1), str(path))
    return path
