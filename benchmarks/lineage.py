"""What the newest runs of a pipeline made, and from what, by its MLMD database."""

from __future__ import annotations

import sys
from typing import Any

from ml_metadata.proto import metadata_store_pb2

from components.errors import InputError
from pipeline.config import Config
from pipeline.metadata import connection_config, open_store

Artifact = metadata_store_pb2.Artifact
Execution = metadata_store_pb2.Execution

_DONE = (Execution.COMPLETE, Execution.CACHED)


class Lineage:
    """The executions of a pipeline and their artifacts.

    Args:
        config: The pipeline's; the process ends with a message where there are no metadata.
    """

    def __init__(self, config: Config) -> None:
        self._pipeline = config.name
        try:
            self._store = open_store(connection_config(config))
        except InputError as error:
            sys.exit(str(error))

    def newest(self, node: str) -> Any:
        """The newest Execution of a node that has ended well or came from the cache."""
        own = self._store.get_context_by_type_and_name("node", f"{self._pipeline}.{node}")
        found = self._store.get_executions_by_context(own.id) if own else []
        executions = [execution for execution in found if execution.last_known_state in _DONE]
        if not executions:
            sys.exit(f"{self._pipeline}: no {node} has ended: run the pipeline first")
        return max(executions, key=lambda execution: execution.id)

    def inputs(self, execution: Any) -> dict[str, Any]:
        """Its input Artifacts by key."""
        return self._artifacts(execution, metadata_store_pb2.Event.INPUT)

    def outputs(self, execution: Any) -> dict[str, Any]:
        """Its output Artifacts by key."""
        return self._artifacts(execution, metadata_store_pb2.Event.OUTPUT)

    def maker(self, artifact: Any) -> Any:
        """The Execution that made the Artifact, which later ones may have taken from the cache."""
        events = self._store.get_events_by_artifact_ids([artifact.id])
        made_by = min(event.execution_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT)
        return self._store.get_executions_by_id([made_by])[0]

    def _artifacts(self, execution: Any, kind: int) -> dict[str, Any]:
        return {
            event.path.steps[0].key: self._store.get_artifacts_by_id([event.artifact_id])[0]
            for event in self._store.get_events_by_execution_ids([execution.id])
            if event.type == kind
        }
