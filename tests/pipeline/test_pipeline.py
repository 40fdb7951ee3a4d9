"""The DAG: what config, paths and run-time parameters make of its nodes, where they are not all the same."""

from __future__ import annotations

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
from pipeline.pipeline import Paths, create_pipeline

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
    assert {made[name].exec_properties["base_path"] for name in ("Champion", "Pusher")} == {"models"}
    assert "Promoter" not in made


def test_parameters_take_the_place_of_config_and_paths() -> None:
    given = {name: f"given {name}" for name in ("interactions_path", "users_path", "catalogue_path", "cutoff")}
    made = nodes({"cutoff": "2026-01-01"}, parameters={**given, "base_path": "elsewhere", "epochs": 3})
    log = made["InteractionGen"].exec_properties
    assert [log[name] for name in ("input_path", "users_path", "cutoff")] == [
        "given interactions_path",
        "given users_path",
        "given cutoff",
    ]
    assert made["CatalogueGen"].exec_properties["input_path"] == "given catalogue_path"
    assert made["Trainer"].exec_properties["epochs"] == 3
    assert {made[name].exec_properties["base_path"] for name in ("Champion", "Pusher")} == {"elsewhere"}


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
    assert made["ExampleValidator"] in made["Transform"].upstream_nodes
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
