"""The page and the schema of the config's keys: made from the settings, up to date, and true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.config.reference import PAGE, SCHEMA, kind, reference, schema

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

ROOT = Path(__file__).parents[3]
ANEW = "run: python -m pipeline.config.reference"


def rows() -> dict[str, list[str]]:
    """Of each key what it may be, its default and its meaning."""
    lines = [line for line in reference().splitlines() if line.startswith("| `")]
    cells = [line.replace("\\|", "\0").strip("| ").split(" | ") for line in lines]
    return {key.strip("`"): [cell.strip().replace("\0", "|") for cell in rest] for key, *rest in cells}


def test_both_are_up_to_date() -> None:
    assert PAGE == ROOT / "docs" / "config.md"
    assert PAGE.read_text(encoding="utf-8") == reference(), ANEW
    assert SCHEMA.read_text(encoding="utf-8") == schema(), ANEW


def test_every_key_is_explained_with_what_it_may_be() -> None:
    found = rows()
    assert len(found) > 250
    assert not [key for key, (may_be, _, meaning) in found.items() if not may_be or len(meaning) < 4]


@pytest.mark.parametrize(
    ("key", "may_be", "default"),
    [
        ("name", "text (at most 63 characters, matching `^[A-Za-z][A-Za-z0-9_-]*$`)", "*required*"),
        ("seed", "whole number ≥ 0 and < 2,147,483,648", "`42`"),
        ("output", "path", "`output`"),
        ("cache", "`true` or `false`", "`true`"),
        ("data", "keys", "*required*"),
        ("model", "keys", ""),
        ("model.dim", "whole number from 1 to 4,096 or `null`", ""),
        ("model.history", "`auto`, `pooling`, `attention`, `transformer` or `none`", "`auto`"),
        ("model.history_dropout", "number ≥ 0 and < 1", "`0.2`"),
        ("model.query_layers", "list of whole numbers > 0", "`[]`"),
        ("data.interactions.path", "text (not empty)", "*required*"),
        ("data.interactions.columns.timestamp", "text (not empty) or `null`", "`timestamp`"),
        ("data.interactions.rating_range", "list of 2: number, number or `null`", ""),
        ("data.interactions.event_weights", "names, each with a number from -1,000,000 to 1,000,000", "`{}`"),
        ("data.interactions.deduplicate", "`true` or `false` or `user_item`", "`true`"),
        ("data.interactions.features.NAME.separator", "text (not empty)", "`|`"),
        ("evaluation.thresholds", "names, each with keys",
         '`{"hit_rate@10": {"max_drop": 0.01}, "ndcg@10": {"beat_baselines": true, "keep_lead": 0.5}}`'),
        ("tuning.space.NAME.choices", "list of anything (at least 1) or `null`", ""),
        ("serving.tls", "keys or `null`", ""),
        ("kubeflow.volumes", "list of groups of keys", "`[]`"),
        ("kubeflow.volumes.claim", "text (at most 253 characters, matching `^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)",
         "*required*"),
        ("kubeflow.defaults.cpu.request", "text, number or `null`", ""),
        ("kubeflow.secrets.env", "names, each with a text", "`{}`"),
    ],
)  # fmt: skip
def test_what_a_key_may_be(key: str, may_be: str, default: str) -> None:
    assert rows()[key][:2] == [may_be, default]


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"type": "number", "exclusiveMinimum": 0.5, "maximum": 2.0}, "number > 0.5 and ≤ 2"),
        ({"type": "integer"}, "whole number"),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 3}, "list of whole numbers (at most 3)"),
        ({"type": "string", "minLength": 2}, "text (at least 2 characters)"),
        ({"enum": ["", "a", "b"]}, "empty, `a` or `b`"),
        ({"const": "a"}, "`a`"),
        ({}, "anything"),
    ],
)  # fmt: skip
def test_kinds(node: dict[str, Any], words: str) -> None:
    assert kind(node) == words


def problems(content: Any) -> list[str]:
    """What the schema has against a config, by key."""
    found = jsonschema.Draft202012Validator(json.loads(schema())).iter_errors(content)
    return sorted(
        ".".join(map(str, [*problem.path, *([problem.validator] if not problem.path else [])])) for problem in found
    )


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(schema()))


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configs_fit_the_schema_that_they_name(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert (path.parent / "schema.json").is_file()
    assert problems(yaml.safe_load(text)) == []


def test_the_schema_has_something_against_mistakes() -> None:
    good: dict[str, Any] = {"name": "shop", "data": {"interactions": {"path": "log.csv"}}}
    assert problems(good) == []
    assert problems({**good, "kubeflow": {"defaults": {"cpu": {"request": 2, "limit": "2500m"}}}}) == []
    assert problems({"name": "shop"}) == ["required"]
    assert problems({**good, "sed": 1}) == ["additionalProperties"]
    twice = {"interactions": {"path": "log.csv", "delimiter": '"'}}
    assert problems({**good, "data": twice}) == ["data.interactions.delimiter"]
    assert problems({**good, "seed": -1, "model": {"dim": 5000, "history": "none", "dimm": 1}}) == [
        "model",
        "model.dim",
        "seed",
    ]
