"""What is checked before a run."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.config import load_config
from pipeline.data.validate import validate
from tests.pipeline.config.test_config import MINIMAL, config_file


@pytest.mark.parametrize(
    ("versions", "fits"),
    [
        ({"scann": "1.3.2", "tensorflow": "2.16.2"}, True),
        ({"scann": "1.4.2", "tensorflow": "2.21.0"}, False),
        ({"scann": "1.3.2", "tensorflow": "2.21.0"}, False),
        ({"tensorflow": "2.16.2"}, False),
        ({}, False),
    ],
)
def test_scann_where_it_does_not_fit_is_told_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], fits: bool
) -> None:
    def version(name: str) -> str:
        if name in versions:
            return versions[name]
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,timestamp\nu,i,1\n", encoding="utf-8")
    config = load_config(
        config_file(tmp_path, MINIMAL.replace("log.csv", str(log))),
        ("serving.index.type=scann", f"output={tmp_path}", f"serving.base_path={tmp_path}"),
    )
    if fits:
        assert any("interactions: 1 file(s)" in finding for finding in validate(config))
    else:
        with pytest.raises(InputError, match=r"scann 1\.3\.2.*TensorFlow 2\.16.*serving\.index\.type: exact"):
            list(validate(config))
