"""What is dear to make and never changed: made once for all workers of a run of the tests."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Callable

import pytest


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Returns the path that `make` filled, in this worker or in another one, which must leave it as it is.

    Args:
        tmp_path_factory: pytest's.
        name: a file name, the same for the same thing.
        make: makes a file or folder at the path that it is given.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / name).exists():
            make(folder / f"{name}.new")
            (folder / f"{name}.new").rename(folder / name)
    return folder / name
