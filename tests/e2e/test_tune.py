"""`recommender tune` on the small world: after a run, interrupted, again, and what it finds taken by a run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Small
from tests.e2e.world import NODES, Ended, end_group, start

pytestmark = pytest.mark.slow

SPACE = "tuning.space={model.dim: {choices: [4, 16]}, training.learning_rate: {low: 0.01, high: 0.03, log: true}}"
QUICK = ("--config", "config.yaml", "--set", "training.epochs=3", "--set", SPACE)
UPSTREAM = NODES[: NODES.index("Trainer")]


def test_tune_takes_what_a_run_made_and_a_run_takes_what_tune_found(small: Small, cli: Callable[..., Ended]) -> None:
    tuned = cli(small.folder, "tune", *QUICK, "--set", "tuning.trials=2")
    assert tuned.code == 0, tuned.text
    # There is a version now that the data are held against.
    assert tuned.states() == {**dict.fromkeys(UPSTREAM, "cached"), "Guards": "done"}
    assert [f"trial {number} of 2" in tuned.stdout for number in (1, 2, 3)] == [True, True, False]
    assert "1 (as configured)" in tuned.stdout
    assert "optuna" not in tuned.text
    again = cli(small.folder, "tune", *QUICK, "--set", "tuning.trials=2")
    assert "2 trials are there from an earlier call" in again.stdout
    assert "trial 1 of 2" not in again.stdout
    best = small.root / "tuning" / "best.yaml"
    assert f"--overrides {best}" in again.stdout
    ran = cli(small.folder, "run", *QUICK[:4], "--overrides", str(best), "--only", "Trainer")
    assert ran.code == 0, ran.text
    assert ran.states() == {**dict.fromkeys(UPSTREAM, "cached"), "Trainer": "done"}


def test_interrupted_tune_says_so_and_goes_on(small: Small, cli: Callable[..., Ended]) -> None:
    process = start(small.folder, "tune", *QUICK, "--set", "tuning.trials=200")
    try:
        assert process.stdout is not None
        for text in process.stdout:
            if text.startswith("✓ trial 1 "):
                break
        time.sleep(0.5)  # so that it is in the midst of the next trial
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        stdout, stderr = process.communicate(timeout=300)
    finally:
        end_group(process)
    assert process.returncode == 1
    assert "interrupted; run it again to go on" in stdout
    assert "Traceback" not in stdout + stderr
    again = cli(small.folder, "tune", *QUICK, "--set", "tuning.trials=200", "--set", "tuning.timeout=0.1")
    assert again.code == 0, again.text
    assert "are there from an earlier call" in again.stdout


def test_tune_on_wrong_input_says_what_is_wrong(folder: Path, cli: Callable[..., Ended]) -> None:
    unknown = cli(folder, "tune", "--config", "config.yaml", "--set", "tuning.space={model.dims: {choices: [4]}}")
    assert unknown.code == 2
    assert "model.dims: unknown key; did you mean 'model.dim'?" in unknown.text
    (folder / "output" / "small" / "tuning").mkdir(parents=True)
    (folder / "output" / "small" / "tuning" / "studies.sqlite").write_text("not a database " * 100)
    damaged = cli(folder, "tune", "--config", "config.yaml")
    assert damaged.code == 2
    assert "studies.sqlite: the trials of earlier searches can't be read" in damaged.text
    (folder / "data" / "interactions.csv").unlink()
    (folder / "output" / "small" / "tuning" / "studies.sqlite").unlink()
    missing = cli(folder, "tune", "--config", "config.yaml")
    assert missing.code == 2
    assert "data/interactions.csv" in missing.text
