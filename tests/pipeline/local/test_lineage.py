"""What was made from what."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.local.lineage import read_lineage
from tests.pipeline.local.nights import Execution, Nights

pytestmark = [pytest.mark.slow, pytest.mark.smoke]  # all wait for the disk that SQLite flushes to


def test_upstream_goes_by_the_execution_that_made_an_artifact(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    first = nights.night(1)
    # The second night has its events and its model from the cache, and publishes the model again.
    nights.execution("2026-01-02", "Read", [], [first["Read"]], Execution.CACHED)
    nights.execution("2026-01-02", "Train", [first["Read"]], [first["Train"]], Execution.CACHED)
    pushed = nights.artifact("Push/out/2026-01-02", "PushedModel", {"version": str(nights.version(2)), "pushed": "1"})
    nights.execution("2026-01-02", "Push", [first["Train"]], [pushed])
    second = 7  # the seventh execution in all
    lineage = read_lineage(nights.store, "shop")
    assert lineage.pushers == {nights.version(1): 4, nights.version(2): second}
    # Statistics of the events are made from them, and are nothing that the model was made from.
    assert lineage.upstream([second]) == ({1, 3, second}, {first["Read"], first["Train"]})
    assert [(run.id, run.ended, len(run.executions)) for run in lineage.runs] == [
        ("2026-01-01", True, 4),
        ("2026-01-02", True, 3),
    ]


def test_others_pipelines_in_the_same_store_are_left_out(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    nights.night(1)
    lineage = read_lineage(nights.store, "another")
    assert (lineage.runs, lineage.artifacts, lineage.pushers) == ((), {}, {})


def test_a_run_that_was_stopped_has_not_ended(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    nights.night(1, until="Train")
    assert [run.ended for run in read_lineage(nights.store, "shop").runs] == [False]
