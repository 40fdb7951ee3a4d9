"""`recommender export`: the archive's layout, its bytes, and what is wrong with a wish."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.config import Config
from pipeline.local.archive import archive, pack


def write_version(folder: Path) -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "assets.extra").mkdir()
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(b"0" * 10_000)
    (folder / "assets.extra" / "recommender.json").write_text(json.dumps({"model_name": "books"}))
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Config:
    write_version(tmp_path / "models" / "books" / "20260102030405")
    return Config.model_validate(
        {
            "name": "books",
            "data": {"interactions": {"path": "log.csv"}},
            "serving": {"base_path": str(tmp_path / "models")},
        }
    )


def test_an_unpacked_archive_is_a_base_path(config: Config, tmp_path: Path) -> None:
    size = archive(config, tmp_path / "new" / "model.tar.gz", "20260102030405")
    assert size == (tmp_path / "new" / "model.tar.gz").stat().st_size < 2_000
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.tar.gz"]
    with tarfile.open(tmp_path / "new" / "model.tar.gz", "r:gz") as tar:
        tar.extractall(tmp_path / "there")
    there = tmp_path / "there" / "books" / "20260102030405"
    here = tmp_path / "models" / "books" / "20260102030405"
    files = sorted(path.relative_to(here) for path in here.rglob("*") if path.is_file())
    assert sorted(path.relative_to(there) for path in there.rglob("*") if path.is_file()) == files
    assert all((there / file).read_bytes() == (here / file).read_bytes() for file in files)


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    one, other = write_version(tmp_path / "one"), write_version(tmp_path / "other")
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    pack(one, "books/1", tmp_path / "one.tar.gz")
    pack(other, "books/1", tmp_path / "another name.tar.gz")
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "another name.tar.gz").read_bytes()


def test_a_saved_model_that_is_no_version_becomes_one(config: Config, tmp_path: Path) -> None:
    archive(config, tmp_path / "m.tar.gz", str(write_version(tmp_path / "mine")))
    with tarfile.open(tmp_path / "m.tar.gz") as tar:
        assert "books/1/saved_model.pb" in tar.getnames()


def test_what_can_not_be_written_leaves_nothing(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="neither a version"):
        archive(config, tmp_path / "m.tar.gz", "7")
    with pytest.raises(InputError, match="is a directory"):
        archive(config, tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(InputError, match="No space left"):
        archive(config, tmp_path / "m.tar.gz")
    assert sorted(tmp_path.iterdir()) == before
