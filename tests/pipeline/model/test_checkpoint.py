"""Checkpoints of a training."""

from __future__ import annotations

from pathlib import Path

from pipeline.model.checkpoint import Checkpoint


def test_a_checkpoint_that_is_cut_short_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "training.npz").write_bytes(b"PK\x03\x04 half of it")
    assert Checkpoint(str(tmp_path)).history == []
