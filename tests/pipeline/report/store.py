"""Metadata of runs, for the tests of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2

from pipeline.metadata import open_store
from pipeline.report import history

Execution = metadata_store_pb2.Execution


def sqlite(path: Path) -> Any:
    return metadata_store_pb2.ConnectionConfig(sqlite={"filename_uri": str(path)})


class Store:
    """Metadata as TFX writes them."""

    def __init__(self, folder: Path) -> None:
        path = folder / "metadata.sqlite"
        path.touch()
        self.store = open_store(sqlite(path))
        self.history = history.History(self.store, "shop")
        self.pipeline = "shop"
        contexts = {
            name: self.store.put_context_type(metadata_store_pb2.ContextType(name=name))
            for name in ("pipeline_run", "node")
        }
        self._types = contexts
        self._execution_type = self.store.put_execution_type(metadata_store_pb2.ExecutionType(name="a component"))
        self._pushed_type = self.store.put_artifact_type(metadata_store_pb2.ArtifactType(name="PushedModel"))

    def context(self, kind: str, name: str) -> int:
        """A context's id; made if it is not there."""
        for found in self.store.get_contexts_by_type(kind):
            if found.name == name:
                return found.id
        return self.store.put_contexts([metadata_store_pb2.Context(type_id=self._types[kind], name=name)])[0]

    def execute(self, run: str, node: str, state: Any = Execution.COMPLETE, **settings: str) -> int:
        """A node's execution in a run; returns its id."""
        execution = Execution(type_id=self._execution_type, last_known_state=state)
        for name, value in settings.items():
            execution.custom_properties[name].string_value = value
        [number] = self.store.put_executions([execution])
        contexts = [self.context("pipeline_run", run), self.context("node", f"{self.pipeline}.{node}")]
        associations = [metadata_store_pb2.Association(execution_id=number, context_id=context) for context in contexts]
        self.store.put_attributions_and_associations([], associations)
        return number

    def output(self, execution: int, key: str, artifact: int) -> None:
        """Notes an artifact as an execution's output."""
        event = metadata_store_pb2.Event(
            artifact_id=artifact, execution_id=execution, type=metadata_store_pb2.Event.OUTPUT
        )
        event.path.steps.add().key = key
        event.path.steps.add().index = 0
        self.store.put_events([event])

    def push(self, run: str, version: str, pushed: int) -> None:
        """A Pusher's execution and what it made."""
        artifact = metadata_store_pb2.Artifact(type_id=self._pushed_type, uri="/pushed")
        artifact.custom_properties["version"].string_value = version
        artifact.custom_properties["pushed"].int_value = pushed
        [number] = self.store.put_artifacts([artifact])
        self.output(self.execute(run, "Pusher"), "pushed_model", number)
