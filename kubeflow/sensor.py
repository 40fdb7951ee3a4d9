"""Tells new data from data that a run has already seen: by the newest partition of the log."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from itertools import groupby
from typing import Any, Union

from components.errors import InputError
from components.tables.reading import digest, match_files

_WILDCARD = re.compile(r"[*?\[]")


@dataclasses.dataclass(frozen=True)
class Partition:
    """The newest part of the log."""

    path: str
    digest: str
    """Of its path and content, 16 hexadecimal digits: a file that was only touched, or moved with its folder away and
    back, leaves it as it is."""


def newest_partition(pattern: str) -> Partition:
    """Finds the newest partition.

    A partition is what the first part of the path with a wildcard stands for: a file in `log/events-*.csv`, a folder
    in `log/dt=*/*.parquet`. The newest is the last in the order of the names, in which numbers count as such. Of the
    others nothing is read.

    A file that writers put there last, `log/dt=*/_SUCCESS`, keeps a half-written partition from being taken. Such a
    file, when it is empty, is told from an earlier one by its time.

    Args:
        pattern: A path or glob on disk or in an object store.

    Raises:
        InputError: Nothing matches, or a file can't be read.
    """
    try:
        files = match_files(pattern)
    except Exception as error:  # Beam wraps whatever the file system raised
        raise InputError(f"kubeflow.trigger.partitions: can't look up {pattern}: {error}") from error
    if not files:
        raise InputError(f"kubeflow.trigger.partitions: nothing matches {pattern}")
    depth = next((at for at, part in enumerate(pattern.split("/")) if _WILDCARD.search(part)), pattern.count("/"))

    def partition(file: Any) -> str:
        return "/".join(file.path.split("/")[: depth + 1])

    path, members = max(
        ((path, list(group)) for path, group in groupby(sorted(files, key=partition), key=partition)),
        key=lambda found: _order(found[0]),
    )
    members.sort(key=lambda file: file.path)
    state = [path, digest([file for file in members if file.size])]
    state += [f"{file.path} {file.changed}" for file in members if not file.size]
    return Partition(path, hashlib.blake2b("\n".join(state).encode(), digest_size=8).hexdigest())


def _order(path: str) -> list[Union[int, str]]:
    """A key that sorts numbers in a path as numbers: dt=2026-9-30 is before dt=2026-10-1."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path)]
