"""From a version back to what it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from components.drivers.lineage import pushed_from


def note(store: Any, examples: str, version: str, pushed: int) -> None:
    """Notes a Pusher's execution."""
    event = metadata_store_pb2.Event
    kinds = {
        name: store.put_artifact_type(metadata_store_pb2.ArtifactType(name=name))
        for name in ("Examples", "PushedModel")
    }
    execution_type = store.put_execution_type(metadata_store_pb2.ExecutionType(name="Pusher"))
    artifacts = {
        "model": metadata_store_pb2.Artifact(type_id=kinds["Examples"], uri="/model"),
        "examples": metadata_store_pb2.Artifact(type_id=kinds["Examples"], uri=examples),
        "pushed_model": metadata_store_pb2.Artifact(type_id=kinds["PushedModel"], uri="/pushed"),
    }
    artifacts["pushed_model"].custom_properties["pushed_destination"].string_value = version
    artifacts["pushed_model"].custom_properties["pushed"].int_value = pushed
    pairs = []
    for name, artifact in artifacts.items():
        made = event(type=event.OUTPUT if name == "pushed_model" else event.INPUT)
        made.path.steps.add().key = name
        pairs.append((artifact, made))
    store.put_execution(metadata_store_pb2.Execution(type_id=execution_type), pairs, [])


def test_the_run_that_pushed_a_version_and_no_other(tmp_path: Path) -> None:
    handle = metadata.Metadata(metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite")))
    assert pushed_from(handle, "/models/m/7", "examples") == ""
    with handle as opened:
        note(opened.store, "/examples/1", "/models/m/7", 1)
        note(opened.store, "/examples/2", "/models/m/8", 1)
        note(opened.store, "/examples/3", "/models/m/7", 0)  # nothing new
    assert pushed_from(handle, "/models/m/7", "examples") == "/examples/1"
    assert pushed_from(handle, "/models/m/8", "examples") == "/examples/2"
    assert pushed_from(handle, "/models/m/9", "examples") == ""
    assert pushed_from(handle, "/models/m/8", "catalogue") == ""
