"""The candidate."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.components.nodes import make_model


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    return make_model(tmp_path / "candidate", "new")
