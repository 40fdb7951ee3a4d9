"""What CatalogueGen's cache goes by."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import pytest
from tfx.orchestration.portable import data_types

from components.catalogue_gen.driver import Driver
from components.catalogue_gen.settings import CatalogueSettings
from components.tables import encoders


@pytest.fixture
def look(tmp_path: Path) -> Any:
    """Asks the driver about a catalogue with such features."""
    (tmp_path / "items.csv").write_text("item_id,title\na,b\n")

    def ask(**features: dict[str, str]) -> dict[str, str]:
        settings = CatalogueSettings.model_validate({"features": features}).model_dump_json()
        properties = {"input_path": str(tmp_path / "items.csv"), "settings": settings}
        return Driver(metadata_handle=None).look(data_types.ExecutionInfo(exec_properties=properties))

    return ask


def test_another_version_of_an_encoder_makes_the_catalogue_anew(look: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "check", lambda name: None)
    monkeypatch.setattr(importlib.metadata, "version", {"wordllama": "1.0"}.get)
    before = look(title={"type": "text", "encoder": "wordllama"})
    assert before["encoders"] == "wordllama 1.0"
    monkeypatch.setattr(importlib.metadata, "version", {"wordllama": "2.0"}.get)
    after = look(title={"type": "text", "encoder": "wordllama"})
    assert after == {**before, "encoders": "wordllama 2.0"}


def test_without_an_encoder_the_files_alone_count(look: Any) -> None:
    assert set(look(title={"type": "text"})) == {"input_fingerprint"}
