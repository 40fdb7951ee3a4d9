"""The project as it was at the commit from which on servables, config keys and commands are kept."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

KEPT_FROM = "a4bbd63"
"""The last commit before version 0.2."""

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def old_checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all files of that commit."""
    if shutil.which("git") is None:
        pytest.skip("no git here, which has the old code")
    folder = tmp_path_factory.mktemp("old")
    archive = folder / "old.tar"
    done = subprocess.run(
        ["git", "-C", str(ROOT), "archive", f"--output={archive}", KEPT_FROM],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"the history does not reach back to {KEPT_FROM} here: {done.stderr.strip()}")
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "checkout")
    return folder / "checkout"
