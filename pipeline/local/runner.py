"""Runs the DAG on this machine, node by node, with a line for each.

The same launcher as TFX's LocalDagRunner, called from a loop of our own because that one has no place to say what a
node did, whether it came from the cache, or why the run stopped.
"""

from __future__ import annotations

import copy
import datetime
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import tensorflow_data_validation as tfdv
import tensorflow_transform as tft
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import beam_executor_operator, launcher, runtime_parameter_utils
from tfx.orchestration.portable.mlmd import context_lib
from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2
from tfx.types import artifact_utils

from components import beam_private
from components.errors import InputError
from pipeline.beam_args import check_beam
from pipeline.failures import explain
from pipeline.metadata import Handle
from pipeline.model.preprocessing import ITEM_COUNTS
from pipeline.terminal import Terminal, check_interrupts, remembered_interrupts

Execution = metadata_store_pb2.Execution


@dataclass(frozen=True)
class NodeResult:
    """What became of a node."""

    name: str
    state: str
    """`done` or `cached`."""
    seconds: float
    outputs: dict[str, metadata_store_pb2.Artifact]
    """Output artifacts by key, the first of each."""

    @property
    def summary(self) -> str:
        """What its executor says that it made."""
        texts = (
            a.custom_properties["summary"].string_value
            for a in self.outputs.values()
            if "summary" in a.custom_properties
        )
        return next(texts, "")


def run_pipeline(
    pipeline: Pipeline,
    connection: metadata_store_pb2.ConnectionConfig,
    terminal: Terminal,
    first: str | None = None,
    only: str | None = None,
    before: str | None = None,
    reused: Mapping[str, int] = MappingProxyType({}),
    run_id: str | None = None,
    keep: Callable[[], None] = lambda: None,
) -> dict[str, NodeResult]:
    """Runs a pipeline's nodes in order.

    Args:
        pipeline: What to run.
        connection: How its metadata are reached.
        terminal: Where to say so.
        first: A node that is run again with all that depends on it, cached or not; the rest may come from the cache.
        only: A node that is run again alone; what it depends on may come from the cache, the rest is left.
        before: A node that is left with all that it has no need of: only what it depends on is run.
        reused: With `only`: nodes that are not run, nor what they depend on, for the outputs of an earlier Execution
            count, by its id in MLMD.
        run_id: What the metadata calls this run; by default the time.
        keep: Called after each node that was run, so that what it made is not lost.

    Returns:
        Results by node, in the order of running.

    Raises:
        InputError: No such node, a node found its input wrong, or the metadata can't be reached.
    """
    beam_private.remember()
    ir = compiler.Compiler().compile(pipeline)
    runtime_parameter_utils.substitute_runtime_parameter(
        ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id or new_run_id()}
    )
    nodes = [node.pipeline_node for node in ir.nodes]
    wanted = _select(nodes, first, only, before, set(reused))
    deployment = runner_utils.extract_local_deployment_config(ir)
    results: dict[str, NodeResult] = {}
    with remembered_interrupts():
        for node in nodes:
            check_interrupts()
            if node.node_info.id in reused:
                _reuse(node, reused[node.node_info.id], connection)
            if node.node_info.id in wanted:
                results[node.node_info.id] = _run_node(node, ir, deployment, connection, terminal)
                keep()
        check_interrupts()
    return results


def new_run_id() -> str:
    """A run's id: the time."""
    return datetime.datetime.now().isoformat()


def _select(
    nodes: list[pipeline_pb2.PipelineNode], first: str | None, only: str | None, before: str | None, reused: set[str]
) -> set[str]:
    """The nodes to run; takes the cache from those that must run again."""
    names = [node.node_info.id for node in nodes]
    chosen = first or only or before
    if chosen is None:
        return set(names)
    if chosen not in names:
        raise InputError(f"no node {chosen!r}; the nodes are: {', '.join(names)}")
    upstream = {node.node_info.id: set(node.upstream_nodes) for node in nodes}
    again = set() if before else {chosen}
    if first:
        for name in names:  # in topological order
            if upstream[name] & again:
                again.add(name)
    for node in nodes:
        if node.node_info.id in again:
            node.execution_options.caching_options.enable_cache = False
    if first:
        return set(names)
    needed = {chosen}
    for name in reversed(names):
        if name in needed - reused:
            needed |= upstream[name]
    return needed - reused - {before}


def _reuse(node: pipeline_pb2.PipelineNode, execution_id: int, connection: Any) -> None:
    """Makes an earlier execution's outputs this run's outputs of the node, as TFX's cache does."""
    with Handle(connection) as handle:
        contexts = context_lib.prepare_contexts(handle, node.contexts)
        [earlier] = handle.store.get_executions_by_id([execution_id])
        events = handle.store.get_events_by_execution_ids([execution_id])
        artifacts = {a.id: a for a in handle.store.get_artifacts_by_id([event.artifact_id for event in events])}
        execution = metadata_store_pb2.Execution(
            type_id=earlier.type_id, name=str(uuid.uuid4()), last_known_state=Execution.CACHED
        )
        for name, value in earlier.custom_properties.items():
            execution.custom_properties[name].CopyFrom(value)
        pairs = [
            (artifacts[event.artifact_id], metadata_store_pb2.Event(type=event.type, path=event.path))
            for event in events
        ]
        handle.store.put_execution(execution, pairs, contexts)


def _run_node(
    node: pipeline_pb2.PipelineNode, ir: pipeline_pb2.Pipeline, deployment: Any, connection: Any, terminal: Terminal
) -> NodeResult:
    name = node.node_info.id
    terminal.start(name)
    started = time.monotonic()
    executor = runner_utils.extract_executor_spec(deployment, name)
    try:
        check_beam(getattr(executor, "beam_pipeline_args", ()))
        info = launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=Handle(connection),
            pipeline_info=ir.pipeline_info,
            pipeline_runtime_spec=ir.runtime_spec,
            executor_spec=_without_beam_options(executor),
            custom_executor_operators={
                executable_spec_pb2.BeamExecutableSpec: lambda executor_spec, platform_config: (
                    beam_executor_operator.BeamExecutorOperator(executor, platform_config)
                )
            },
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
        ).launch()
        with Handle(connection) as handle:
            state, outputs = _outcome(handle.store, info.execution_id)
        # The launcher reports inputs that it can't resolve in the metadata alone.
        if state not in (Execution.COMPLETE, Execution.CACHED):
            raise RuntimeError(f"{name} was not run: its inputs could not be resolved")
    except BaseException as error:
        logging.getLogger(__name__).exception("%s failed", name)
        terminal.end(name, "failed", time.monotonic() - started, explain(error).message.split("\n")[0])
        raise
    result = NodeResult(name, "cached" if state == Execution.CACHED else "done", time.monotonic() - started, outputs)
    terminal.end(name, result.state, result.seconds, result.summary or stock_summary(result))
    return result


def _without_beam_options(executor: Any) -> Any:
    """What the cache goes by of a node's executor: Beam's options say where the work is done, not what it makes."""
    kept = copy.deepcopy(executor)
    if isinstance(kept, executable_spec_pb2.BeamExecutableSpec):
        kept.ClearField("beam_pipeline_args")
        kept.ClearField("beam_pipeline_args_placeholders")
    return kept


def _outcome(store: Any, execution_id: int) -> tuple[Any, dict[str, metadata_store_pb2.Artifact]]:
    """State of an execution, and its output artifacts by key."""
    [execution] = store.get_executions_by_id([execution_id])
    events = store.get_events_by_execution_ids([execution_id])
    keys = {
        event.artifact_id: event.path.steps[0].key for event in events if event.type == metadata_store_pb2.Event.OUTPUT
    }
    outputs: dict[str, metadata_store_pb2.Artifact] = {}
    for artifact in store.get_artifacts_by_id(list(keys)):
        outputs.setdefault(keys[artifact.id], artifact)
    return execution.last_known_state, outputs


def stock_summary(result: NodeResult) -> str:
    """What a node of TFX's own made, which it does not say itself."""
    if "transform_graph" in result.outputs:
        return _vocabularies(result.outputs["transform_graph"].uri)
    if "statistics" in result.outputs:
        return _statistics(result.outputs["statistics"])
    return ""


def _vocabularies(uri: str) -> str:
    graph = tft.TFTransformOutput(uri)
    assets = os.path.join(graph.transform_savedmodel_dir, "assets")
    names = sorted(name for name in os.listdir(assets) if name != ITEM_COUNTS) if os.path.isdir(assets) else []
    if not names:
        return "no vocabularies"
    return "vocabularies: " + ", ".join(f"{name} {graph.vocabulary_size_by_name(name):,}" for name in names)


def _statistics(artifact: metadata_store_pb2.Artifact) -> str:
    counts = []
    for split in artifact_utils.decode_split_names(artifact.properties["split_names"].string_value):
        path = os.path.join(artifact.uri, f"Split-{split}", "FeatureStats.pb")
        [dataset] = tfdv.load_stats_binary(path).datasets
        counts.append(f"{split} {dataset.num_examples:,} x {len(dataset.features)} features")
    return ", ".join(counts)
