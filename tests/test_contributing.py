"""CONTRIBUTING.md names places that are there, and what it says must not be forgotten isn't."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import get_args

import pytest

from components.indexer import signatures
from components.tables.features import Feature, ItemFeature
from pipeline.data.datasets import DATASETS
from pipeline.model import preprocessing
from pipeline.model.settings import ModelSettings
from serving import contract
from tests.e2e.world import NODES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
EXAMPLES = {"metric": "ndcg", "baseline": "ease", "data set": "movielens", "node": "indexer"}
"""What stands for the words in angle brackets."""
PLACES = sorted(
    {place for row in re.findall(r"^\| (`[^|]+) \|", PAGE, re.M) for place in re.findall(r"`([^`]+)`", row)}
)
PACKAGES = sorted(file.parent.name for file in (ROOT / "components").glob("*/component.py"))


@pytest.mark.parametrize("place", [place for place in PLACES if "/" in place])
def test_the_places_are_there(place: str) -> None:
    path = re.sub("<(.*?)>", lambda word: EXAMPLES[word[1]], place)
    if path.startswith("configs/"):
        path = "configs/movielens_100k.yaml"
    assert (ROOT / path).exists()


def test_a_metric_needs_three_places() -> None:
    [table] = re.findall(r"### a metric\n\n((?:\|.*\n)+)", PAGE)
    assert table.count("\n") == 2 + 3


def test_moments_features_are_those_of_the_settings() -> None:
    [names, _] = get_args(ModelSettings.model_fields["time_features"].annotation)
    assert set(get_args(names)) == set(preprocessing.TIME_FEATURES)


def test_preprocessing_knows_each_type_of_feature() -> None:
    types = {"category", "categories", "number", "text"}
    assert set(get_args(Feature.model_fields["type"].annotation)) == types, "add it to preprocessing and to this test"
    assert set(get_args(ItemFeature.model_fields["type"].annotation)) == {*types, "vector"}, "likewise"


def test_a_data_set_has_a_recipe_and_a_test() -> None:
    recipes = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "configs").glob("*.yaml"))
    tests = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests" / "pipeline" / "data").glob("*.py"))
    for name, dataset in DATASETS.items():
        assert f"dataset: {name}" in recipes
        assert name in tests
        assert len(dataset.files) > 0


@pytest.mark.parametrize("package", PACKAGES)
def test_a_node_is_checked_drawn_and_tested(package: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    [independent] = (each for each in contracts if each["type"] == "independence")
    assert f"components.{package}" in independent["modules"]
    name = package.title().replace("_", "")
    assert re.search(rf"\[{'ImportSchemaGen' if package == 'schema_gen' else name}\]", ARCHITECTURE)
    if package not in ("promoter", "schema_gen"):  # of the cluster only; there under two names
        assert name in NODES
    assert list((ROOT / "tests" / "components" / package).glob("test_*.py"))


@pytest.mark.parametrize("name", contract.SIGNATURES)
def test_a_signature_is_made_described_and_asked(name: str) -> None:
    assert callable(getattr(signatures.Servable, name))
    assert f"| `{name}`" in ARCHITECTURE
    folders = (ROOT / "tests" / "components" / "indexer", ROOT / "tests" / "serving" / "wire")
    tests = "".join(file.read_text(encoding="utf-8") for folder in folders for file in folder.glob("*.py"))
    assert re.search(rf'"{name}"|\bcontract\.{name.upper()}\b', tests)
