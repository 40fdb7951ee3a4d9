"""Files of one Examples artifact in another one, without a copy where that can be."""

from __future__ import annotations

import os

from tfx.dsl.io import fileio


def link_split(source: str, split: str, target: str, as_split: str, prefix: str = "") -> None:
    """Lays the files of a split into another artifact.

    On one file system they get a second name and take no room; elsewhere they are copied.

    Args:
        source: URI of the Examples; a split that they lack has no files.
        split: Its name.
        target: URI of the other Examples.
        as_split: What it is called there; what has files already gets more.
        prefix: What the files' names begin with there.
    """
    from_folder, to_folder = os.path.join(source, f"Split-{split}"), os.path.join(target, f"Split-{as_split}")
    if not fileio.exists(from_folder):
        return
    fileio.makedirs(to_folder)
    for name in fileio.listdir(from_folder):
        file, copy = os.path.join(from_folder, name), os.path.join(to_folder, prefix + name)
        try:
            os.link(file, copy)
        except OSError:  # another file system, or one of URIs
            fileio.copy(file, copy, overwrite=True)
