"""A base path with versions to write the vectors of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from components.indexer.saving import save_servable
from pipeline.config import Config
from tests.components.indexer.tiny import SETTINGS, make_index, write_towers
from tests.shared import made_once

VERSION = "20260102030405"
"""A version of the model of `tests.serving.wire.contract`."""


@pytest.fixture(scope="module")
def base(contract_servable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has the model `shop`; tests must not change it."""
    base = tmp_path_factory.mktemp("models")
    shutil.copytree(contract_servable, base / "shop" / VERSION)
    return base


@pytest.fixture(scope="session")
def second_stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seven items in int8, with a ranker that turns the order of the best three round; tests must not change it."""

    def make(path: Path) -> None:
        folder = tmp_path_factory.mktemp("second_stage")
        towers = write_towers(folder / "towers", [], [], users={"cleo": [0.5, 0.0, -1.0]}, candidates=3)
        settings = SETTINGS.model_copy(update={"compact": "int8"})
        save_servable(towers, make_index(towers, folder / "data"), settings, "tiny", str(path))

    return made_once(tmp_path_factory, "second-stage", make)


def config_of(base: Path) -> Config:
    """A config whose versions are pushed to a base path."""
    return Config.model_validate(content_of(base))


def content_of(base: Path) -> dict[str, object]:
    return {
        "name": "shop",
        "data": {"interactions": {"path": "log.csv"}},
        "serving": {"base_path": str(base), "default_k": 2},
    }


@pytest.fixture
def config(base: Path) -> Config:
    return config_of(base)


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    """A folder with a config, in which the command is run."""
    (tmp_path / "config.yaml").write_text(json.dumps(content_of(base)))
    return tmp_path
