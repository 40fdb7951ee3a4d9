"""The Trainer's `run_fn` on a small log in which every item has its follower."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tensorflow as tf

from components.errors import InputError
from pipeline.model import trainer
from tests.pipeline.model.small_log import ITEMS, fn_args, rank

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def test_training_learns_the_follower(trained: Path) -> None:
    towers = tf.saved_model.load(str(trained / "model"))
    ids, scores = rank(towers, [[ITEMS[n]] for n in range(6)])
    best = [ids[row] for row in scores.argmax(axis=1)]
    assert best == [ITEMS[(n + 1) % 6] for n in range(6)]


def test_no_checkpoint_is_left_behind(trained: Path) -> None:
    assert not list((trained / "checkpoints").glob("*"))


def test_a_diverged_training_says_so(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training diverged: .* lower training.learning_rate \(now 1e\+38\)"):
        trainer.run_fn(fn_args(workspace, tmp_path, learning_rate=1e38))
    assert not (tmp_path / "model").exists()


def test_report_tells_the_epochs(trained: Path) -> None:
    report = json.loads((trained / "run" / "training.json").read_text())
    assert "248 events, 6 items" in report["summary"]
    assert [epoch["epoch"] for epoch in report["epochs"]] == list(range(1, len(report["epochs"]) + 1))
    assert all(0 <= epoch["ndcg@10"] <= 1 for epoch in report["epochs"])
