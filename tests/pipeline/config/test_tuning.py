"""The space of `recommender tune`, as the config has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from pipeline.config import load_config
from pipeline.config.tuning import _FIXED, _SECTIONS, TuningSettings


@pytest.mark.parametrize(
    ("key", "dimension", "words"),
    [
        ("model.dimm", {"choices": [1]}, "model.dimm: unknown key; did you mean 'model.dim'?"),
        ("data.path", {"choices": [1]}, "data.path: unknown key; there are model.dim"),
        ("model", {"choices": [1]}, "model: unknown key"),
        ("model.dim", {"choices": [32, "wide"]}, r"model.dim: .*valid integer.*got 'wide'"),
        ("model.dim", {"low": 0, "high": 64}, r"model.dim: .*greater than or equal to 1 \(got 0"),
        ("model.dim", {"low": 16.5, "high": 64}, r"model.dim: .*fractional part \(got 16.5\)"),
        ("model.dim", {"low": 16, "high": 64, "step": 0.5}, "model.dim takes whole numbers: so must its step be"),
        ("model.dropout", {"low": 0.2, "high": 1}, r"model.dropout: .*less than 1 \(got 1"),
        ("training.loss", {"low": 0, "high": 1}, "training.loss: "),
        ("model.shared_item_table", {"low": 0, "high": 1}, "model.shared_item_table takes no numbers: give it choices"),
        ("model.query_layers", {"choices": [[64], 64]}, r"model.query_layers: .*tuple \(got 64\)"),
        ("model.text_tokens", {"choices": [100]}, "model.text_tokens can't be searched: Transform goes by it"),
        ("training.validation_fraction", {"low": 0.1, "high": 0.5}, "can't be searched: the trials are compared by it"),
        ("model.dim", {"choices": []}, "at least 1 item"),
        ("model.dim", {}, "needs choices, or a low and a high above it"),
        ("model.dim", {"low": 64}, "needs choices, or a low and a high above it"),
        ("model.dim", {"low": 64, "high": 32}, "needs choices, or a low and a high above it"),
        ("model.dim", {"choices": [32], "low": 16}, "choices stand alone"),
        ("model.dropout", {"low": 0, "high": 0.5, "log": True}, "log needs a low above 0"),
        ("model.dropout", {"low": 0.1, "high": 0.5, "log": True, "step": 0.1}, "goes without step"),
        ("model.dropout", {"low": 0, "high": float("inf")}, "finite"),
        ("model.dropout", {"from": 0, "high": 0.5}, "from: unknown key"),
    ],
)
def test_a_mistake_in_the_space_is_named_when_the_config_is_read(
    tmp_path: Path, key: str, dimension: dict[str, Any], words: str
) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text("name: shop\ndata: {interactions: {path: log.csv}}\n")
    with pytest.raises(InputError, match=f"(?s)shop.yaml: the config is wrong:.*tuning.space.*{words}"):
        load_config(path, (f"tuning.space={ {key: dimension} }".replace("inf", ".inf"),))


@pytest.mark.parametrize(
    ("setting", "words"),
    [("trials=0", "greater than or equal to 1"), ("space={}", "at least 1"), ("timeout=0", "than 0")],
)
def test_a_search_for_nothing_is_a_mistake(tmp_path: Path, setting: str, words: str) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text("name: shop\ndata: {interactions: {path: log.csv}}\n")
    with pytest.raises(InputError, match=words):
        load_config(path, (f"tuning.{setting}",))


def test_the_default_space_is_valid_and_what_no_space_may_have_exists() -> None:
    default = TuningSettings()
    space = {key: dimension.model_dump(exclude_unset=True) for key, dimension in default.space.items()}
    assert TuningSettings.model_validate({"space": space}) == default
    assert {key for key in _FIXED if key.split(".")[1] not in _SECTIONS[key.split(".")[0]].model_fields} == set()
