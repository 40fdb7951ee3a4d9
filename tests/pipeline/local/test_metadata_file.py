"""What MLMD's file has of artifacts, other names for where they lie, and a copy of it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from pipeline.local import metadata_file

pytestmark = [pytest.mark.slow, pytest.mark.smoke]  # SQLite flushes to the disk

Artifact = metadata_store_pb2.Artifact


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Metadata of three artifacts, one of which has two rows, as MLMD writes them."""
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(tmp_path / "metadata.sqlite")
    store = metadata_store.MetadataStore(connection)
    kind = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Model"))
    for number, state in ((1, Artifact.LIVE), (2, Artifact.DELETED), (2, Artifact.LIVE), (3, Artifact.DELETED)):
        artifact = Artifact(type_id=kind, uri=f"/home/ann/shop/artifacts/T/m/{number}", state=state)
        artifact.custom_properties["of"].string_value = "from /home/ann/shop/artifacts/T/m/0 and /home/ann/shop2"
        store.put_artifacts([artifact])
    return tmp_path / "metadata.sqlite"


def test_which_artifacts_stay(path: Path, tmp_path: Path) -> None:
    folder = "/home/ann/shop/artifacts/T/m"
    assert metadata_file.artifacts(path) == {f"{folder}/1": True, f"{folder}/2": True, f"{folder}/3": False}
    assert metadata_file.artifacts(tmp_path / "none.sqlite") == {}
    assert not (tmp_path / "none.sqlite").exists()
    with contextlib.closing(sqlite3.connect(tmp_path / "empty.sqlite")) as database:
        database.execute("CREATE TABLE Type (id)")
    assert metadata_file.artifacts(tmp_path / "empty.sqlite") == {}, "killed as it made the tables"


def test_a_copy_has_other_names_and_the_file_keeps_its_own(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    with metadata_file.snapshot(path, tmp_path) as copy:
        metadata_file.rename(copy, "/home/ann/shop/artifacts/", "s3://bucket/shop/artifacts/")
        with contextlib.closing(sqlite3.connect(copy)) as database:
            uris = {uri for (uri,) in database.execute("SELECT uri FROM Artifact")}
            texts = {text for (text,) in database.execute("SELECT string_value FROM ArtifactProperty")}
        there = set(metadata_file.artifacts(copy))
    assert not copy.exists()
    assert uris == there == {f"s3://bucket/shop/artifacts/T/m/{number}" for number in (1, 2, 3)}
    assert texts == {"from s3://bucket/shop/artifacts/T/m/0 and /home/ann/shop2"}
    assert path.read_bytes() == before
