"""What was made from what, as the metadata store (MLMD) has it: all executions and artifacts of one pipeline, at once.

It goes by MLMD's events alone. Of nodes it knows the Indexer, which made each version's servable.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

_INDEXER_TAKES = ("towers", "catalogue", "interactions")
_Event = metadata_store_pb2.Event
Artifacts = Mapping[str, metadata_store_pb2.Artifact]
"""What an execution took, or made, by key."""
_ENDED = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)
PUSHED = "PushedModel"
"""The type of artifact that a run ends with."""


class NotMadeAgain(Exception):
    """Why a version can't be made again."""


@dataclass(frozen=True)
class Run:
    """A run and its executions."""

    id: str
    started: float
    """Seconds since the epoch."""
    executions: frozenset[int]
    ended: bool
    """Whether it came to its end, pushed or not."""


@dataclass(frozen=True)
class Lineage:
    """A pipeline's executions and artifacts by their ids, and what goes from one to the other."""

    artifacts: Mapping[int, metadata_store_pb2.Artifact]
    types: Mapping[int, str]
    """Names of the artifacts' types, by the artifacts' ids."""
    executions: Mapping[int, metadata_store_pb2.Execution]
    inputs: Mapping[int, frozenset[int]]
    """Artifacts that an execution took."""
    outputs: Mapping[int, frozenset[int]]
    """Artifacts that it made, or had from the cache."""
    makers: Mapping[int, int]
    """The execution that made an artifact; later ones had it from the cache."""
    runs: tuple[Run, ...]
    """Oldest first."""
    pushers: Mapping[int, int]
    """The execution that published a version, by the version's number."""

    def upstream(self, executions: Iterable[int]) -> tuple[frozenset[int], frozenset[int]]:
        """Executions with all that they depend on: these executions, and the artifacts that they took."""
        found: set[int] = set()
        taken: set[int] = set()
        todo = [execution for execution in executions if execution in self.executions]
        while todo:
            execution = todo.pop()
            if execution not in found:
                found.add(execution)
                taken |= self.inputs.get(execution, frozenset())
                todo += (self.makers[a] for a in self.inputs.get(execution, ()) if a in self.makers)
        return frozenset(found), frozenset(taken)


def read_lineage(store: metadata_store.MetadataStore, pipeline: str) -> Lineage:
    """Reads the metadata of one pipeline, out of a store that may have those of others too."""
    context = store.get_context_by_type_and_name("pipeline", pipeline)
    executions = {found.id: found for found in store.get_executions_by_context(context.id)} if context else {}
    events = store.get_events_by_execution_ids(list(executions)) if executions else []
    sides: dict[bool, dict[int, set[int]]] = {True: defaultdict(set), False: defaultdict(set)}
    makers: dict[int, int] = {}
    for event in events:
        made = event.type == _Event.OUTPUT
        if made or event.type == _Event.INPUT:
            sides[made][event.execution_id].add(event.artifact_id)
        if made:
            makers[event.artifact_id] = min(event.execution_id, makers.get(event.artifact_id, event.execution_id))
    ids = sorted({event.artifact_id for event in events})
    artifacts = {found.id: found for found in store.get_artifacts_by_id(ids)} if ids else {}
    names = {kind.id: kind.name for kind in store.get_artifact_types()}
    types = {identity: names[artifact.type_id] for identity, artifact in artifacts.items()}
    inputs, outputs = ({key: frozenset(value) for key, value in sides[made].items()} for made in (False, True))
    runs = []
    for run in store.get_contexts_by_type("pipeline_run") if executions else ():
        own = frozenset(found.id for found in store.get_executions_by_context(run.id)) & executions.keys()
        if own:
            ended = any(
                types[artifact] == PUSHED
                for execution in own
                if executions[execution].last_known_state in _ENDED
                for artifact in outputs.get(execution, ())
            )
            started = min(executions[execution].create_time_since_epoch for execution in own) / 1e3
            runs.append(Run(run.name, started, own, ended))
    pushers = {
        int(artifact.custom_properties["version"].string_value): makers[identity]
        for identity, artifact in sorted(artifacts.items())
        if types[identity] == PUSHED and artifact.custom_properties["pushed"].int_value
    }
    runs.sort(key=lambda run: (run.started, run.id))
    return Lineage(artifacts, types, executions, inputs, outputs, makers, tuple(runs), pushers)


def made_of(
    store: metadata_store.MetadataStore, lineage: Lineage, version: int
) -> tuple[int, Artifacts, int, Artifacts]:
    """The execution that published a version and what it took, and the Indexer's that made it and what that took.

    Raises:
        NotMadeAgain: The metadata don't have it, or what it was made of is gone.
    """
    pusher = lineage.pushers.get(version)
    if pusher is None:
        raise NotMadeAgain("the metadata don't know what it was made of")
    taken = ends(store, pusher, _Event.INPUT)
    indexer = lineage.makers[taken["model"].id]
    inputs = ends(store, indexer, _Event.INPUT)
    gone = [name for name in _INDEXER_TAKES if name not in inputs or not os.path.isdir(inputs[name].uri)]
    if gone:
        raise NotMadeAgain(f"what it was made of is gone: {', '.join(gone)}")
    return pusher, taken, indexer, inputs


def arguments_of(
    store: metadata_store.MetadataStore, lineage: Lineage, execution: int, inputs: Artifacts
) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """What an executor is called with as it was in an execution: artifacts and properties."""
    from tfx.types import artifact_utils

    kinds = {kind.id: kind for kind in store.get_artifact_types()}
    given = {
        name: [artifact_utils.deserialize_artifact(kinds[artifact.type_id], artifact)]
        for name, artifact in inputs.items()
    }
    properties = lineage.executions[execution].custom_properties
    return given, {name: value.string_value or value.int_value for name, value in properties.items()}


def ends(store: metadata_store.MetadataStore, execution: int, side: int) -> Artifacts:
    """What an execution took, or made, by key."""
    events = [event for event in store.get_events_by_execution_ids([execution]) if event.type == side]
    found = {artifact.id: artifact for artifact in store.get_artifacts_by_id([event.artifact_id for event in events])}
    return {event.path.steps[0].key: found[event.artifact_id] for event in events}
