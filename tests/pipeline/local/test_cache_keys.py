"""Another name for a folder in keys of TFX's cache; tests/pipeline/local/test_output.py has the cache answer by it."""

from __future__ import annotations

import inspect
import json
from types import SimpleNamespace
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.portable import cache_utils, launcher

from pipeline.local.cache_keys import named_as

FOLDER, PLACE = "/home/j\u00f6rg/shop", "s3://bucket/runs/shop"


def test_a_folder_is_called_otherwise_wherever_a_key_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(cache_utils, "get_cache_context", lambda **given: asked.update(given))
    before = cache_utils.get_cache_context
    artifact = metadata_store_pb2.Artifact(id=7, uri=f"{FOLDER}/artifacts/Transform/graph/3")
    artifact.custom_properties["of"].string_value = f"{FOLDER}/artifacts/Trainer/model/2"
    artifact.custom_properties["number"].int_value = 1
    with named_as(FOLDER, PLACE):
        cache_utils.get_cache_context(
            pipeline_node="node",
            input_artifacts={"graph": [SimpleNamespace(mlmd_artifact=artifact)]},
            parameters={"checkpoints": json.dumps({"path": f"{FOLDER}/checkpoints"}), "folder": FOLDER, "epochs": 3},
        )
    assert cache_utils.get_cache_context is before
    [found] = asked.pop("input_artifacts")["graph"]
    assert asked == {
        "pipeline_node": "node",
        "parameters": {"checkpoints": json.dumps({"path": f"{PLACE}/checkpoints"}), "folder": PLACE, "epochs": 3},
    }
    assert (found.mlmd_artifact.id, found.mlmd_artifact.uri) == (7, f"{PLACE}/artifacts/Transform/graph/3")
    assert found.mlmd_artifact.custom_properties["of"].string_value == f"{PLACE}/artifacts/Trainer/model/2"
    assert artifact.uri.startswith(FOLDER), "the run goes on with its own"


def test_the_launcher_asks_so() -> None:
    assert "cache_utils.get_cache_context(" in inspect.getsource(launcher)
    assert {"input_artifacts", "parameters"} <= set(inspect.signature(cache_utils.get_cache_context).parameters)
