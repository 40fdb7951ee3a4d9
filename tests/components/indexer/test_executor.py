"""The Indexer's executor: what it hands on, and what it says of the outcome."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components.artifacts import NOT_SHIPPED
from components.indexer import executor
from components.indexer.executor import Executor
from components.indexer.index import Index
from components.indexer.saving import save_servable
from components.indexer.settings import IndexerSettings, IndexSettings, SimilarSettings
from tests.components.indexer.tiny import ITEMS, write_examples

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

SETTINGS = IndexerSettings(default_k=3, similar=SimilarSettings(method="embedding"), stored_history=1)
MANIFEST = {"num_items": 1_234, "num_users": 5_678, "dim": 8, "fingerprint": "0123456789abcdef"}
MEASURED = {
    "type": "scann",
    "k": 10,
    "queries": 200,
    "recall": 0.97,
    "latency_ms": 1.25,
    "exact_latency_ms": 9.0,
    "min_recall": 0.95,
}


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What the servable would have been saved from."""
    calls: list[tuple] = []

    def save(*arguments: Any) -> dict[str, Any]:
        calls.append(arguments)
        return {**MANIFEST, "index": MEASURED if arguments[2].index.type == "scann" else {"type": "exact"}}

    monkeypatch.setattr(executor, "save_servable", save)
    return calls


def run(towers: str, folder: Path, settings: IndexerSettings) -> Any:
    interactions = write_examples(folder / "log", "train", [{"user_id": "u", "item_id": "a", "timestamp": 1}])
    write_examples(folder / "log", "eval", [{"user_id": "u", "item_id": "b", "history": "a"}])
    catalogue = write_examples(folder / "catalogue", "catalogue", [{"item_id": item} for item in ITEMS])
    (folder / "model").mkdir()
    (folder / "model" / "Format-Serving").symlink_to(towers)
    inputs = {"towers": standard_artifacts.Model(), "catalogue": standard_artifacts.Examples()}
    inputs["interactions"] = standard_artifacts.Examples()
    for artifact, uri in zip(inputs.values(), (folder / "model", catalogue, interactions)):
        artifact.uri = str(uri)
    output = standard_artifacts.Model()
    output.uri = str(folder / "servable")
    properties = {
        "settings": settings.model_dump_json(),
        "model_name": "m",
        "filter_types": json.dumps({}),
        "code": "c0de",
    }
    Executor().Do({name: [artifact] for name, artifact in inputs.items()}, {"model": [output]}, properties)
    return output


def test_the_towers_are_loaded_once(
    towers: str, tmp_path: Path, saved: list[tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    load = tf.saved_model.load
    monkeypatch.setattr(tf.saved_model, "load", lambda folder: loaded.append(load(folder)) or loaded[-1])
    run(towers, tmp_path, SETTINGS)
    [towers_of_all] = loaded
    assert saved[0][-1] is towers_of_all
    monkeypatch.setattr(executor, "save_servable", save_servable)
    (tmp_path / "again").mkdir()
    run(towers, tmp_path / "again", SETTINGS)
    assert len(loaded) == 2


def test_the_servable_is_saved_where_tfx_looks_for_it(towers: str, tmp_path: Path, saved: list[tuple]) -> None:
    output = run(towers, tmp_path, SETTINGS)
    [(towers_dir, index, settings, name, directory, queries, code, _)] = saved
    assert code == "c0de"
    assert Path(towers_dir).resolve() == Path(towers).resolve()
    assert isinstance(index, Index)
    assert [item.decode() for item in index.item_ids] == ITEMS
    assert (settings, name) == (SETTINGS, "m")
    assert directory == str(tmp_path / "servable" / "Format-Serving")
    assert [(query.user_id, query.history) for query in queries] == [(b"u", [b"a"])]
    assert output.get_string_custom_property("fingerprint") == "0123456789abcdef"
    assert output.get_string_custom_property("summary") == (
        "1,234 items x 8, 5,678 users with histories, fingerprint 0123456789ab"
    )


def test_how_an_approximate_index_did_is_said(towers: str, tmp_path: Path, saved: list[tuple]) -> None:
    output = run(towers, tmp_path, SETTINGS.model_copy(update={"index": IndexSettings(type="scann")}))
    assert output.get_string_custom_property("summary").endswith(
        "; scann: recall@10 0.970 on 200 queries, p50 1.2 ms (exact 9.0 ms)"
    )
    assert output.get_float_custom_property("index_recall") == 0.97
    assert output.get_float_custom_property("index_latency_ms") == 1.25


@pytest.mark.parametrize("missing", ["towers", "events"])
def test_where_nothing_is_to_be_shipped_there_is_no_servable(missing: str, saved: list[tuple], tmp_path: Path) -> None:
    """Events are missing too where a reindex, which has the towers of before, is not blessed."""
    (tmp_path / "towers" / "Format-Serving").mkdir(parents=True)
    if missing == "events":
        (tmp_path / "towers" / "Format-Serving" / "saved_model.pb").touch()
    inputs = {"towers": standard_artifacts.Model(), "catalogue": standard_artifacts.Examples()}
    inputs["interactions"] = standard_artifacts.Examples()
    for name, artifact in inputs.items():
        artifact.uri = str(tmp_path / name)
    output = standard_artifacts.Model()
    properties = {"settings": SETTINGS.model_dump_json(), "model_name": "m", "filter_types": "{}"}
    Executor().Do({name: [artifact] for name, artifact in inputs.items()}, {"model": [output]}, properties)
    assert saved == []
    assert output.get_string_custom_property("summary") == NOT_SHIPPED
