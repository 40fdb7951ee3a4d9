"""The versions of a model in an object store, through Beam's file systems: gs://, and s3:// where boto3 is installed.

An object store has no rename, so a version can't appear at once. Its `saved_model.pb` is written last: without it a
server that looks too early can't load the version and tries again, and this module, like `components.versions`, sees
none. There are no locks either: what is pushed by one run at a time is safe, promotion and `serving.retain` are not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from components import versions
from components.errors import InputError
from components.versions import RELEASE, next_number
from serving import contract


@dataclasses.dataclass(frozen=True)
class Version:
    """One version of a model in an object store, as `components.versions.Version` is one on disk."""

    number: int
    path: str
    """The URI of its folder."""
    fingerprint: str


def is_uri(base_path: str) -> bool:
    """Whether a base path is in an object store."""
    return "://" in base_path


def model_dir(base_path: str, model_name: str) -> str:
    """Returns the URI of the folder that holds the model's versions."""
    return f"{base_path.rstrip('/')}/{model_name}"


def newest(directory: str, other_than: str = "") -> Version | None:
    """Returns the newest version, or None without any.

    Args:
        directory: URI of `<base path>/<model>`.
        other_than: leaves out versions of this fingerprint; empty leaves out nothing.

    Raises:
        InputError: the store can't be read.
    """
    with _explained(directory):
        for number in sorted(_numbers(directory), reverse=True):
            path = f"{directory}/{number}"
            version = Version(number, path, _fingerprint(path))
            if not other_than or version.fingerprint != other_than:
                return version
    return None


def publish(source: str | os.PathLike[str], directory: str, about: Mapping[str, Any]) -> Version:
    """Makes a servable the newest version of a model; `saved_model.pb` comes last.

    Args:
        source: directory of a SavedModel.
        directory: URI of `<base path>/<model>`.
        about: what `components.versions.release` is to return.

    Raises:
        InputError: `source` is no SavedModel, or the store can't be written; what was written is deleted again.
    """
    source = Path(source)
    if not (source / contract.SAVED_MODEL).is_file():
        raise InputError(f"{source}: no SavedModel to publish ({contract.SAVED_MODEL} is missing)")
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    files.sort(key=lambda path: path == Path(contract.SAVED_MODEL))
    written: list[str] = []
    with _explained(directory):
        target = f"{directory}/{next_number(_numbers(directory))}"
        try:
            written.append(f"{target}/{RELEASE.as_posix()}")
            _write(written[-1], json.dumps(about, indent=2, ensure_ascii=False).encode())
            for file in files:
                written.append(f"{target}/{file.as_posix()}")
                with open(source / file, "rb") as content, _create(written[-1]) as copy:
                    shutil.copyfileobj(content, copy)
        except BaseException:
            with contextlib.suppress(BeamIOError, OSError):
                FileSystems.delete([path for path in reversed(written) if FileSystems.exists(path)])
            raise
        return Version(int(target.rpartition("/")[2]), target, _fingerprint(target))


def download(version: Version, target: str | os.PathLike[str]) -> None:
    """Copies a version to a directory here.

    Raises:
        InputError: it can't be read, for instance because it was removed.
    """
    with _explained(version.path):
        found = [file.path for file in FileSystems.match([f"{version.path}/**"])[0].metadata_list]
        if not any(path == f"{version.path}/{contract.SAVED_MODEL}" for path in found):
            raise InputError(f"{version.path}: this version was removed while it was read; run again")
        for path in found:
            if not path.endswith("/"):  # what some tools write for a folder
                copy = Path(target, path[len(version.path) + 1 :])
                copy.parent.mkdir(parents=True, exist_ok=True)
                with _open(path) as content, open(copy, "wb") as file:
                    shutil.copyfileobj(content, file)


def _numbers(directory: str) -> list[int]:
    """Numbers of the folders that hold a SavedModel."""
    found = FileSystems.match([f"{directory}/*/{contract.SAVED_MODEL}"])[0].metadata_list
    names = [file.path.split("/")[-2] for file in found]
    return [int(name) for name in names if name.isascii() and name.isdecimal()]


def _fingerprint(path: str) -> str:
    description = f"{path}/{contract.MANIFEST}"
    if not FileSystems.exists(description):
        return ""
    with _open(description) as file:
        content = file.read()
    return str(versions.parsed(content, description).get("fingerprint", ""))


def _open(path: str) -> Any:
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def _create(path: str) -> Any:
    return FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)


def _write(path: str, content: bytes) -> None:
    with _create(path) as file:
        file.write(content)


@contextlib.contextmanager
def _explained(place: str) -> Iterator[None]:
    """Turns what a store that can't be reached makes Beam raise into an InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except (BeamIOError, OSError, ValueError) as error:
        raise InputError(f"{place}: {error}; are the store's address and credentials right?") from error
