"""The DAG: what config, paths and run-time parameters make of its nodes, where they are not all the same."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from tfx.dsl.components.base.base_component import BaseComponent

from pipeline import __version__
from pipeline import pipeline as module
from pipeline.config import Config
from pipeline.config.incremental import Before
from pipeline.nodes import SHIPPING
from pipeline.pipeline import Paths, create_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.smoke]  # a DAG takes half a second

PATHS = Paths("artifacts", "models", "log.csv", "users.csv", "items.csv", "", "checkpoints", "old")
PROMOTE = {"promote_label": "stable", "promote_approved": "true"}


def nodes(
    interactions: Mapping[str, Any] = MappingProxyType({}),
    catalogue: Mapping[str, Any] = MappingProxyType({}),
    paths: Paths = PATHS,
    parameters: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, BaseComponent]:
    data = {"interactions": {"path": "log.csv", **interactions}, "catalogue": {**catalogue}}
    made = create_pipeline(Config.model_validate({"name": "shop", "data": data, **more}), paths, parameters)
    return {node.id: node for node in made.components}


def settings(node: BaseComponent) -> dict[str, Any]:
    name = "custom_config" if "custom_config" in node.exec_properties else "settings"
    return json.loads(node.exec_properties[name])


def test_types_of_events_go_to_the_trainer_where_there_are_tasks() -> None:
    plain = nodes({"columns": {"event": "type"}})
    made = nodes({"columns": {"event": "type"}}, model={"tasks": {"purchase": {"events": ["buy"]}}})
    assert settings(made["Trainer"])["model"]["tasks"] == {"purchase": {"events": ["buy"], "weight": 1}}
    assert settings(made["Transform"]) == {**settings(plain["Transform"]), "event": True}
    assert "event" not in settings(plain["Transform"])


def test_what_is_left_out_goes_to_the_nodes_that_make_judge_and_learn_it() -> None:
    plain = nodes({"columns": {"event": "type"}})
    by_types = nodes({"columns": {"event": "type"}}, serving={"exclude": ["purchase"]})
    anything = nodes({"columns": {"event": "type"}}, serving={"exclude": "nothing"})
    found = [
        json.loads(made["InteractionGen"].exec_properties["excluded_types"]) for made in (plain, by_types, anything)
    ]
    assert found == [[], ["purchase"], []], "the data are the same whether all is left out or nothing"
    assert [settings(made["Indexer"])["exclude"] for made in (plain, by_types, anything)] == [
        "all",
        ["purchase"],
        "nothing",
    ]
    assert [settings(made["Trainer"])["may_repeat"] for made in (plain, by_types, anything)] == [False, True, True]


def test_negative_events_are_transformed_where_there_may_be_any() -> None:
    def transformed(**log: Any) -> str:
        return nodes({"columns": {"event": "type"}, **log})["Transform"].exec_properties["splits_config"]

    assert "negative" not in transformed(event_weights={"view": 1})
    for log in ({"event_weights": {"view": 1, "return": -1}}, {"never_again": ["hide"]}):
        assert json.loads(transformed(**log)) == {"analyze": ["train"], "transform": ["train", "negative"]}


@pytest.mark.parametrize(
    ("split", "hold_out"),
    [
        ({}, "latest"),
        ({"method": "leave_last_n"}, "last_of_user"),
        ({"method": "hash"}, "any"),
        ({"method": "files", "eval_path": "eval.csv"}, "any"),
    ],
)
def test_validation_is_to_training_as_evaluation_is_to_all(split: dict[str, str], hold_out: str) -> None:
    assert settings(nodes({"split": split})["Trainer"])["hold_out"] == hold_out


def test_without_parameters_the_nodes_go_by_config_and_paths() -> None:
    made = nodes({"cutoff": "2026-01-01"})
    log, trainer = made["InteractionGen"].exec_properties, made["Trainer"].exec_properties
    assert (log["input_path"], log["users_path"], log["cutoff"]) == ("log.csv", "users.csv", "2026-01-01")
    assert made["CatalogueGen"].exec_properties["input_path"] == "items.csv"
    assert trainer.get("epochs") is None
    assert settings(made["Trainer"])["checkpoints"] == "checkpoints"
    assert made["Indexer"].exec_properties["trained_catalogue"] == "old"
    assert {made[name].exec_properties["base_path"] for name in ("Guards", "Champion", "Pusher")} == {"models"}
    assert made["Guards"].exec_properties["accept"] == ""
    assert "Promoter" not in made


def test_parameters_take_the_place_of_config_and_paths() -> None:
    given = {name: f"given {name}" for name in ("interactions_path", "users_path", "catalogue_path", "cutoff")}
    made = nodes(
        {"cutoff": "2026-01-01"}, parameters={**given, "base_path": "elsewhere", "epochs": 3, "accept": "a reason"}
    )
    log = made["InteractionGen"].exec_properties
    assert [log[name] for name in ("input_path", "users_path", "cutoff")] == [
        "given interactions_path",
        "given users_path",
        "given cutoff",
    ]
    assert made["CatalogueGen"].exec_properties["input_path"] == "given catalogue_path"
    assert made["Trainer"].exec_properties["epochs"] == 3
    assert {made[name].exec_properties["base_path"] for name in ("Guards", "Champion", "Pusher")} == {"elsewhere"}
    assert made["Guards"].exec_properties["accept"] == "a reason"


@pytest.mark.parametrize(
    ("parameters", "kubeflow", "there"),
    [(PROMOTE, {"promote": {}}, True), (PROMOTE, {"promote": None}, False), ({}, {"promote": {}}, False)],
)
def test_a_promoter_is_there_where_config_and_parameters_want_it(
    parameters: dict[str, str], kubeflow: dict[str, Any], there: bool
) -> None:
    made = nodes(parameters=parameters, kubeflow=kubeflow)
    assert ("Promoter" in made) is there
    if there:
        properties = made["Promoter"].exec_properties
        assert (properties["label"], properties["approved"], properties["base_path"]) == ("stable", "true", "models")


def test_files_of_evaluation_events_are_those_of_the_paths() -> None:
    found = Paths("artifacts", "models", "log.csv", "", "", "/data/eval.csv", "")
    made = nodes({"split": {"method": "files", "eval_path": "eval.csv"}}, paths=found)
    assert settings(made["InteractionGen"])["split"]["eval_path"] == "/data/eval.csv"


def test_each_node_is_told_of_the_features_that_it_uses() -> None:
    kinds = {"genres": "categories", "brand": "category", "price": "number", "plot": "text"}
    made = nodes(
        {
            "features": {"device": {"type": "category"}, "unused": {"type": "number"}},
            "users": {"path": "users.csv", "features": {"age": {"type": "number"}}},
        },
        catalogue={"path": "items.csv", "features": {name: {"type": kind} for name, kind in kinds.items()}},
        model={"query_features": ["device", "age"]},
        serving={"filters": ["brand", "price"]},
    )
    assert json.loads(made["Evaluator"].exec_properties["item_features"]) == ["genres", "brand"]
    assert json.loads(made["Indexer"].exec_properties["filter_types"]) == {"brand": "category", "price": "number"}
    trained = settings(made["Trainer"])
    assert trained["features"] == kinds
    assert trained["query_features"] == {"device": "category", "age": "number"}
    assert trained["user_features"] == ["age"]
    assert json.loads(made["Transform"].exec_properties["custom_config"])["features"] == trained["query_features"]
    assert json.loads(made["CatalogueTransform"].exec_properties["custom_config"])["features"] == kinds


def test_nothing_is_learned_from_a_log_with_anomalies() -> None:
    made = nodes()
    assert {made["ExampleValidator"], made["Guards"]} <= made["Transform"].upstream_nodes
    assert {"Transform", "CatalogueTransform"} <= {node.id for node in made["Trainer"].upstream_nodes}


@pytest.mark.slow
@pytest.mark.smoke
def test_the_origin_tells_configs_apart() -> None:
    def origin(**more: Any) -> dict[str, str]:
        return json.loads(nodes(**more)["Pusher"].exec_properties["origin"])

    first, same, other = origin(), origin(), origin(seed=7)
    assert first == same
    assert (first["config"] == other["config"], first["code"] == other["code"]) == (False, True)
    assert len(first["config"]) == 12
    assert first["code"].startswith(__version__)


@pytest.mark.parametrize(
    ("checkout", "described", "version"),
    [
        (True, "f00\n", f"{__version__} f00"),
        (True, "", __version__),  # git fails
        (True, None, __version__),  # there is no git
        (False, "f00\n", __version__),  # an installed package may lie in somebody else's checkout
    ],
)
def test_the_version_of_the_code(
    checkout: bool, described: str | None, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[:3] == ["git", "-C", str(tmp_path)]
        if described is None:
            raise FileNotFoundError("git")
        return subprocess.CompletedProcess(command, 0, described, "")

    if checkout:
        (tmp_path / ".git").touch()  # a file in a worktree
    monkeypatch.setattr(module, "__file__", str(tmp_path / "pipeline" / "pipeline.py"))
    monkeypatch.setattr(module.subprocess, "run", git)
    assert module._code_version() == version


@pytest.mark.parametrize(
    ("log", "fair_by"),
    [
        ({}, "time"),
        ({"split": {"method": "leave_last_n"}}, "events"),
        ({"columns": {"timestamp": None}}, ""),
    ],
)
def test_the_champion_s_own_queries_are_told_from_training_events(log: dict[str, Any], fair_by: str) -> None:
    made = nodes(log)["Evaluator"]
    assert made.exec_properties["fair_by"] == fair_by
    assert made.inputs["champion_queries"].producer_component_id == "Champion"


def test_what_is_shipped_is_made_of_what_was_judged_by_and_of_what_was_found_out() -> None:
    made = nodes()
    shipping = made["AllEvents"], made["ShippedTransform"], made["ShippedTrainer"], made["ShippedIndexer"]
    sources = [{key: channel.producer_component_id for key, channel in node.inputs.items()} for node in shipping]
    assert sources[0] == {"examples": "InteractionGen", "blessing": "Evaluator"}
    of_before = dict.fromkeys(("graph_before", "transformed_before"), "Transform")
    assert sources[1] == {"examples": "AllEvents", **of_before}
    assert json.loads(shipping[1].exec_properties["splits"]) == {"eval": "train"}
    assert (sources[2]["examples"], sources[2]["judged"]) == ("ShippedTransform", "Trainer")
    assert (sources[3]["towers"], sources[3]["interactions"]) == ("ShippedTrainer", "AllEvents")
    for judged, shipped in (("Trainer", 2), ("Indexer", 3)):
        assert settings(shipping[shipped]) == settings(made[judged])
    for name in ("ServableValidator", "Pusher"):
        inputs = {key: channel.producer_component_id for key, channel in made[name].inputs.items()}
        assert (inputs["model"], inputs["judged"]) == ("ShippedIndexer", "Indexer")
    assert made["Evaluator"].inputs["model"].producer_component_id == "Indexer"


def test_the_judged_model_itself_may_be_shipped() -> None:
    made = nodes(serving={"ship": "judged"})
    assert not {*SHIPPING} & set(made)
    for name in ("ServableValidator", "Pusher"):
        assert made[name].inputs["model"].producer_component_id == "Indexer"
        assert not made[name].inputs.get("judged")


BEFORE = Before(
    version="3",
    examples="/all",
    transform_graph="/graph",
    transformed_examples="/transformed",
    catalogue_graph="/items",
    run="/run",
)


def test_a_run_that_goes_on_transforms_what_is_new_and_learns_it_from_the_weights_of_before() -> None:
    log = {"window_days": 30, "columns": {"event": "type"}, "never_again": ["hide"]}
    whole = nodes(log, incremental={"replay": 2.0})
    made = nodes(log, incremental={"replay": 2.0}, paths=dataclasses.replace(PATHS, before=BEFORE))
    assert set(made) - set(whole) == {f"before.{name}" for name in BEFORE.model_dump() if name != "version"}
    sources = {
        name: {key: channel.producer_component_id for key, channel in made[name].inputs.items()}
        for name in (
            "InteractionGen",
            "Transform",
            "CatalogueTransform",
            "Trainer",
            "ShippedTransform",
            "ShippedTrainer",
        )
    }
    assert sources["InteractionGen"] == {"before": "before.examples"}
    assert sources["Transform"] == {
        "examples": "InteractionGen",
        "graph_before": "before.transform_graph",
        "transformed_before": "before.transformed_examples",
    }
    assert sources["CatalogueTransform"] == {"examples": "CatalogueGen", "graph_before": "before.catalogue_graph"}
    assert sources["Trainer"]["before"] == sources["ShippedTrainer"]["before"] == "before.run"
    assert sources["ShippedTrainer"]["judged"] == "Trainer"
    assert sources["ShippedTransform"]["graph_before"] == "Transform"
    properties = made["Transform"].exec_properties
    assert (properties["replay"], properties["window_days"]) == (2.0, 30)
    assert json.loads(properties["splits"]) == {"train": "train", "negative": "negative"}
    # The queries of a night are nobody's, and a lead over them is not one over those of weeks.
    assert made["Champion"].exec_properties["goes_on"] == 1
    assert "goes_on" not in whole["Champion"].exec_properties
    leads = [settings(dag["Evaluator"])["thresholds"]["ndcg@10"]["keep_lead"] for dag in (made, whole)]
    assert leads == [None, 0.5]
    again = nodes(log, incremental={}, paths=dataclasses.replace(PATHS, went_on_from="2"))
    assert again["Champion"].exec_properties["goes_on"] == 1
    assert json.loads(again["Pusher"].exec_properties["origin"])["before"] == "2"
    origin = json.loads(made["Pusher"].exec_properties["origin"])
    assert origin["before"] == "3"
    assert [json.loads(dag["Pusher"].exec_properties["record"]).get("went_on") for dag in (made, whole)] == [True, None]
    # A reindex, which judges by fewer baselines, and other ports are no reason to begin anew.
    judged = nodes(log, incremental={"replay": 2.0}, evaluation={"max_queries": 10}, serving={"port": 1})
    others = json.loads(judged["Pusher"].exec_properties["origin"])
    assert (others["learned_by"], others["config"] == origin["config"]) == (origin["learned_by"], False)
    other = nodes(log, incremental={"replay": 2.0}, model={"dim": 8})
    assert json.loads(other["Pusher"].exec_properties["origin"])["learned_by"] != origin["learned_by"]
    # What trains on is trained as what begins anew, and keeps what the next one goes on from.
    assert settings(made["Trainer"]) == settings(whole["Trainer"])
    assert settings(made["Trainer"])["keep"] == "always"
    assert settings(nodes()["Trainer"])["keep"] == "to_ship"
    assert settings(nodes(serving={"ship": "judged"})["Trainer"])["keep"] == "nothing"
    assert whole["InteractionGen"].exec_properties["keep"] == 20
    embedded = nodes(log, incremental={}, serving={"similar": {"method": "embedding"}})
    assert embedded["InteractionGen"].exec_properties["keep"] == 0
    assert "keep" not in nodes()["InteractionGen"].exec_properties
