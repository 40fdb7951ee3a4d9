"""Whether there are new data: by the names, sizes and times of files, of which none has to be read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from components import stores
from components.tables.reading import find_files
from pipeline.config import Config
from pipeline.data.paths import completed, data_paths


class Found(NamedTuple):
    """What there is."""

    digest: str
    """Of which files there are, and of the config but for what is of nights alone."""
    files: int
    bytes: int


def find(config: Config) -> Found:
    """Looks which data files there are. One that was only touched counts as new, which costs a run from the cache.

    Raises:
        InputError: Some are missing.
    """
    found = hashlib.sha256(config.model_dump_json(exclude={"nightly"}).encode())
    files, size = 0, 0
    for what, pattern in _patterns(config):
        for file in find_files(pattern, "csv", what):  # whatever its format is
            found.update(f"{file.path}\0{stores.state(file.path)}\n".encode())
            files += 1
            size += file.size
    return Found(found.hexdigest()[:32], files, size)


def _patterns(config: Config) -> Iterator[tuple[str, str]]:
    paths = data_paths(config)
    named = {
        "interactions": paths.interactions,
        "users": paths.users,
        "catalogue": paths.catalogue,
        "evaluation data": paths.evaluation,
    }
    for name, feature in config.data.catalogue.matrices().items():
        for key in ("path", "ids"):
            named[f"features.{name}.{key}"] = completed(getattr(feature, key) or "", paths.dataset)
    if config.suppression().exists():  # whom to forget, the next model is to be without
        named["suppression"] = str(config.suppression())
    yield from ((what, pattern) for what, pattern in named.items() if pattern)
