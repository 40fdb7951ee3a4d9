"""The DAG, once, for every runner."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tensorflow_data_validation as tfdv
from tfx.components import StatisticsGen, Transform
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import transform_pb2

from components.catalogue_gen.component import CatalogueGen
from components.catalogue_gen.schema import catalogue_schema
from components.champion.component import Champion
from components.evaluator.component import Evaluator
from components.example_validator.component import ExampleValidator
from components.examples.interactions import NEGATIVE_SPLIT
from components.indexer.component import Indexer
from components.interaction_gen.component import InteractionGen
from components.interaction_gen.schema import interaction_schema, stats_features
from components.promoter.component import Promoter
from components.pusher.component import Pusher
from components.schema_gen.component import ImportSchemaGen
from components.servable_validator.component import ServableValidator
from components.trainer.component import Trainer
from pipeline import __version__
from pipeline.beam_args import beam_args
from pipeline.code import stamp
from pipeline.config import Config
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


def create_pipeline(config: Config, paths: Paths, parameters: Mapping[str, RuntimeParameter] | None = None) -> Pipeline:
    """The whole way from a log and a catalogue to a pushed version.

    Args:
        config: The config.
        paths: Where things are.
        parameters: What is known at run time only, on platforms that can do that: any of `interactions_path`,
            `users_path`, `catalogue_path`, `cutoff`, `epochs` and `base_path`, instead of what config and paths say;
            with `promote_label` and `promote_approved` a last node promotes what was pushed.
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

    # Reads, checks, filters and splits the log, and gives each event the history before it.
    interactions = InteractionGen(
        input_path=given.get("interactions_path", paths.interactions),
        users_path=given.get("users_path", paths.users),
        cutoff=given.get("cutoff", config.data.interactions.cutoff),
        settings=log,
        excluded_types=config.serving.exclude if isinstance(config.serving.exclude, tuple) else (),
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
    # The item vocabulary with its counts, and what the query tower takes, from training events only.
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
    transform.add_upstream_node(validator)
    catalogue_schemas = ImportSchemaGen(catalogue_schema(items)).with_id("CatalogueSchemaGen")
    # Vocabularies and scales of the side features.
    catalogue_transform = Transform(
        examples=catalogue.outputs["examples"],
        schema=catalogue_schemas.outputs["schema"],
        preprocessing_fn="pipeline.model.preprocessing.preprocess_catalogue",
        splits_config=transform_pb2.SplitsConfig(analyze=["catalogue"], transform=["catalogue"]),
        disable_statistics=True,
        custom_config={"features": feature_types, **vocabularies},
    ).with_id("CatalogueTransform")
    # Trains the two towers.
    trainer = Trainer(
        run_fn="pipeline.model.trainer.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        catalogue=catalogue_transform.outputs["transformed_examples"],
        catalogue_graph=catalogue_transform.outputs["transform_graph"],
        settings=TrainerSettings(
            seed=config.seed,
            features=feature_types,
            query_features=query_types,
            user_features=tuple(name for name in query_types if log.users and name in log.users.features),
            max_history=log.history.max_length,
            hold_out=_HOLD_OUT[log.split.method],
            may_repeat=config.serving.exclude != contract.ALL,
            checkpoints=paths.checkpoints,
            model=config.model,
            training=config.training,
        ),
        epochs=given.get("epochs"),
    )
    # Towers, catalogue and stored histories to one SavedModel.
    indexer = Indexer(
        towers=trainer.outputs["model"],
        catalogue=catalogue.outputs["examples"],
        interactions=interactions.outputs["examples"],
        model_name=config.name,
        settings=config.indexer_settings(),
        filter_types={name: feature_types[name] for name in config.serving.filters},
        trained_catalogue=paths.trained_catalogue,
    )
    # The version that the candidate would replace.
    champion = Champion(model=indexer.outputs["model"], base_path=base_path, model_name=config.name)
    # Candidate, champion and baseline on the same point-in-time queries; blesses or not.
    evaluator = Evaluator(
        examples=interactions.outputs["examples"],
        catalogue=catalogue.outputs["examples"],
        model=indexer.outputs["model"],
        champion=champion.outputs["champion"],
        item_features=[name for name, kind in feature_types.items() if kind in ("category", "categories")],
        settings=config.evaluation,
    )
    # Loads the servable in the model server and asks it.
    servable_validator = ServableValidator(
        model=indexer.outputs["model"], examples=interactions.outputs["examples"], settings=config.validation
    )
    # A new version, by rename, if both blessed it.
    pusher = Pusher(
        model=indexer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=servable_validator.outputs["blessing"],
        evaluation=evaluator.outputs["evaluation"],
        champion=champion.outputs["champion"],
        examples=interactions.outputs["examples"],
        base_path=base_path,
        model_name=config.name,
        origin={
            "config": hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:12],
            "code": _code_version(),
        },
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
    nodes = [
        interactions,
        catalogue,
        statistics,
        schema,
        validator,
        transform,
        catalogue_schemas,
        catalogue_transform,
        trainer,
        indexer,
        champion,
        evaluator,
        servable_validator,
        pusher,
        *promoters,
    ]
    # A node whose code has changed is run again.
    stamp(nodes)
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=paths.artifacts,
        components=nodes,
        enable_cache=config.cache,
        beam_pipeline_args=beam_args(config.beam.pipeline_args),
    )


_HOLD_OUT: dict[str, HoldOut] = {"time": "latest", "leave_last_n": "last_of_user", "hash": "any", "files": "any"}
"""What is held back of the training events for validation, so that it is to them as the evaluation is to all."""


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
