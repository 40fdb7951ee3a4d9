"""What a version was made by, as it carries it, so that it can be made again."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from components.errors import InputError
from serving.stores import AnyPath, as_path

ORIGIN = Path("assets.extra", "origin.json")
"""In a version: `format`; `config`, but for sections that no model is another by; `code`, of each node its `modules`
and their `digest`; names of `parameters` that were given at run time instead of the config's; `reindexed`, whether the
model was there before; `files`, see `components.data_profile`; and `surroundings`."""
FORMAT = 1

_PACKAGES = (
    *("apache-beam", "ml-metadata", "numpy", "pandas", "protobuf", "pyarrow", "pydantic", "scann", "scipy"),
    *("tensorflow", "tensorflow-data-validation", "tensorflow-model-analysis", "tensorflow-recommenders"),
    *("tensorflow-transform", "tf-keras", "tfx", "tfx-bsl", "wordllama"),
)
"""Those that a model may turn out otherwise by."""


def origin(record: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    """Returns the text of a version's `ORIGIN`.

    Args:
        record: What was known when the DAG was made: `config`, `code`, `parameters`, `reindexed`.
        files: Which files were read.
    """
    return json.dumps(
        {"format": FORMAT, **record, "files": files, "surroundings": surroundings()}, indent=2, ensure_ascii=False
    )


def read_origin(version: str | AnyPath) -> dict[str, Any]:
    """Returns what a version says that it was made by; empty for one that doesn't.

    Raises:
        InputError: It is damaged, or of a newer version of this project.
    """
    path = as_path(version) / ORIGIN
    try:
        found = json.loads(path.read_text("utf-8"))
        written = int(found["format"])
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged: {error}") from error
    if written > FORMAT:
        raise InputError(f"{path}: of format {written}, and this program knows {FORMAT}: update it")
    return dict(found)


def surroundings() -> dict[str, Any]:
    """Returns what runs here: `python`, `packages` with their versions, and `machine` (`processor`, `cores`)."""
    return {
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "machine": {"processor": _processor(), "cores": str(os.cpu_count())},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:  # not on Linux
        lines = []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
