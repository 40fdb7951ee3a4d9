"""The nodes as TFX sees them: what goes in and comes out, what the cache goes by, who drives and who executes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.dsl.components.base import base_component, base_driver
from tfx.types import Channel, standard_artifacts

import components
from components.all_events.component import AllEvents
from components.catalogue_gen.component import CatalogueGen
from components.catalogue_gen.driver import Driver as CatalogueDriver
from components.catalogue_gen.settings import CatalogueSettings
from components.champion.component import Champion
from components.champion.driver import Driver as ChampionDriver
from components.data_profile import DataProfile, RejectedRows
from components.drivers.always_run import AlwaysRunDriver
from components.drivers.fingerprint import FingerprintDriver
from components.evaluator.component import Evaluator
from components.evaluator.settings import EvaluatorSettings
from components.example_validator.component import ExampleValidator
from components.guards.component import Guards
from components.guards.driver import Driver as GuardsDriver
from components.guards.settings import GuardSettings
from components.indexer.component import Indexer
from components.indexer.settings import IndexerSettings
from components.interaction_gen.component import InteractionGen
from components.interaction_gen.settings import InteractionSettings
from components.promoter.component import Promoter
from components.pusher.component import Pusher
from components.schema_gen.component import ImportSchemaGen
from components.servable_validator.component import ServableValidator
from components.servable_validator.settings import ServableValidatorSettings
from components.settings import Settings
from components.trainer.component import Trainer
from components.transform.component import GrownTransform
from components.transform.growing import Growing

EXAMPLES, MODEL = Channel(standard_artifacts.Examples), Channel(standard_artifacts.Model)
GRAPH = Channel(standard_artifacts.TransformGraph)
GROWING = Growing(vocabularies={}, user="user_hash", time="timestamp")
STATISTICS = Channel(standard_artifacts.ExampleStatistics)
SETTINGS: dict[type, Settings] = {
    InteractionGen: InteractionSettings.model_validate({"columns": {"rating": "stars"}, "min_rating": 4}),
    CatalogueGen: CatalogueSettings(display="{title}"),
    Guards: GuardSettings(min_size=0.9),
    Indexer: IndexerSettings(default_k=7, compact="int8"),
    Evaluator: EvaluatorSettings(ks=(3,), thresholds={}),
    ServableValidator: ServableValidatorSettings(num_requests=3),
    Trainer: ServableValidatorSettings(num_requests=4),
}
"""Settings that are not the defaults; the Trainer takes any."""

TO_PUSH: dict[str, Any] = {
    "model": MODEL,
    "model_blessing": Channel(standard_artifacts.ModelBlessing),
    "infra_blessing": Channel(standard_artifacts.InfraBlessing),
    "evaluation": Channel(standard_artifacts.ModelEvaluation),
    "champion": MODEL,
    "examples": EXAMPLES,
    "profile": Channel(DataProfile),
    "base_path": "/models",
    "model_name": "m",
    "origin": {"code": "1.0"},
}

NODES: dict[type, Callable[[], base_component.BaseComponent]] = {
    InteractionGen: lambda: InteractionGen("log.csv", SETTINGS[InteractionGen], "users.csv", "2020-01-01"),
    CatalogueGen: lambda: CatalogueGen(EXAMPLES, SETTINGS[CatalogueGen], "items.csv"),
    ImportSchemaGen: lambda: ImportSchemaGen(schema_pb2.Schema(feature=[schema_pb2.Feature(name="a")])),
    ExampleValidator: lambda: ExampleValidator(STATISTICS, Channel(standard_artifacts.Schema)),
    Guards: lambda: Guards(
        Channel(RejectedRows), EXAMPLES, STATISTICS, {"price": "number"}, "/models", "m", SETTINGS[Guards], "a reason"
    ),
    Trainer: lambda: Trainer("a.run_fn", EXAMPLES, GRAPH, EXAMPLES, GRAPH, SETTINGS[Trainer], epochs=3),
    Indexer: lambda: Indexer(MODEL, EXAMPLES, EXAMPLES, "m", SETTINGS[Indexer], {"price": "number"}, "old"),
    Champion: lambda: Champion(MODEL, "/models", "m"),
    Evaluator: lambda: Evaluator(EXAMPLES, EXAMPLES, MODEL, MODEL, EXAMPLES, ["genres"], SETTINGS[Evaluator], "time"),
    ServableValidator: lambda: ServableValidator(MODEL, EXAMPLES, SETTINGS[ServableValidator]),
    Pusher: lambda: Pusher(**TO_PUSH, retain=2),
    AllEvents: lambda: AllEvents(EXAMPLES, Channel(standard_artifacts.ModelBlessing)),
    GrownTransform: lambda: GrownTransform(EXAMPLES, GRAPH, {"eval": "train"}, GROWING, EXAMPLES, 1.0, 30.0),
    Promoter: lambda: Promoter(Channel(standard_artifacts.PushedModel), "/models", "m", "stable", "true", ("a:8500",)),
}

OUTPUTS: dict[type, dict[str, str]] = {
    InteractionGen: {"examples": "Examples", "rejects": "recommender.RejectedRows"},
    CatalogueGen: {"examples": "Examples"},
    ImportSchemaGen: {"schema": "Schema"},
    ExampleValidator: {"anomalies": "ExampleAnomalies"},
    Guards: {"profile": "recommender.DataProfile"},
    Trainer: {"model": "Model", "model_run": "ModelRun"},
    Indexer: {"model": "Model"},
    Champion: {"champion": "Model", "queries": "Examples"},
    Evaluator: {"evaluation": "ModelEvaluation", "blessing": "ModelBlessing"},
    ServableValidator: {"blessing": "InfraBlessing"},
    Pusher: {"pushed_model": "PushedModel"},
    AllEvents: {"all_examples": "Examples"},
    GrownTransform: {"transform_graph": "TransformGraph", "transformed_examples": "Examples"},
    Promoter: {"promotion": "recommender.Promotion"},
}

DRIVERS = {
    InteractionGen: FingerprintDriver,
    CatalogueGen: CatalogueDriver,
    Guards: GuardsDriver,
    Champion: ChampionDriver,
    Pusher: AlwaysRunDriver,
    Promoter: AlwaysRunDriver,
}
"""Of all others the cache goes by their inputs and settings."""


def test_every_folder_with_a_component_is_here() -> None:
    folders = {path.parent.name for path in Path(components.__file__).parent.glob("*/component.py")}
    assert folders == {node.__module__.split(".")[1] for node in NODES}


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_what_comes_out_and_who_makes_it(node: Any) -> None:
    made = NODES[node]()
    assert {name: channel.type_name for name, channel in made.outputs.items()} == OUTPUTS[node]
    assert issubclass(made.driver_class, DRIVERS.get(node, base_driver.BaseDriver))
    assert made.executor_spec.executor_class.__module__.startswith(node.__module__.rsplit(".", 1)[0])


@pytest.mark.parametrize("node", SETTINGS, ids=lambda node: node.__name__)
def test_settings_reach_the_executor_whole(node: Any) -> None:
    properties = NODES[node]().exec_properties
    text = properties["custom_config" if node is Trainer else "settings"]
    assert type(SETTINGS[node]).model_validate_json(text) == SETTINGS[node]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (InteractionGen, {"input_path": "log.csv", "users_path": "users.csv", "cutoff": "2020-01-01"}),
        (CatalogueGen, {"input_path": "items.csv"}),
        (Trainer, {"run_fn": "a.run_fn", "epochs": 3}),
        (Indexer, {"model_name": "m", "filter_types": json.dumps({"price": "number"}), "trained_catalogue": "old"}),
        (Guards, {"base_path": "/models", "model_name": "m", "accept": "a reason", "features": '{"price": "number"}'}),
        (Champion, {"base_path": "/models", "model_name": "m"}),
        (Evaluator, {"item_features": json.dumps(["genres"]), "fair_by": "time"}),
        (Pusher, {"base_path": "/models", "model_name": "m", "origin": json.dumps({"code": "1.0"}), "retain": 2}),
        (Promoter, {"base_path": "/models", "model_name": "m", "label": "stable", "approved": "true"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_else_the_cache_goes_by(node: Any, expected: dict[str, Any]) -> None:
    properties = NODES[node]().exec_properties
    assert {name: properties[name] for name in expected} == expected


def test_what_is_not_given_is_empty() -> None:
    assert InteractionGen("log.csv", InteractionSettings()).exec_properties["users_path"] == ""
    assert CatalogueGen(EXAMPLES, CatalogueSettings()).exec_properties["input_path"] == ""
    assert Pusher(**TO_PUSH).exec_properties.get("retain") is None
