"""A folder to type commands in, and the stand-in of Kubeflow Pipelines for those that ask it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kubeflow.conftest import api, no_credentials

__all__ = ["api", "no_credentials"]

MINIMAL = "name: shop\ndata:\n  interactions: {path: log.csv}\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a config and its log."""
    (tmp_path / "shop.yaml").write_text(MINIMAL, encoding="utf-8")
    (tmp_path / "log.csv").write_text(
        "user_id,item_id,timestamp\na,b,1600000000\na,c,1600000001\nb,b,1600000002\n", encoding="utf-8"
    )
    return tmp_path
