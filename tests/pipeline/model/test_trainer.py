"""The Trainer's `run_fn` on a small log in which every item has its follower."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

from components.errors import InputError
from pipeline.model.job import Transformed
from pipeline.model.trainer import run_fn
from tests.pipeline.model.small_log import ITEMS, make_settings, rank

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def train(transformed: Transformed, output: Path, model: dict[str, Any] | None = None, **training: Any) -> Path:
    """Calls `run_fn` as TFX does."""
    settings = make_settings(model, **training).model_copy(update={"checkpoints": str(output / "checkpoints")})
    run_fn(
        SimpleNamespace(
            custom_config=settings.model_dump(mode="json"),
            transform_graph_path=transformed.transform_graph,
            examples=transformed.examples,
            catalogue=transformed.catalogue,
            catalogue_graph=transformed.catalogue_graph,
            model_run_dir=str(output / "run"),
            serving_model_dir=str(output / "model"),
        )
    )
    return output


@pytest.fixture(scope="module")
def trained(transformed: Transformed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(transformed, tmp_path_factory.mktemp("trained"))


def test_training_learns_the_follower(trained: Path) -> None:
    towers = tf.saved_model.load(str(trained / "model"))
    ids, scores = rank(towers, [[ITEMS[n]] for n in range(6)])
    best = [ids[row] for row in scores.argmax(axis=1)]
    assert best == [ITEMS[(n + 1) % 6] for n in range(6)]


def test_a_transformer_learns_the_follower_too(transformed: Transformed, tmp_path: Path) -> None:
    """Exported, it answers requests of any length, which are shorter or longer than what it learned from."""
    # Six items are too few for one table and a rate that falls.
    model = {"history": "transformer", "query_features": ["device", "age"], "user_id": True, "shared_item_table": False}
    trained = train(transformed, tmp_path, model, batch_sequences=2, epochs=10, patience=10, decay="none")
    towers = tf.saved_model.load(str(trained / "model"))
    none = {"user_id": tf.constant(["", ""]), "history": tf.fill([2, 0], ""), "context": tf.fill([2, 2], "")}
    assert towers.signatures["query"](**none)["embedding"].shape == (2, 8)
    for history in ([0], [0, 5], [0, 5, 4, 3, 2, 1, 0, 5, 4]):
        ids, scores = rank(towers, [[ITEMS[(n + place) % 6] for place in history] for n in range(6)])
        best = [ids[row] for row in scores.argmax(axis=1)]
        assert best == [ITEMS[(n + 1) % 6] for n in range(6)]


def test_no_checkpoint_is_left_behind(trained: Path) -> None:
    assert not list((trained / "checkpoints").glob("*"))


def test_report_tells_the_epochs_and_the_weights(trained: Path) -> None:
    report = json.loads((trained / "run" / "training.json").read_text())
    assert "248 events, 6 items" in report["summary"]
    assert [epoch["epoch"] for epoch in report["epochs"]] == list(range(1, len(report["epochs"]) + 1))
    assert all(0 <= epoch["ndcg@10"] <= 1 for epoch in report["epochs"])
    shapes = {layer["name"].rpartition("/")[0].rpartition("/")[2]: layer["shape"] for layer in report["layers"]}
    # Six items, padding and the unknown one, of eight numbers each.
    assert shapes["candidate_items"] == shapes["history_items"] == [8, 8]
    assert report["parameters"] == sum(layer["parameters"] for layer in report["layers"])


def test_a_diverged_training_says_so_and_leaves_no_model(transformed: Transformed, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training diverged: .* lower training.learning_rate \(now 1e\+38\)"):
        train(transformed, tmp_path, learning_rate=1e38)
    assert not (tmp_path / "model").exists()
