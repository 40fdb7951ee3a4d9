"""Versions appear in an object store.

A store has no rename, so a version can't appear at once. All files are uploaded before any of them is to be seen there,
which both stores have a way for; then they appear one after the other, and `saved_model.pb` is the last: without it a
server that looks too early can't load the version and tries again, and all else here sees none.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Union

from components.locks import locked
from components.progress import progress
from serving.contract import SAVED_MODEL
from serving.stores import Lease, ObjectPath, StoreError, opened, remove

_PART_BYTES = 8 << 20
"""What is uploaded at once; S3 takes no less than 5 MiB."""

Contents = Mapping[str, Union[Path, str]]
"""Files here, or texts, by where they are to lie in a version; by the first one a folder is known as ours, the last one
is `saved_model.pb`."""


def publish(
    contents: Contents, directory: ObjectPath, lock: ObjectPath, next_number: Callable[[Iterable[int]], int]
) -> int:
    """Makes a new version of a model.

    Publishers take turns by a lease. What is under it there without a `saved_model.pb` was left by a killed one, and
    goes.

    Args:
        contents: what it is to be.
        directory: `<base path>/<model>`.
        lock: the lease's object.
        next_number: makes the version's number of those that are there.

    Returns:
        The version's number.

    Raises:
        StoreError: the store can't be written. Then there is no new version, or perhaps all of it, if the store went
            away in the very end.
    """
    with locked(lock, lambda holder: progress(f"waiting for another publisher: {holder}")) as lease:
        assert lease is not None
        number = next_number(_tidy(directory, next(iter(contents))))
        _upload(contents, directory / str(number), lease)
    return number


def _tidy(directory: ObjectPath, mark: str) -> list[int]:
    """Deletes what killed publishers left; returns the numbers that were there."""
    with opened(directory.uri) as (store, path):
        if directory.uri.startswith("s3://"):  # Google forgets uploads that nobody ends
            bucket, _, key = path.partition("/")
            found = store.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{key}/")
            for upload in found.get("Uploads", ()):
                store.call_s3("abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    files = directory.files()
    folders = {name.partition("/")[0] for name in files if "/" in name}
    numbers = sorted(int(name) for name in folders if name.isascii() and name.isdecimal())
    for number in numbers:
        if f"{number}/{SAVED_MODEL}" not in files and f"{number}/{mark}" in files:
            remove(directory / str(number), SAVED_MODEL)
    return numbers


def _upload(contents: Contents, folder: ObjectPath, lease: Lease) -> None:
    """Writes files, of which the last one comes when all others are there; if that fails, none."""
    uploads: dict[str, Any] = {}
    """Those of which nothing is seen yet."""
    try:
        with opened(folder.uri) as (store, path):
            for count, (name, content) in enumerate(contents.items(), start=1):
                progress(f"publishing {name}, {count} of {len(contents)} files")
                uploads[name] = upload = store.open(f"{path}/{name}", "wb", block_size=_PART_BYTES, autocommit=False)
                with io.BytesIO(content.encode()) if isinstance(content, str) else content.open("rb") as origin:
                    shutil.copyfileobj(origin, upload, _PART_BYTES)
                upload.close()
            sizes = {name: upload.tell() for name, upload in uploads.items()}
            for name in contents:
                if name == SAVED_MODEL:
                    there = {written: info.size for written, info in folder.files().items()}
                    if {**there, name: sizes[name]} != sizes:
                        raise StoreError(folder.uri, "what was written isn't there: another process is at work")
                lease.check()
                _commit(uploads[name], folder / name, sizes[name])
                del uploads[name]
    except Exception:  # not for an interrupt, behind which a request may go on
        _undo(uploads.values(), folder)
        raise


def _commit(upload: Any, path: ObjectPath, size: int) -> None:
    """Lets an upload be seen; once more, as when an answer was lost on its way, is refused."""
    try:
        upload.commit()
    except Exception:
        info = path.info()
        if info is None or info.size != size:
            raise


def _undo(uploads: Iterable[Any], folder: ObjectPath) -> None:
    """Ends the uploads and deletes what is seen of them, but not if `saved_model.pb` might still appear."""
    with contextlib.suppress(OSError), opened(folder.uri):
        for upload in uploads:
            upload.closed = True  # or it would be flushed when nobody needs it any more
            upload.discard()
        if not (folder / SAVED_MODEL).is_file():
            remove(folder, SAVED_MODEL)
