"""A servable of seven items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from components.indexer.index import Index
from components.indexer.saving import save_servable
from components.indexer.signatures import Servable
from tests.components.indexer.tiny import SETTINGS, in_memory, make_index, write_towers
from tests.shared import made_once


@pytest.fixture(scope="session")
def towers(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(made_once(tmp_path_factory, "towers-of-seven", lambda path: write_towers(path, [], [])))


@pytest.fixture(scope="session")
def index(towers: str, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_index(towers, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def servable_dir(towers: str, index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The saved servable; tests must not change it."""
    return made_once(
        tmp_path_factory, "seven-items", lambda path: save_servable(towers, index, SETTINGS, "tiny", str(path))
    )


@pytest.fixture(scope="session")
def loaded(servable_dir: Path) -> Any:
    return tf.saved_model.load(str(servable_dir))


@pytest.fixture(scope="session")
def seven(towers: str, index: Index) -> Servable:
    """The same without being saved and loaded, which takes most of the time."""
    return in_memory(towers, index, SETTINGS)


@pytest.fixture(scope="session")
def of_users(towers: str, index: Index) -> Servable:
    """The same seven items, with the signatures of users."""
    return in_memory(towers, index, SETTINGS.model_copy(update={"audience": True}))


SAVED = pytest.param("saved", marks=[pytest.mark.slow, pytest.mark.smoke])


@pytest.fixture(scope="module", params=["in memory", SAVED])
def servable(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("loaded" if request.param == "saved" else "seven")


@pytest.fixture(scope="session")
def in_context(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    """A servable whose towers take the context `shift`, stored of ann (2) and cleo (-1)."""
    root = tmp_path_factory.mktemp("in_context")
    towers = write_towers(root / "towers", [{"name": "shift", "type": "number"}], ["shift"])
    return in_memory(towers, make_index(towers, root), SETTINGS)
