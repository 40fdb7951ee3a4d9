"""`recommender reindex`: a changed catalogue under the model that is there, without training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components import versions
from components.errors import InputError
from components.tables import encoders
from pipeline.config import Config
from pipeline.data.paths import data_paths
from pipeline.data.vectors import with_vectors
from pipeline.local.output import working
from pipeline.local.run import at_terminal, prepare, run_nodes
from pipeline.terminal import Outcome, Terminal, listening

_REUSED = ("InteractionGen", "Trainer")
"""Nodes whose last outputs count: the events that the model was trained on, and the model."""
_SHIPPED = "ShippedTrainer"
"""Likewise where what is shipped was trained on all events: its model."""


@dataclass(frozen=True)
class Trained:
    """What the last run with a trained model left."""

    executions: dict[str, int]
    """The executions of `_REUSED`, and of `_SHIPPED` if that run had one, by node."""
    catalogue: str
    """URI of the CatalogueGen's Examples that the model was trained with."""
    features: dict[str, str]
    """The items' features and their types, as the model has them."""
    encoders: str
    """What made vectors of the items' texts, with versions."""
    widths: Mapping[str, int | None] = field(default_factory=dict)
    """How many numbers the vectors have that are given for items, by feature."""
    excluded_types: tuple[str, ...] = ()
    """Types of events whose items the queries know to be left out."""


def reindex(config: Config, accept: str = "") -> Outcome:
    """Reads the catalogue again, embeds its items by the last run's model, evaluates, and pushes what is blessed.

    Args:
        config: The pipeline's.
        accept: Why data out of the limits of `guards` are let through this time; empty stops at such data.

    Returns:
        How it ended, with the facts of `pipeline.local.run.run_nodes`.
    """
    return at_terminal(config, lambda root, terminal: _reindex(config, root, accept, terminal))


def _reindex(config: Config, root: Path, accept: str, terminal: Terminal) -> Outcome:
    if not config.data.catalogue.path:
        raise InputError("data.catalogue.path: without a catalogue there is nothing to index anew")
    with listening(terminal), working(config, root) as keep:
        trained = find_trained(config)
        features = {name: feature.kind for name, feature in config.data.catalogue.features.items()}
        if features != trained.features:
            raise InputError(
                f"data.catalogue.features: the model was trained with {_listed(trained.features)}, the config has "
                f"{_listed(features)}; train it again by `recommender run`"
            )
        encoding = encoders.versions(config.data.catalogue.encoders().values())
        if encoding != trained.encoders:
            raise InputError(
                f"the model knows texts as {trained.encoders or 'no encoder'} encodes them, and what is installed is "
                f"{encoding or 'none'}: vectors of two encoders can't be compared; train it again by `recommender run`"
            )
        config = with_vectors(config, data_paths(config))
        widths = {name: feature.dim for name, feature in config.data.catalogue.vectors().items()}
        if widths != trained.widths:
            raise InputError(
                f"data.catalogue.features: the model was trained with vectors of {_lengths(trained.widths)}, the data "
                f"have {_lengths(widths)}; give those of the same model, or train again by `recommender run`"
            )
        exclude = config.serving.exclude
        if isinstance(exclude, tuple) and exclude != trained.excluded_types:
            raise InputError(
                f"serving.exclude: {', '.join(exclude)}: the events were read for "
                f"{', '.join(trained.excluded_types) or 'no types'}; read them again by `recommender run`"
            )
        if config.serving.ship == "all" and _SHIPPED not in trained.executions:
            raise InputError(
                "serving.ship: the last run trained no model on all events; train one by `recommender run`, or say "
                "--set serving.ship=judged"
            )
        newest = versions.newest(versions.model_dir(config.serving.base_path, config.name))
        before = versions.release(newest.path).get("lineage", {}).get("before", "") if newest else ""
        dag, metadata = prepare(
            with_rivals_only(config), root, terminal, trained.catalogue, accept, went_on_from=before
        )
        return run_nodes(config, root, dag, metadata, terminal, only="Pusher", reused=trained.executions, keep=keep)


def with_rivals_only(config: Config) -> Config:
    """The config with the baselines that a threshold names, and no others: to fit them all takes longer than the rest,
    and the last training's evaluation has them. Where all are to be beaten, that is popularity, or else the first."""
    evaluation = config.evaluation
    names = evaluation.baselines.names
    any_of = ("popularity",) if "popularity" in names else names[:1]
    thresholds = {
        metric: threshold.model_copy(update={"beat_baselines": any_of})
        if threshold.beat_baselines is True
        else threshold
        for metric, threshold in evaluation.thresholds.items()
    }
    rivals = {rival for threshold in thresholds.values() for group in threshold.rivals(names) for rival in group}
    baselines = evaluation.baselines.model_copy(update={"names": tuple(name for name in names if name in rivals)})
    changed = evaluation.model_copy(update={"baselines": baselines, "thresholds": thresholds})
    return config.model_copy(update={"evaluation": changed})


def find_trained(config: Config) -> Trained:
    """Finds the model of the last run that has one.

    Args:
        config: The pipeline's.

    Raises:
        InputError: There is none, or the metadata can't be reached.
    """
    from ml_metadata.proto import metadata_store_pb2

    from pipeline.metadata import connection_config, open_store

    store = open_store(connection_config(config))
    execution_type, event_type = metadata_store_pb2.Execution, metadata_store_pb2.Event

    def executions(node: str) -> list[Any]:
        """Those of a node that ended well, oldest first."""
        context = store.get_context_by_type_and_name("node", f"{config.name}.{node}")
        found = store.get_executions_by_context(context.id) if context else []
        done = [e for e in found if e.last_known_state in (execution_type.COMPLETE, execution_type.CACHED)]
        return sorted(done, key=lambda execution: execution.id)

    def artifact(execution_id: int, key: str) -> Any:
        events = store.get_events_by_execution_ids([execution_id])
        [identity] = {event.artifact_id for event in events if event.path.steps[0].key == key}
        return store.get_artifacts_by_id([identity])[0]

    def maker(made: Any) -> int:
        """The execution that made an artifact; later ones took it from the cache."""
        events = store.get_events_by_artifact_ids([made.id])
        return min(event.execution_id for event in events if event.type == event_type.OUTPUT)

    trainings = executions("Trainer")
    if not trainings:
        raise InputError(f"{config.name}: no training has ended yet: train a model by `recommender run`")
    [run] = [c for c in store.get_contexts_by_execution(trainings[-1].id) if c.type == "pipeline_run"]
    in_run = {execution.id for execution in store.get_executions_by_context(run.id)}
    trainer = maker(artifact(trainings[-1].id, "model"))
    custom_config = json.loads(store.get_executions_by_id([trainer])[0].custom_properties["custom_config"].string_value)
    transform = maker(artifact(trainer, "catalogue"))
    catalogue = artifact(transform, "examples")
    [made] = store.get_executions_by_id([maker(catalogue)])
    reused = {
        node: max(found)
        for node in (*_REUSED, _SHIPPED)
        if (found := [e.id for e in executions(node) if e.id in in_run])
    }
    [read] = store.get_executions_by_id([maker(artifact(reused["InteractionGen"], "examples"))])
    types = read.custom_properties["excluded_types"].string_value if "excluded_types" in read.custom_properties else ""
    settings = json.loads(made.custom_properties["settings"].string_value or '{"features": {}}')
    return Trained(
        reused,
        catalogue.uri,
        custom_config["features"],
        made.custom_properties["encoders"].string_value if "encoders" in made.custom_properties else "",
        {name: feature["dim"] for name, feature in settings["features"].items() if feature["type"] == "vector"},
        tuple(json.loads(types or "[]")),
    )


def _lengths(widths: Mapping[str, int | None]) -> str:
    return ", ".join(f"{width} numbers ({name})" for name, width in widths.items()) or "no numbers"


def _listed(features: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in features.items()) or "none"
