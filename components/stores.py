"""Files wherever they are: on disk, and through fsspec in object stores (s3://, gs:// and whatever else it knows).

Endpoint, region and credentials are found as the store's own tools find them: for s3:// in the environment
(`AWS_ENDPOINT_URL`, `AWS_PROFILE`, …), profiles and roles; for gs:// in `GOOGLE_APPLICATION_CREDENTIALS`, gcloud's
defaults and service accounts.

Beam's own file system of S3 needs options that it has in a pipeline alone, and tries for minutes again what a store
refuses for good; globs on disk are Beam's.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Union

import fsspec

from components.errors import InputError

_LIBRARIES = ("aiobotocore", "aiohttp", "botocore", "fsspec", "gcsfs", "google", "s3fs")
"""Their exceptions have no base class in common: what a store says may be any of them."""
_OF_BUCKETS = ("s3", "s3a", "gs", "gcs")
_BLOCK_BYTES = 4 << 20
"""What is fetched at once; s3fs's own 50 MiB are much for the head of a file."""


@dataclass(frozen=True)
class File:
    """A file that was found."""

    path: str
    size: int
    """In bytes."""
    changed: float
    """When, in seconds since 1970; 0 where the store doesn't tell."""


def is_uri(path: str) -> bool:
    """Whether a path is in an object store; `file://…` is not."""
    return "://" in path and not path.startswith("file:")


def plain(path: str) -> str:
    """Returns a path without what a URI of a file on disk begins with; others as they are.

    >>> plain("file:///log.csv"), plain("s3://shop/log.csv")
    ('/log.csv', 's3://shop/log.csv')
    """
    return re.sub(r"^file:(//(localhost)?)?(?=/)", "", path)


@contextlib.contextmanager
def opened(uri: str) -> Iterator[tuple[fsspec.AbstractFileSystem, str]]:
    """Lends the file system of a URI, and the path there.

    Listings are not cached, for others write too. What the store says while it is used becomes an error that names the
    URI.

    Raises:
        InputError: there is no such kind of store, its package is missing, or it can't be reached, read or written.
    """
    _check(uri)
    try:
        yield fsspec.url_to_fs(uri, use_listings_cache=False)
    except Exception as error:
        library = type(error).__module__.partition(".")[0]
        if isinstance(error, InputError) or not (
            isinstance(error, (ImportError, OSError, ValueError)) or library in _LIBRARIES
        ):
            raise
        reason = f"no such bucket or object ({error})" if isinstance(error, FileNotFoundError) else str(error)
        reason = " ".join(reason.split())
        raise InputError(f"{uri}: {reason}; are the store's address and credentials right?") from error


def _check(uri: str) -> None:
    """Raises an InputError for a URI that names no kind of store, or no bucket."""
    kind, _, path = uri.partition("://")
    kind = kind.rpartition("::")[2]
    if kind not in fsspec.available_protocols():
        known = {"s3n": "s3"}.get(kind.lower(), kind.lower())
        mend = f"write {known}://{path}" if known in fsspec.available_protocols() else "such as s3:// and gs:// are"
        raise InputError(f"{uri}: {kind}:// is no kind of store that is known: {mend}")
    bucket = path.partition("/")[0]
    if kind in _OF_BUCKETS and (not bucket or set(bucket) & set("*?[")):
        raise InputError(f"{uri}: it must name its bucket, as {kind}://bucket/…, without wildcards")


def open_binary(path: str) -> Union[IO[bytes], fsspec.spec.AbstractBufferedFile]:
    """Opens a file to be read; its bytes are as they are stored.

    Raises:
        InputError: a store has no such file, or can't be read.
        OSError: nor can the disk.
    """
    if not is_uri(path):
        return open(path, "rb")
    with opened(path) as (store, name):
        return store.open(name, "rb", block_size=_BLOCK_BYTES)


@contextlib.contextmanager
def on_disk(path: str) -> Iterator[str]:
    """Lends a file as one on disk, for what reads no other.

    Raises:
        InputError: it is in a store and can't be read.
    """
    if not is_uri(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, os.path.basename(path))
        with opened(path), open_binary(path) as source, open(local, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 24)
        yield local


def matching(pattern: str) -> list[File]:
    """Returns the files that a glob matches, in no order.

    Raises:
        InputError: a store can't be listed.
        apache_beam.io.filesystem.BeamIOError: nor can the disk.
    """
    if not is_uri(pattern):
        from apache_beam.io.filesystems import FileSystems  # seconds

        found = FileSystems.match([pattern])[0].metadata_list
        return [File(file.path, file.size_in_bytes, file.last_updated_in_seconds) for file in found]
    with opened(pattern) as (store, name):
        return [
            File(store.unstrip_protocol(path), about["size"] or 0, _changed(about))
            for path, about in store.glob(name, detail=True).items()
            if about["type"] == "file"
        ]


def is_file(path: str) -> bool:
    """Whether there is such a file, its name taken as it is.

    Raises:
        InputError: a store can't be asked.
    """
    if not is_uri(path):
        return os.path.isfile(path)
    with opened(path) as (store, name):
        return bool(store.isfile(name))


def is_folder(path: str) -> bool:
    """Whether there is such a folder, which in an object store is the beginning of names.

    Raises:
        InputError: a store can't be asked.
    """
    if not is_uri(path):
        return os.path.isdir(path)
    with opened(path) as (store, name):
        return bool(store.isdir(name))


def state(path: str) -> tuple[Any, ...]:
    """What is another after a file was changed.

    Raises:
        InputError: a store has no such file, or can't be asked.
        OSError: nor can the disk.
    """
    if not is_uri(path):
        found = os.stat(path)
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
    with opened(path) as (store, name):
        return (store.ukey(name),)


def _changed(about: dict[str, Any]) -> float:
    """The time of a listing's entry, which s3fs, gcsfs and others name differently."""
    found = next((about[name] for name in ("LastModified", "mtime", "updated", "created") if about.get(name)), 0.0)
    if isinstance(found, str):
        found = datetime.datetime.fromisoformat(found.replace("Z", "+00:00"))
    return found.timestamp() if isinstance(found, datetime.datetime) else float(found)
