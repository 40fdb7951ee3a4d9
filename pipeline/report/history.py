"""Runs as the metadata store (MLMD) remembers them: which node did what, when, by which settings, what it made."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from components.errors import InputError

_STATES = {
    metadata_store_pb2.Execution.COMPLETE: "done",
    metadata_store_pb2.Execution.CACHED: "cached",
    metadata_store_pb2.Execution.FAILED: "failed",
}
_FAILURE = "failure"
_PIPELINE_TYPE = "pipeline"
_RUN_TYPE = "pipeline_run"
_NODE_TYPE = "node"
_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class Node:
    """What became of a node in a run."""

    name: str
    state: str
    """`done`, `cached`, `failed`, or `stopped` where the run ended in the middle of it."""
    started: datetime.datetime
    seconds: float
    """From its registration to its last change."""
    settings: Mapping[str, Any]
    """Its exec properties, and what its driver found out."""
    outputs: Mapping[str, metadata_store_pb2.Artifact]
    """Output artifacts by key, the first of each."""
    failure: str = ""
    """Why it failed, as far as that was noted."""

    @property
    def complete(self) -> bool:
        """Whether it has made its outputs, now or in an earlier run."""
        return self.state in ("done", "cached")

    @property
    def summary(self) -> str:
        """What its executor says that it made."""
        texts = (text(artifact, "summary") for artifact in self.outputs.values())
        return next(filter(None, texts), "")


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a pipeline."""

    id: str
    """TFX's pipeline run id: the local time at which it began, ISO 8601."""
    nodes: Mapping[str, Node]
    """By name, in the order of their start."""
    failure: str = ""
    """Why it stopped, where no node says so."""

    @property
    def stopped_at(self) -> Node | None:
        """The node that failed, or in which the run was stopped."""
        return next((node for node in self.nodes.values() if not node.complete), None)

    def output(self, node: str, key: str) -> metadata_store_pb2.Artifact | None:
        """An output artifact of a node that was done; None where it did not get so far."""
        found = self.nodes.get(node)
        return found.outputs.get(key) if found is not None and found.complete else None

    @property
    def version(self) -> str:
        """The number of the version that serves this run's model; empty if none does."""
        pushed = self.output("Pusher", "pushed_model")
        return "" if pushed is None else text(pushed, "version")


def text(artifact: metadata_store_pb2.Artifact, name: str) -> str:
    """A string custom property of an artifact; empty where it has none."""
    return artifact.custom_properties[name].string_value if name in artifact.custom_properties else ""


@dataclasses.dataclass(frozen=True)
class History:
    """The metadata of a pipeline, in a store that may have those of others too."""

    store: metadata_store.MetadataStore
    pipeline: str
    """Its name."""


def run_ids(history: History) -> list[str]:
    """The ids of all runs, oldest first."""
    store = history.store
    runs = sorted(store.get_contexts_by_type(_RUN_TYPE), key=lambda found: found.id)
    if any(found.name != history.pipeline for found in store.get_contexts_by_type(_PIPELINE_TYPE)):
        own = store.get_context_by_type_and_name(_PIPELINE_TYPE, history.pipeline)
        executions = {found.id for found in store.get_executions_by_context(own.id)} if own else set()
        runs = [run for run in runs if any(e.id in executions for e in store.get_executions_by_context(run.id))]
    return [run.name for run in runs]


def read_run(history: History, run_id: str) -> Run:
    """Reads a run whose id is one of `run_ids`."""
    store = history.store
    context = store.get_context_by_type_and_name(_RUN_TYPE, run_id)
    executions = sorted(store.get_executions_by_context(context.id), key=lambda found: found.id)
    events = store.get_events_by_execution_ids([execution.id for execution in executions]) if executions else []
    made = [event for event in events if event.type == metadata_store_pb2.Event.OUTPUT]
    ids = sorted({event.artifact_id for event in made})
    artifacts = {artifact.id: artifact for artifact in store.get_artifacts_by_id(ids)} if ids else {}
    makers = _makers(store, ids)
    names = _node_names(history)
    nodes: dict[str, Node] = {}
    for execution in executions:
        if execution.id not in names:  # what only hands on an artifact of an earlier run
            continue
        outputs: dict[str, metadata_store_pb2.Artifact] = {}
        for event in made:
            if event.execution_id == execution.id:
                outputs.setdefault(event.path.steps[0].key, artifacts[event.artifact_id])
        name = names[execution.id]
        maker = next((makers[artifact.id] for artifact in outputs.values()), execution)
        nodes[name] = _node(name, execution, maker, outputs)
    return Run(run_id, nodes)


def find_run(history: History, wanted: str | None = None) -> Run:
    """Finds the run that `wanted` names.

    Args:
        history: The pipeline's metadata.
        wanted: A run's id or the beginning of one, or the number of a version, which stands for the run that pushed it;
            None for the newest run.

    Raises:
        InputError: There is no such run, or there are several.
    """
    ids = run_ids(history)
    if not ids:
        raise InputError("there was no run yet; make one with `recommender run`")
    if wanted is None:
        return read_run(history, ids[-1])
    if wanted.isdecimal() and len(wanted) > 4:  # not the year with which a run's id begins
        run_id = _pushed_by(history, wanted)
        if run_id is None:
            raise InputError(
                f"version {wanted}: no run here pushed it (there are: {_listed(_pushed_versions(history))}); "
                "it may have come from another machine, or from another output folder: name that with --set output=DIR"
            )
        return read_run(history, run_id)
    found = [run_id for run_id in ids if run_id == wanted] or [run_id for run_id in ids if run_id.startswith(wanted)]
    if len(found) != 1:
        problem = "no such run" if not found else f"{len(found)} runs begin so"
        raise InputError(f"{wanted}: {problem}; name a version's number or a run's id ({_listed(found or ids)})")
    return read_run(history, found[0])


def note_failure(history: History, run: Run, message: str) -> None:
    """Writes beside the node that failed why it did, which TFX does not keep."""
    node_names = _node_names(history)
    failed = [
        execution
        for execution in _executions_of(history.store, run.id)
        if execution.last_known_state == metadata_store_pb2.Execution.FAILED and node_names[execution.id] in run.nodes
    ]
    for execution in failed:
        execution.custom_properties[_FAILURE].string_value = message
    if failed:
        history.store.put_executions(failed)


def _executions_of(store: metadata_store.MetadataStore, run_id: str) -> list[metadata_store_pb2.Execution]:
    return list(store.get_executions_by_context(store.get_context_by_type_and_name(_RUN_TYPE, run_id).id))


def _node_names(history: History) -> dict[int, str]:
    """The node of each execution, by the execution's id; contexts of nodes are called `<pipeline>.<node>`."""
    return {
        execution.id: context.name.rpartition(".")[2]
        for context in history.store.get_contexts_by_type(_NODE_TYPE)
        if context.name.rpartition(".")[0] == history.pipeline
        for execution in history.store.get_executions_by_context(context.id)
    }


def _makers(store: metadata_store.MetadataStore, artifacts: list[int]) -> dict[int, metadata_store_pb2.Execution]:
    """The execution that made each artifact, which may be one of an earlier run, by the artifact's id."""
    first: dict[int, int] = {}
    for event in store.get_events_by_artifact_ids(artifacts) if artifacts else ():
        if event.type == metadata_store_pb2.Event.OUTPUT:
            first[event.artifact_id] = min(event.execution_id, first.get(event.artifact_id, event.execution_id))
    found = {execution.id: execution for execution in store.get_executions_by_id(sorted(set(first.values())))}
    return {artifact: found[execution] for artifact, execution in first.items()}


def _node(
    name: str,
    execution: metadata_store_pb2.Execution,
    maker: metadata_store_pb2.Execution,
    outputs: Mapping[str, metadata_store_pb2.Artifact],
) -> Node:
    # What drivers find out, such as the data's digest, is not noted again where the node comes from the cache.
    settings = {**_properties(maker), **_properties(execution)}
    started = execution.create_time_since_epoch / 1e3
    return Node(
        name,
        _STATES.get(execution.last_known_state, "stopped"),
        datetime.datetime.fromtimestamp(started, datetime.timezone.utc),
        max(0.0, execution.last_update_time_since_epoch / 1e3 - started),
        settings,
        outputs,
        str(settings.pop(_FAILURE, "")),
    )


def _properties(execution: metadata_store_pb2.Execution) -> dict[str, Any]:
    return {
        key: getattr(value, value.WhichOneof("value"))
        for properties in (execution.properties, execution.custom_properties)
        for key, value in properties.items()
        if value.WhichOneof("value") and not key.startswith("__")
    }


def _pushed_versions(history: History) -> dict[str, int]:
    """Versions by number, oldest first, and the execution of the Pusher that published each."""
    store, own = history.store, _node_names(history)
    artifacts = sorted(store.get_artifacts_by_type("PushedModel"), key=lambda found: found.id)
    pushed = {found.id: text(found, "version") for found in artifacts if found.custom_properties["pushed"].int_value}
    return {
        pushed[event.artifact_id]: event.execution_id
        for event in (store.get_events_by_artifact_ids(list(pushed)) if pushed else ())
        if event.type == metadata_store_pb2.Event.OUTPUT and event.execution_id in own
    }


def _pushed_by(history: History, version: str) -> str | None:
    """The id of the run that published a version."""
    store = history.store
    execution = _pushed_versions(history).get(version)
    if execution is None:
        return None
    contexts = store.get_contexts_by_execution(execution)
    types = {kind.id: kind.name for kind in store.get_context_types()}
    return next(context.name for context in contexts if types[context.type_id] == _RUN_TYPE)


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join((["…"] if len(listed) > _SHOWN else []) + listed[-_SHOWN:]) or "none"
