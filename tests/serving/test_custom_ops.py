"""What a servable says that it needs, before it is loaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from serving import contract, custom_ops


def servable(folder: Path, text: str) -> Path:
    (folder / "assets.extra").mkdir()
    (folder / contract.MANIFEST).write_text(text)
    return folder


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(custom_ops, "import_scann", lambda: found.append("scann"))
    return found


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [({"index": {"type": "scann"}}, ["scann"]), ({"index": {"type": "exact"}}, []), ({}, [])],
)
def test_the_index_decides(tmp_path, imported, manifest, expected):
    custom_ops.import_custom_ops(servable(tmp_path, json.dumps(manifest)))
    assert imported == expected


def test_servables_of_others(tmp_path, imported):
    custom_ops.import_custom_ops(tmp_path)
    custom_ops.import_custom_ops(servable(tmp_path, "{ no JSON"))
    assert imported == []


def test_a_newer_format(tmp_path, imported):
    with pytest.raises(contract.NewerFormat):
        custom_ops.import_custom_ops(servable(tmp_path, json.dumps({"format": contract.FORMAT + 1})))


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "scann.scann_ops.py", None)
    with pytest.raises(ImportError, match=r"needs the package scann 1\.3\.2") as error:
        custom_ops.import_scann()
    assert error.value.name == "scann"
