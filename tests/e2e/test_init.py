"""From somebody's CSV to a blessed model in two commands."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.pipeline.cli.command import in_own_process, recommender

TINY = {
    "RECOMMENDER_MODEL__DIM": "8",
    "RECOMMENDER_TRAINING__EPOCHS": "2",
    "RECOMMENDER_EVALUATION__BASELINES__NAMES": "[popularity]",
    "RECOMMENDER_EVALUATION__BOOTSTRAP_REPLICATES": "20",
    "RECOMMENDER_VALIDATION__NUM_REQUESTS": "1",
    "RECOMMENDER_VALIDATION__MAX_LATENCY_MS": "null",
}


def events() -> list[str]:
    """Each user walks along the items from a place of their own, so that what comes next is known."""
    chance = random.Random(0)
    rows = ["Kunde;Artikel;Note;Zeitpunkt"]
    for user in range(60):
        place, day = chance.randrange(40), chance.randrange(28)
        rows += [
            f"K{user};Ware {(place + step) % 40};4,5;{1 + day:02d}.03.2024 {8 + step // 60:02d}:{step % 60:02d}"
            for step in range(12)
        ]
    return rows


@pytest.mark.slow
def test_a_config_that_nobody_has_touched_ends_in_a_blessed_model(tmp_path: Path) -> None:
    (tmp_path / "Käufe.csv").write_bytes("\n".join(events()).encode("utf-16"))
    made = recommender("init", "Käufe.csv", "-o", "laden.yaml", cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    assert "laden.yaml is written: recommender run --config laden.yaml" in made.stdout
    ran = in_own_process("run", "--config", "laden.yaml", cwd=tmp_path, environ=TINY)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "is published" in ran.stdout
    assert len(list((tmp_path / "output" / "models" / "laden").iterdir())) == 1
