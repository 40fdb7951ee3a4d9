"""A servable of seven items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from components.indexer.index import Index
from components.indexer.saving import save_servable
from tests.components.indexer.tiny import (
    SETTINGS,
    make_index,
    write_towers,
)


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_towers(tmp_path_factory.mktemp("towers"), [], [])


@pytest.fixture(scope="module")
def index(towers: str, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_index(towers, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def servable_dir(towers: str, index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("servable") / "1"
    save_servable(towers, index, SETTINGS, "tiny", str(directory))
    return directory


@pytest.fixture(scope="module")
def servable(servable_dir: Path) -> Any:
    return tf.saved_model.load(str(servable_dir))


@pytest.fixture(scope="module")
def in_context(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A servable whose towers take the context `shift`, stored of ann (2) and cleo (-1)."""
    root = tmp_path_factory.mktemp("in_context")
    towers = write_towers(root / "towers", [{"name": "shift", "type": "number"}], ["shift"])
    directory = root / "servable" / "1"
    manifest = save_servable(towers, make_index(towers, root), SETTINGS, "tiny", str(directory))
    assert manifest["context"] == [{"name": "shift", "type": "number"}]
    return tf.saved_model.load(str(directory))
