"""MLMD's SQLite file as a file: a copy of it, what it has of artifacts, and other names for where they lie."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

_BUSY_SECONDS = 60.0
_GOING = (3, 4)
"""MLMD's states of artifacts that are to be deleted, or are."""
_COLUMNS = (
    ("Artifact", "uri"),
    *((f"{kind}Property", "string_value") for kind in ("Artifact", "Execution", "Context")),
)
"""Where MLMD's tables have paths."""


@contextlib.contextmanager
def snapshot(database: Path, beside: Path) -> Iterator[Path]:
    """Lends a copy of any SQLite file as it is between two transactions.

    Args:
        database: The file.
        beside: A folder for the copy.
    """
    with tempfile.TemporaryDirectory(dir=beside) as folder:
        copy = Path(folder, database.name)
        with (
            contextlib.closing(sqlite3.connect(database, timeout=_BUSY_SECONDS)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        yield copy


def artifacts(database: Path) -> dict[str, bool]:
    """The URIs of all artifacts, and whether one stays that lies there; nothing where there is no file or table yet."""
    if not database.exists():
        return {}
    with contextlib.closing(sqlite3.connect(database, timeout=_BUSY_SECONDS)) as metadata:
        if not metadata.execute("SELECT 1 FROM sqlite_master WHERE name = 'Artifact'").fetchall():
            return {}
        rows = metadata.execute("SELECT uri, state FROM Artifact WHERE uri IS NOT NULL").fetchall()
    found: dict[str, bool] = {}
    for uri, state in rows:
        found[uri] = found.get(uri, False) or state not in _GOING
    return found


def rename(database: Path, old: str, new: str) -> None:
    """Replaces a part of paths wherever the metadata have one.

    Args:
        database: The file.
        old: The part, such as `/home/ann/shop/artifacts/`.
        new: What it is to be.
    """
    with contextlib.closing(sqlite3.connect(database)) as metadata, metadata:
        for table, column in _COLUMNS:
            metadata.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?) WHERE instr({column}, ?)",
                (old, new, old),
            )
