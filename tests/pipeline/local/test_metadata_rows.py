"""MLMD's tables without the rows of what is gone; the tables are those that the installed MLMD makes."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from pipeline.local.metadata_rows import delete_rows
from tests.pipeline.local.nights import Nights

pytestmark = [pytest.mark.slow, pytest.mark.smoke]  # all wait for the disk that SQLite flushes to


def test_a_run_goes_with_all_that_is_its_own_and_another_stays_whole(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    first, second = nights.night(1), nights.night(2)
    path = nights.root / "metadata.sqlite"
    before = path.stat().st_size
    # Of the second night's, an artifact alone: an execution that stays names it, so it stays too.
    assert delete_rows(path, range(1, 5), [*first.values(), second["Read"]])
    assert [found.id for found in nights.store.get_executions()] == [5, 6, 7, 8]
    assert {found.id for found in nights.store.get_artifacts()} == set(second.values())
    assert [found.name for found in nights.store.get_contexts_by_type("pipeline_run")] == ["2026-01-02"]
    assert len(nights.store.get_contexts_by_type("execution_cache")) == 4
    assert len(nights.store.get_contexts_by_type("node")) == 4
    assert len(nights.store.get_events_by_execution_ids([5, 6, 7, 8])) == 7
    assert path.stat().st_size < before - 20_000  # the settings of four executions
    # No row is left that speaks of what is gone, and a new execution gets no old id.
    with contextlib.closing(sqlite3.connect(path)) as database:
        for table, column, of in (
            ("Event", "execution_id", "Execution"),
            ("Event", "artifact_id", "Artifact"),
            ("EventPath", "event_id", "Event"),
            ("ExecutionProperty", "execution_id", "Execution"),
            ("ArtifactProperty", "artifact_id", "Artifact"),
            ("Association", "execution_id", "Execution"),
            ("Association", "context_id", "Context"),
            ("Attribution", "artifact_id", "Artifact"),
            ("Attribution", "context_id", "Context"),
        ):
            lost = f"SELECT count(*) FROM {table} WHERE {column} NOT IN (SELECT id FROM {of})"
            assert database.execute(lost).fetchone() == (0,), table
    assert min(nights.night(3).values()) > max(second.values())


def test_tables_of_another_release_are_left(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    nights.night(1)
    path = nights.root / "metadata.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE MLMDEnv SET schema_version = 11")
    assert not delete_rows(path, range(1, 5), ())
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM Execution").fetchone() == (4,)
