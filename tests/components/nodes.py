"""Runs one component under TFX's local runner, and makes what it needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def make_model(uri: Path, fingerprint: str) -> Path:
    """Makes a Model artifact's directory with files in the places of a servable's."""
    servable = uri / "Format-Serving"
    (servable / "variables").mkdir(parents=True)
    (servable / "variables" / "variables.index").write_bytes(b"index")
    (servable / "saved_model.pb").write_bytes(f"graph of {fingerprint}".encode())
    (servable / "assets.extra").mkdir()
    (servable / "assets.extra" / "recommender.json").write_text(json.dumps({"fingerprint": fingerprint}))
    return uri


def node_states(root: Path, inputs: Mapping[str, tuple], make_node: Callable[..., Any]) -> dict[str, Any]:
    """Runs a pipeline of importers and one node.

    Args:
        root: the pipeline's directory; runs with the same one share the metadata and so the cache.
        inputs: the node's inputs: name to directory and artifact type, and custom properties if there are any.
        make_node: makes the node from the channels by their names.

    Returns:
        "state", "COMPLETE" or "CACHED" of the node's last execution, and "artifact", its first output artifact.
    """
    from ml_metadata.proto import metadata_store_pb2
    from tfx.dsl.components.common import importer
    from tfx.orchestration import metadata, pipeline
    from tfx.orchestration.local import local_dag_runner
    from tfx.types import artifact_utils

    importers = {
        name: importer.Importer(
            source_uri=str(uri), artifact_type=kind, custom_properties=properties[0] if properties else None
        ).with_id(f"import_{name}")
        for name, (uri, kind, *properties) in inputs.items()
    }
    node = make_node(**{name: node.outputs["result"] for name, node in importers.items()})
    connection = metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))
    local_dag_runner.LocalDagRunner().run(
        pipeline.Pipeline(
            pipeline_name="test",
            pipeline_root=str(root / "artifacts"),
            components=[*importers.values(), node],
            metadata_connection_config=connection,
            enable_cache=True,
        )
    )
    with metadata.Metadata(connection) as handle:
        store = handle.store
        execution = max(
            (
                found
                for found in store.get_executions()
                if found.type == type(node).__module__ + "." + type(node).__name__
            ),
            key=lambda found: found.id,
        )
        events = store.get_events_by_execution_ids([execution.id])
        made = {
            event.path.steps[0].key: event.artifact_id
            for event in events
            if event.type == metadata_store_pb2.Event.OUTPUT
        }
        (artifact,) = store.get_artifacts_by_id([made[next(iter(node.outputs))]])
        (kind,) = store.get_artifact_types_by_id([artifact.type_id])
    state = metadata_store_pb2.Execution.State.Name(execution.last_known_state)
    return {"state": state, "artifact": artifact_utils.deserialize_artifact(kind, artifact)}
