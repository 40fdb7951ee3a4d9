"""`recommender export`: a pushed version as one archive, ready to be unpacked into a model server's base path."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

from components.errors import InputError
from components.versions import check_writable, describe
from pipeline.config import Config
from pipeline.local.evaluate import find_model
from serving.files import replacing


def archive(config: Config, out: Path, version: str | None = None) -> int:
    """Writes a version to a gzip'd tar archive with the folder `<name>/<version>` in it, as in the base path.

    Args:
        config: Says where versions are pushed.
        out: The archive.
        version: As for `recommender evaluate`; a SavedModel whose folder is no number becomes version 1.

    Returns:
        The archive's size in bytes.

    Raises:
        InputError: There is no such version, or `out` can't be written.
    """
    path = find_model(config, version)
    if out.is_dir():
        raise InputError(f"--out {out}: is a directory; name a file in it")
    check_writable(out.parent)
    number = path.name if path.name.isdecimal() else "1"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        pack(path, f"{describe(path).get('model_name', config.name)}/{number}", out)
    except OSError as error:
        raise InputError(f"{out}: can't be written: {error.strerror}") from None
    return out.stat().st_size


def pack(directory: Path, name: str, out: Path) -> None:
    """Packs the files of a directory under the folder `name`; `out` appears whole or not at all.

    The same files give the same bytes on any machine: no times, owners or file modes of here are in it.
    """
    with (
        replacing(out, "wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for source in sorted(found for found in directory.rglob("*") if found.is_file()):
            entry = tarfile.TarInfo(f"{name}/{source.relative_to(directory).as_posix()}")
            entry.size = source.stat().st_size
            with open(source, "rb") as content:
                tar.addfile(entry, content)
