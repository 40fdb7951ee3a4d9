"""The one run of a real data set: MovieLens-100K, by the recipe that the README begins with."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.evaluation_report import CANDIDATE, COUNT, OVERALL, load_report
from components.versions import list_versions
from tests.e2e.world import NODES, recommender

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "configs" / "movielens_100k.yaml"


def test_the_recipe_ends_with_a_version(tmp_path: Path) -> None:
    places = ("--set", "output=output", "--set", "serving.base_path=models")
    ended = recommender(tmp_path, "run", "--config", str(CONFIG), *places)
    assert ended.code == 0, ended.text
    assert ended.states() == dict.fromkeys(NODES, "done")
    assert "100,000 rows read" in ended.stdout
    [version] = list_versions(tmp_path / "models" / "movielens_100k")
    assert f"version {version.number} is published" in ended.stdout
    [evaluation] = (tmp_path / "output" / "movielens_100k" / "artifacts" / "Evaluator" / "evaluation").iterdir()
    report = load_report(str(evaluation))
    figures, popular = (report.metrics[model][OVERALL] for model in (CANDIDATE, "popularity"))
    assert figures[COUNT] == 20_000
    assert figures["ndcg@10"] > 1.5 * popular["ndcg@10"]
