"""The versions of a model in an object store, through fsspec: s3://, gs://, and whatever else it has a package for.

Endpoint, region and credentials are found as the store's own tools find them: for s3:// in the environment
(`AWS_ENDPOINT_URL`, `AWS_PROFILE`, …), profiles and roles; for gs:// in `GOOGLE_APPLICATION_CREDENTIALS`, gcloud's
defaults and service accounts.

An object store has no rename, so a version can't appear at once. Its `saved_model.pb` is written last: without it a
server that looks too early can't load the version and tries again, and this module, like `components.versions`, sees
none. There are no locks either: what is pushed by one run at a time is safe, promotion and `serving.retain` are not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec

from components import versions
from components.errors import InputError
from components.progress import progress
from components.versions import RELEASE, next_number
from serving.contract import MANIFEST, SAVED_MODEL

_LIBRARIES = ("aiobotocore", "aiohttp", "botocore", "fsspec", "gcsfs", "google", "s3fs")
"""Their exceptions have no base class in common: what a store says may be any of them."""


@dataclasses.dataclass(frozen=True)
class Version:
    """One version of a model in an object store, as `components.versions.Version` is one on disk."""

    number: int
    path: str
    """The URI of its folder."""
    fingerprint: str


def is_uri(base_path: str) -> bool:
    """Whether a base path is in an object store; `file://…` is not, and refused by `components.versions`."""
    return "://" in base_path and not base_path.startswith("file:")


def model_dir(base_path: str, model_name: str) -> str:
    """Returns the URI of the folder that holds the model's versions."""
    return f"{base_path.rstrip('/')}/{model_name}"


@contextlib.contextmanager
def opened(uri: str) -> Iterator[tuple[fsspec.AbstractFileSystem, str]]:
    """Lends the file system of a URI, and the path there.

    Listings are not cached, for others write too. What the store says while it is used becomes an error that names the
    URI.

    Raises:
        InputError: there is no such kind of store, its package is missing, or it can't be reached, read or written.
    """
    try:
        yield fsspec.url_to_fs(uri, use_listings_cache=False)
    except Exception as error:
        library = type(error).__module__.partition(".")[0]
        if isinstance(error, InputError) or not (
            isinstance(error, (ImportError, OSError, ValueError)) or library in _LIBRARIES
        ):
            raise
        reason = f"no such bucket or object ({error})" if isinstance(error, FileNotFoundError) else error
        raise InputError(f"{uri}: {reason}; are the store's address and credentials right?") from error


def newest(directory: str, other_than: str = "") -> Version | None:
    """Returns the newest version, or None without any.

    Args:
        directory: URI of `<base path>/<model>`.
        other_than: leaves out versions of this fingerprint; empty leaves out nothing.

    Raises:
        InputError: the store can't be read.
    """
    with opened(directory) as (store, path):
        for number in sorted(_numbers(store, path), reverse=True):
            if store.exists(f"{path}/{number}/{SAVED_MODEL}"):
                version = Version(number, f"{directory}/{number}", _fingerprint(store, f"{path}/{number}"))
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
        InputError: `source` is no SavedModel or describes itself wrongly, or the store can't be written; what was
            written is deleted again.
    """
    source = Path(source)
    if not (source / SAVED_MODEL).is_file():
        raise InputError(f"{source}: no SavedModel to publish ({SAVED_MODEL} is missing)")
    fingerprint = versions.fingerprint(source)
    files = {path.relative_to(source) for path in source.rglob("*") if path.is_file()} - {RELEASE, Path(SAVED_MODEL)}
    with opened(directory) as (store, path):
        number = next_number(_numbers(store, path))
        written = [f"{path}/{number}/{RELEASE.as_posix()}"]
        try:
            store.pipe_file(written[0], json.dumps(about, indent=2, ensure_ascii=False).encode())
            for count, file in enumerate([*sorted(files), Path(SAVED_MODEL)], start=1):
                progress(f"publishing {file}, {count} of {len(files) + 1} files")
                written.append(f"{path}/{number}/{file.as_posix()}")
                store.put_file(str(source / file), written[-1])
        # Not for an interrupt: the upload goes on behind it, and might complete a version whose other files are gone.
        except Exception:
            for name in reversed(written):
                with contextlib.suppress(Exception):
                    store.rm_file(name)
            raise
    return Version(number, f"{directory}/{number}", fingerprint)


def download(version: Version, target: str | os.PathLike[str]) -> None:
    """Copies a version to a directory here.

    Raises:
        InputError: it can't be read, for instance because it was removed.
    """
    with opened(version.path) as (store, path):
        found = [name for name in store.find(path) if not name.endswith("/")]  # what some tools write for a folder
        if not any(name == f"{path}/{SAVED_MODEL}" for name in found):
            raise InputError(f"{version.path}: this version was removed while it was read; run again")
        for name in found:
            copy = Path(target, name[len(path) + 1 :])
            copy.parent.mkdir(parents=True, exist_ok=True)
            store.get_file(name, str(copy))


def _numbers(store: fsspec.AbstractFileSystem, path: str) -> list[int]:
    """Numbers of the folders there, whatever they hold."""
    try:
        found = store.ls(path, detail=False)
    except FileNotFoundError as error:
        if error.__cause__ is not None:  # S3 has said that there is no such bucket
            raise
        return []
    names = (name.rstrip("/").rpartition("/")[2] for name in found)
    return [int(name) for name in names if name.isascii() and name.isdecimal()]


def _fingerprint(store: fsspec.AbstractFileSystem, path: str) -> str:
    try:
        description = store.cat_file(f"{path}/{MANIFEST}")
    except FileNotFoundError:
        return ""
    return str(versions.parsed(description, f"{path}/{MANIFEST}").get("fingerprint", ""))
