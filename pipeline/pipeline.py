"""The DAG, once, for every runner."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import tensorflow_data_validation as tfdv
from tfx.components import StatisticsGen, Transform
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import transform_pb2

from components.catalogue_gen.component import CatalogueGen
from components.champion.component import Champion
from components.evaluator.component import Evaluator
from components.example_validator.component import ExampleValidator
from components.indexer.component import Indexer
from components.interaction_gen.component import InteractionGen
from components.pusher.component import Pusher
from components.schema import catalogue_schema, interaction_schema, stats_features, write_schema
from components.servable_validator.component import ServableValidator
from components.trainer.component import Trainer
from pipeline.config import Config


@dataclass(frozen=True)
class Paths:
    """Where a run reads and writes; the runner binds them."""

    root: Path
    """Artifacts, metadata, logs and schemas of this pipeline."""
    base_path: Path
    """Versions are pushed to `<base_path>/<model name>/<version>`."""
    interactions: str
    users: str
    catalogue: str
    evaluation: str
    """Files of evaluation events, where the config gives them."""

    @property
    def metadata(self) -> Path:
        """The MLMD database."""
        return self.root / "metadata.sqlite"


def create_pipeline(config: Config, paths: Paths) -> Pipeline:
    """The whole way from a log and a catalogue to a pushed version."""
    log = config.data.interactions.settings()
    if paths.evaluation:
        log = log.model_copy(update={"split": log.split.model_copy(update={"eval_path": paths.evaluation})})
    items = config.data.catalogue.settings()
    feature_types = {name: feature.type for name, feature in items.features.items()}
    query_types = config.query_features()
    vocabularies = {"categories": config.model.categories, "text_tokens": config.model.text_tokens}
    code = _code_digest()
    schemas = str(paths.root / "schemas")

    # Reads, checks, filters and splits the log, and gives each event the history before it.
    interactions = InteractionGen(
        input_path=paths.interactions, users_path=paths.users, cutoff=config.data.interactions.cutoff, settings=log
    )
    # One row an item, also for items that only the log knows.
    catalogue = CatalogueGen(interactions=interactions.outputs["examples"], input_path=paths.catalogue, settings=items)
    # The schema is what the config says, not what today's data looks like.
    log_schema = interaction_schema(log)
    schema = ImportSchemaGen(schema_file=write_schema(log_schema, schemas))
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
        preprocessing_fn="pipeline.preprocessing.preprocess_interactions",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=["train"]),
        disable_statistics=True,
        custom_config={
            "code": code,
            "features": query_types,
            "time_features": config.model.time_features,
            "user_id": config.model.user_id,
            **vocabularies,
        },
    )
    transform.add_upstream_node(validator)
    catalogue_schemas = ImportSchemaGen(schema_file=write_schema(catalogue_schema(items), schemas)).with_id(
        "CatalogueSchemaGen"
    )
    # Vocabularies and scales of the side features.
    catalogue_transform = Transform(
        examples=catalogue.outputs["examples"],
        schema=catalogue_schemas.outputs["schema"],
        preprocessing_fn="pipeline.preprocessing.preprocess_catalogue",
        splits_config=transform_pb2.SplitsConfig(analyze=["catalogue"], transform=["catalogue"]),
        disable_statistics=True,
        custom_config={"code": code, "features": feature_types, **vocabularies},
    ).with_id("CatalogueTransform")
    # Trains the two towers.
    trainer = Trainer(
        run_fn="pipeline.training.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        catalogue=catalogue_transform.outputs["transformed_examples"],
        catalogue_graph=catalogue_transform.outputs["transform_graph"],
        custom_config={
            "code": code,
            "seed": config.seed,
            "features": feature_types,
            "query_features": query_types,
            "user_features": [name for name in query_types if log.users and name in log.users.features],
            "max_history": log.history.max_length,
            "hold_out": _HOLD_OUT[log.split.method],
            "checkpoints": str(paths.root / "checkpoints"),
            "model": config.model.model_dump(mode="json"),
            "training": config.training.model_dump(mode="json"),
        },
    )
    # Towers, catalogue and stored histories to one SavedModel.
    indexer = Indexer(
        towers=trainer.outputs["model"],
        catalogue=catalogue.outputs["examples"],
        interactions=interactions.outputs["examples"],
        model_name=config.name,
        settings=config.serving.settings(),
    )
    # The version that the candidate would replace.
    champion = Champion(model=indexer.outputs["model"], base_path=str(paths.base_path), model_name=config.name)
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
        base_path=str(paths.base_path),
        model_name=config.name,
    )
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=str(paths.root / "artifacts"),
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(paths.metadata)),
        components=[
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
        ],
        enable_cache=config.cache,
        beam_pipeline_args=_beam_args(config.beam.pipeline_args),
    )


def _beam_args(configured: tuple[str, ...]) -> list[str]:
    """Beam's options, with the project's own setup.py for the workers unless they bring it some other way.

    A runner in this process has no use for it, but without such an option TFX packs itself up before every node.
    """
    setup_file = Path(__file__).parents[1] / "setup.py"
    brought = any(
        re.match(r"--(setup_file|requirements_file|extra_packages?|sdk_container_image)\b", a) for a in configured
    )
    return list(configured) if brought or not setup_file.exists() else [*configured, f"--setup_file={setup_file}"]


_HOLD_OUT = {"time": "latest", "leave_last_n": "last_of_user", "hash": "any", "files": "any"}
"""What is held back of the training events for validation, so that it is to them as the evaluation is to all."""


def _code_digest() -> str:
    """A digest of the modules that Transform and Trainer import by name, whose changes TFX's cache does not see."""
    digest = hashlib.sha256()
    for name in ("preprocessing", "towers", "losses", "optimizers", "checkpoint", "training", "export", "settings"):
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()
