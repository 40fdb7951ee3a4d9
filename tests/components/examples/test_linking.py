"""Files of Examples under a second name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from components.examples.linking import link_split


@pytest.mark.parametrize("one_file_system", [True, False])
def test_a_split_gets_the_files_of_two(tmp_path: Path, one_file_system: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "eval"):
        (tmp_path / "source" / f"Split-{split}").mkdir(parents=True)
        (tmp_path / "source" / f"Split-{split}" / "data-0.gz").write_text(split)
    if not one_file_system:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("cross-device link")))
    source, target = str(tmp_path / "source"), tmp_path / "target"
    link_split(source, "train", str(target), "all")
    link_split(source, "eval", str(target), "all", "later-")
    link_split(source, "missing", str(target), "missing")
    found = {str(path.relative_to(target)): path.read_text() for path in target.rglob("*") if path.is_file()}
    assert found == {"Split-all/data-0.gz": "train", "Split-all/later-data-0.gz": "eval"}
    same = os.path.samefile(target / "Split-all" / "data-0.gz", tmp_path / "source" / "Split-train" / "data-0.gz")
    assert same is one_file_system
