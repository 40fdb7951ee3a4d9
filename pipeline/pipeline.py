"""The DAG, once, for every runner."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_data_validation as tfdv
from tfx.components import StatisticsGen, Transform
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import transform_pb2
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel

from components.all_events.component import AllEvents
from components.catalogue_gen.component import CatalogueGen
from components.catalogue_gen.schema import catalogue_schema
from components.champion.component import Champion
from components.evaluator.component import Evaluator
from components.evaluator.earlier import FairBy
from components.evaluator.settings import EvaluatorSettings
from components.example_validator.component import ExampleValidator
from components.examples.catalogue import CATALOGUE_SPLIT
from components.examples.interactions import LATER_NEGATIVE_SPLIT, NEGATIVE_SPLIT
from components.guards.component import Guards
from components.indexer.component import Indexer
from components.interaction_gen.component import InteractionGen
from components.interaction_gen.schema import interaction_schema, stats_features
from components.interaction_gen.settings import InteractionSettings
from components.promoter.component import Promoter
from components.pusher.component import Pusher
from components.schema_gen.component import ImportSchemaGen
from components.servable_validator.component import ServableValidator
from components.trainer.component import Trainer
from components.transform.component import GrownTransform
from components.transform.growing import Growing, Vocabularies
from pipeline import __version__
from pipeline.beam_args import beam_args
from pipeline.code import PROPERTY, modules_of, stamp
from pipeline.config import Config
from pipeline.config.incremental import Before
from pipeline.model.preprocessing import ITEM_COUNTS, ITEM_VOCABULARY, USER_VOCABULARY
from pipeline.model.settings import HoldOut, TrainerSettings
from serving import contract


@dataclass(frozen=True)
class Paths:
    """Where a run reads and writes; the runner binds them."""

    artifacts: str
    """The artifacts' root, a directory or a URI."""
    base_path: str
    """Versions are pushed to `<base_path>/<model name>/<version>`."""
    interactions: str
    users: str
    catalogue: str
    evaluation: str
    """Files of evaluation events, where the config gives them."""
    checkpoints: str
    """A directory where the Trainer saves each pass; empty: it doesn't."""
    trained_catalogue: str = ""
    """The CatalogueGen's Examples that the towers were trained with, where another catalogue is indexed."""
    before: Before | None = None
    """What the last shipped model was made of, to read and to learn only what is new since; None to begin anew."""
    went_on_from: str = ""
    """The version that a model went on from which is indexed anew."""
    suppression: str = ""
    """The list of users whose events are not read; it may be missing."""


def create_pipeline(
    config: Config, paths: Paths, parameters: Mapping[str, RuntimeParameter] | None = None, accept: str = ""
) -> Pipeline:
    """The whole way from a log and a catalogue to a pushed version.

    Args:
        config: The config.
        paths: Where things are.
        parameters: What is known at run time only, on platforms that can do that: any of `interactions_path`,
            `users_path`, `catalogue_path`, `cutoff`, `epochs`, `base_path` and `accept`, instead of what config, paths
            and `accept` say; with `promote_label` and `promote_approved` a last node promotes what was pushed.
        accept: Why data out of the limits of `guards` are let through; empty stops the run at such data.
    """
    given = dict(parameters or {})
    base_path = given.get("base_path", paths.base_path)
    log = config.data.interactions.settings()
    if paths.evaluation:
        log = log.model_copy(update={"split": log.split.model_copy(update={"eval_path": paths.evaluation})})
    items = config.data.catalogue.settings()
    feature_types = {name: feature.kind for name, feature in items.features.items()}
    query_types = config.query_features()
    vocabularies = {"categories": config.model.categories, "text_tokens": config.model.text_tokens}

    before = paths.before and _imported(paths.before)
    went_on_from = paths.before.version if paths.before else paths.went_on_from
    # Reads, checks, filters and splits the log, and gives each event the history before it.
    interactions = InteractionGen(
        input_path=given.get("interactions_path", paths.interactions),
        users_path=given.get("users_path", paths.users),
        cutoff=given.get("cutoff", config.data.interactions.cutoff),
        settings=log,
        excluded_types=config.serving.exclude if isinstance(config.serving.exclude, tuple) else (),
        before=before and before.examples,
        keep=_kept_history(config),
        suppression=paths.suppression,
    )
    # One row an item, also for items that only the log knows.
    catalogue = CatalogueGen(
        interactions=interactions.outputs["examples"],
        input_path=given.get("catalogue_path", paths.catalogue),
        settings=items,
    )
    # The schema is what the config says, not what today's data looks like.
    log_schema = interaction_schema(log)
    schema = ImportSchemaGen(log_schema)
    statistics = StatisticsGen(
        examples=interactions.outputs["examples"],
        stats_options=tfdv.StatsOptions(feature_allowlist=stats_features(log_schema)),
    )
    # Stops the run on any anomaly.
    validator = ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"])
    # Stops the run where the data are too far from those of the last pushed version.
    guards = Guards(
        rejects=interactions.outputs["rejects"],
        catalogue=catalogue.outputs["examples"],
        statistics=statistics.outputs["statistics"],
        features=feature_types,
        base_path=base_path,
        model_name=config.name,
        settings=config.guards,
        accept=given.get("accept", accept),
    )
    # The item vocabulary with its counts, and what the query tower takes, from training events only.
    if before:
        transform: BaseComponent = GrownTransform(
            examples=interactions.outputs["examples"],
            graph_before=before.transform_graph,
            transformed_before=before.transformed_examples,
            splits={"train": "train", **({NEGATIVE_SPLIT: NEGATIVE_SPLIT} if log.has_negatives else {})},
            growing=_growing(config),
            replay=config.incremental.replay if config.incremental else None,
            window_days=log.window_days,
        ).with_id("Transform")
    else:
        transform = Transform(
            examples=interactions.outputs["examples"],
            schema=schema.outputs["schema"],
            preprocessing_fn="pipeline.model.preprocessing.preprocess_interactions",
            splits_config=transform_pb2.SplitsConfig(
                analyze=["train"], transform=["train", *([NEGATIVE_SPLIT] if log.has_negatives else [])]
            ),
            disable_statistics=True,
            custom_config={
                "features": query_types,
                "time_features": config.model.time_features,
                "user_id": config.model.user_id,
                **vocabularies,
                # Only where it is needed, for each change here makes the events of all models anew.
                **({"event": True} if config.model.tasks else {}),
            },
        )
    transform.add_upstream_nodes([validator, guards])
    catalogue_schemas = ImportSchemaGen(catalogue_schema(items)).with_id("CatalogueSchemaGen")
    # Vocabularies and scales of the side features.
    if before:
        catalogue_transform: BaseComponent = GrownTransform(
            examples=catalogue.outputs["examples"],
            graph_before=before.catalogue_graph,
            splits={CATALOGUE_SPLIT: CATALOGUE_SPLIT},
            growing=Growing(),
        ).with_id("CatalogueTransform")
    else:
        catalogue_transform = Transform(
            examples=catalogue.outputs["examples"],
            schema=catalogue_schemas.outputs["schema"],
            preprocessing_fn="pipeline.model.preprocessing.preprocess_catalogue",
            splits_config=transform_pb2.SplitsConfig(analyze=["catalogue"], transform=["catalogue"]),
            disable_statistics=True,
            custom_config={"features": feature_types, **vocabularies},
        ).with_id("CatalogueTransform")
    training = {
        "run_fn": "pipeline.model.trainer.run_fn",
        "catalogue": catalogue_transform.outputs["transformed_examples"],
        "catalogue_graph": catalogue_transform.outputs["transform_graph"],
        "before": before and before.run,
        "settings": TrainerSettings(
            seed=config.seed,
            features=feature_types,
            query_features=query_types,
            user_features=tuple(name for name in query_types if log.users and name in log.users.features),
            max_history=log.history.max_length,
            hold_out=_HOLD_OUT[log.split.method],
            may_repeat=config.serving.exclude != contract.ALL,
            checkpoints=paths.checkpoints,
            refit_linear=config.incremental is not None and config.incremental.linear == "refit",
            keep="always" if config.incremental else "to_ship" if config.serving.ship == "all" else "nothing",
            model=config.model,
            training=config.training,
        ),
    }
    # Trains the two towers.
    trainer = Trainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        epochs=given.get("epochs"),
        **training,
    )
    indexing = {
        "catalogue": catalogue.outputs["examples"],
        "model_name": config.name,
        "settings": config.indexer_settings(),
        "filter_types": {name: feature_types[name] for name in config.serving.filters},
        "trained_catalogue": paths.trained_catalogue,
    }
    # Towers, catalogue and stored histories to one SavedModel.
    indexer = Indexer(towers=trainer.outputs["model"], interactions=interactions.outputs["examples"], **indexing)
    # The version that the candidate would replace.
    champion = Champion(
        model=indexer.outputs["model"],
        base_path=base_path,
        model_name=config.name,
        goes_on=before is not None or bool(paths.went_on_from),
    )
    # Candidate, champion and baseline on the same point-in-time queries; blesses or not.
    evaluator = Evaluator(
        examples=interactions.outputs["examples"],
        catalogue=catalogue.outputs["examples"],
        model=indexer.outputs["model"],
        champion=champion.outputs["champion"],
        champion_queries=champion.outputs["queries"],
        item_features=[name for name, kind in feature_types.items() if kind in ("category", "categories")],
        settings=_without_leads(config.evaluation) if before else config.evaluation,
        fair_by=_fair_by(log),
    )
    shipping: list[BaseComponent] = []
    shipped, shipped_events, judged = indexer, interactions.outputs["examples"], {}
    if config.serving.ship == "all":
        # The events of the evaluation with those of the training, if the model was blessed.
        all_events = AllEvents(examples=interactions.outputs["examples"], blessing=evaluator.outputs["blessing"])
        shipped_events = all_events.outputs["all_examples"]
        # The later ones by the same graph, which gets to know their items and users.
        shipped_transform = GrownTransform(
            examples=shipped_events,
            graph_before=transform.outputs["transform_graph"],
            transformed_before=transform.outputs["transformed_examples"],
            splits={"eval": "train", **({LATER_NEGATIVE_SPLIT: NEGATIVE_SPLIT} if log.has_negatives else {})},
            growing=_growing(config),
            keep=config.incremental is not None,
        ).with_id("ShippedTransform")
        # The same again on all of them, by what the judged training found out.
        shipped_trainer = Trainer(
            examples=shipped_transform.outputs["transformed_examples"],
            transform_graph=shipped_transform.outputs["transform_graph"],
            judged=trainer.outputs["model_run"],
            **training,
        ).with_id("ShippedTrainer")
        shipped = Indexer(towers=shipped_trainer.outputs["model"], interactions=shipped_events, **indexing).with_id(
            "ShippedIndexer"
        )
        shipping = [all_events, shipped_transform, shipped_trainer, shipped]
        judged = {"judged": indexer.outputs["model"]}
    # Loads the servable in the model server, asks it, and compares it with the one that was judged.
    servable_validator = ServableValidator(
        model=shipped.outputs["model"],
        examples=shipped_events,
        settings=config.validation,
        **({**judged, "judged_examples": interactions.outputs["examples"]} if judged else {}),
    )
    # A new version, by rename, if both blessed it.
    pusher = Pusher(
        model=shipped.outputs["model"],
        **judged,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=servable_validator.outputs["blessing"],
        evaluation=evaluator.outputs["evaluation"],
        champion=champion.outputs["champion"],
        examples=interactions.outputs["examples"],
        profile=guards.outputs["profile"],
        base_path=base_path,
        model_name=config.name,
        origin={**origin(config), **({"before": went_on_from} if went_on_from else {})},
        retain=config.serving.retain,
    )
    promoters = []
    if config.kubeflow.promote is not None and "promote_label" in given:
        # Moves a label to the version, if the run is approved.
        promoters.append(
            Promoter(
                pushed_model=pusher.outputs["pushed_model"],
                base_path=base_path,
                model_name=config.name,
                label=given["promote_label"],
                approved=given["promote_approved"],
                replicas=config.kubeflow.promote.replicas,
            )
        )
    nodes: list[BaseComponent] = [
        interactions,
        catalogue,
        statistics,
        schema,
        validator,
        guards,
        transform,
        catalogue_schemas,
        catalogue_transform,
        trainer,
        indexer,
        champion,
        evaluator,
        *shipping,
        servable_validator,
        pusher,
        *promoters,
    ]
    # A node whose code has changed is run again.
    stamp(nodes)
    record = _record(config, nodes, sorted(given), bool(paths.trained_catalogue), before is not None)
    pusher.exec_properties["record"] = json.dumps(record)
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=paths.artifacts,
        components=[*(before.nodes if before else ()), *nodes],
        enable_cache=config.cache,
        beam_pipeline_args=beam_args(config.beam.pipeline_args),
    )


def origin(config: Config) -> dict[str, str]:
    """What a version notes of the config and the code that it was made by; and where runs go on, of what of the config
    decides whether one can go on from it."""
    found = {"config": config.model_dump_json(), "code": _code_version()}
    if config.incremental is not None:
        parts = dict.fromkeys(("seed", "data", "model", "training", "incremental"), True)
        found["learned_by"] = config.model_dump_json(include={**parts, "serving": {"similar"}})
    return {
        key: value if key == "code" else hashlib.sha256(value.encode()).hexdigest()[:12] for key, value in found.items()
    }


class _Imported(NamedTuple):
    """What is gone on from, as channels, and the nodes that give them, by which it is in the lineage."""

    examples: BaseChannel
    transform_graph: BaseChannel
    transformed_examples: BaseChannel
    catalogue_graph: BaseChannel
    run: BaseChannel
    nodes: list[Importer]


def _imported(before: Before) -> _Imported:
    graph = standard_artifacts.TransformGraph
    types = {
        "examples": standard_artifacts.Examples,
        "transform_graph": graph,
        "transformed_examples": standard_artifacts.Examples,
        "catalogue_graph": graph,
        "run": standard_artifacts.ModelRun,
    }
    nodes = {
        name: Importer(source_uri=getattr(before, name), artifact_type=kind).with_id(f"before.{name}")
        for name, kind in types.items()
    }
    channels = {name: node.outputs["result"] for name, node in nodes.items()}
    return _Imported(**channels, nodes=[*nodes.values()])


def _without_leads(evaluation: EvaluatorSettings) -> EvaluatorSettings:
    """Thresholds for the queries of a night, over which no lead can be held against one over those of weeks."""
    thresholds = {
        metric: threshold.model_copy(update={"keep_lead": None}) for metric, threshold in evaluation.thresholds.items()
    }
    return evaluation.model_copy(update={"thresholds": thresholds})


def _kept_history(config: Config) -> int | None:
    """How much of the histories of events of before is asked for, where runs go on: what items are similar by."""
    if config.incremental is None:
        return None
    similar = config.serving.similar
    return similar.window if similar.method == "co_occurrence" else 0


def _growing(config: Config) -> Growing:
    """What of the Transform's graph more events add to."""
    vocabularies = {"item_id": Vocabularies(ids=ITEM_VOCABULARY, counts=ITEM_COUNTS)}
    if config.model.user_id:
        vocabularies["user_id"] = Vocabularies(ids=USER_VOCABULARY)
    return Growing(vocabularies=vocabularies, user="user_hash", time="timestamp")


_HOLD_OUT: dict[str, HoldOut] = {"time": "latest", "leave_last_n": "last_of_user", "hash": "any", "files": "any"}
"""What is held back of the training events for validation, so that it is to them as the evaluation is to all."""


def _fair_by(log: InteractionSettings) -> FairBy:
    """What tells whether a training had a part in a query of another night."""
    if log.columns.timestamp is None:
        return ""
    return "time" if log.split.method == "time" else "events"


NO_PART = {"kubeflow", "metadata", "retention", "tuning"}
"""Sections of the config that no model is another by."""


def _record(
    config: Config, nodes: Iterable[BaseComponent], parameters: list[str], reindexed: bool, went_on: bool
) -> dict[str, Any]:
    """What a version says that it was made by, see `components.pusher.origin`."""
    code = {node.id: node.exec_properties[PROPERTY] for node in nodes if PROPERTY in node.exec_properties}
    return {
        "config": config.model_dump(mode="json", exclude=NO_PART),
        "code": {node.id: {"modules": modules_of(node), "digest": code[node.id]} for node in nodes if node.id in code},
        "parameters": parameters,
        "reindexed": reindexed,
        **({"went_on": True} if went_on else {}),
    }


def _code_version() -> str:
    """The package's version, and the commit where this is a git checkout."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return __version__
    described = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    with contextlib.suppress(OSError):
        commit = subprocess.run(described, capture_output=True, text=True, check=False).stdout.strip()
        return f"{__version__} {commit}".rstrip()
    return __version__
