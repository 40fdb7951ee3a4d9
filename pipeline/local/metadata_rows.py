"""Deletes rows of old runs from MLMD's SQLite file, for which MLMD itself has no call.

`ml_metadata` adds and changes, and deletes nothing: its own answer to old metadata is a state, `DELETED`. A copy of
what is left, by its public calls, would have other ids, and TFX's cache goes by the ids of artifacts: the night after
would run everything again. So the rows are deleted where they lie, in one transaction, and only in the schema that this
module knows, which is that of ml-metadata 1.14 to 1.21, as the file says. On a server (MySQL) the database is
somebody's who may have others in it, and backups: there the rows stay, some tens of kilobytes a night.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection
from pathlib import Path

SCHEMA = 10
"""The version of MLMD's tables that is known here."""

_BUSY_SECONDS = 60.0

_DELETE = """
DELETE FROM EventPath WHERE event_id IN (SELECT id FROM Event WHERE execution_id IN (SELECT id FROM gone_execution));
DELETE FROM Event WHERE execution_id IN (SELECT id FROM gone_execution);
DELETE FROM ExecutionProperty WHERE execution_id IN (SELECT id FROM gone_execution);
DELETE FROM Association WHERE execution_id IN (SELECT id FROM gone_execution);
DELETE FROM Execution WHERE id IN (SELECT id FROM gone_execution);
DELETE FROM gone_artifact WHERE id IN (SELECT artifact_id FROM Event);
DELETE FROM ArtifactProperty WHERE artifact_id IN (SELECT id FROM gone_artifact);
DELETE FROM Attribution WHERE artifact_id IN (SELECT id FROM gone_artifact);
DELETE FROM Artifact WHERE id IN (SELECT id FROM gone_artifact);
INSERT INTO gone_context SELECT id FROM Context WHERE type_id IN (
    SELECT id FROM Type WHERE type_kind = 2 AND name IN ('pipeline_run', 'execution_cache')
) AND id NOT IN (SELECT context_id FROM Association);
DELETE FROM Attribution WHERE context_id IN (SELECT id FROM gone_context);
DELETE FROM ContextProperty WHERE context_id IN (SELECT id FROM gone_context);
DELETE FROM ParentContext WHERE context_id IN (SELECT id FROM gone_context)
    OR parent_context_id IN (SELECT id FROM gone_context);
DELETE FROM Context WHERE id IN (SELECT id FROM gone_context)
"""
"""Runs and keys of the cache go with their last execution; artifacts that an execution still names stay."""


def delete_rows(path: Path, executions: Collection[int], artifacts: Collection[int]) -> bool:
    """Deletes executions and artifacts, all of them or none, and gives the room back to the disk.

    Args:
        path: MLMD's SQLite file.
        executions: Ids of executions.
        artifacts: Ids of artifacts; those that an execution which stays names are left.

    Returns:
        Whether this could be done: False for tables of another release of MLMD, which are left as they are.
    """
    with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as database:
        if database.execute("SELECT schema_version FROM MLMDEnv").fetchall() != [(SCHEMA,)]:
            return False
        for table, ids in (("gone_execution", executions), ("gone_artifact", artifacts), ("gone_context", ())):
            database.execute(f"CREATE TEMP TABLE {table} (id INTEGER PRIMARY KEY)")
            database.executemany(f"INSERT INTO {table} VALUES (?)", ((identity,) for identity in ids))
        database.execute("BEGIN IMMEDIATE")
        for statement in _DELETE.split(";"):
            database.execute(statement)
        database.execute("COMMIT")
        database.execute("VACUUM")
    return True
