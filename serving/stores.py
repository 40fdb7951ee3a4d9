"""Object stores, s3:// and gs://, for what lies under a base path: paths, writes on a condition, leases, copies.

A store has neither rename nor locks, but an object appears at once, and is written on the condition that it is still
what it was: by S3's If-Match, by Google's generations. fsspec's libraries do all but that. Endpoint, region and
credentials are found as the store's own tools find them.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fnmatch
import io
import json
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, NamedTuple, Optional, Union

LEASE_SECONDS = 30.0
"""After so long without a sign of life the holder of a lease counts as dead."""
_RENEWED = 0.2
_TRUSTED = 0.67
"""Parts of a lease: after how much of it its holder renews it, and takes it for lost."""
_POLL_SECONDS = 0.5
_NOBODY = b"{}"
"""What a lease's object says when nobody holds it."""
_KINDS = ("s3://", "gs://")
_LIBRARIES = ("aiobotocore", "aiohttp", "botocore", "fsspec", "gcsfs", "google", "requests", "s3fs")
"""Their exceptions have no base class in common: what a store says may be any of them."""
_OF_DISKS = (errno.ENOSPC, errno.EDQUOT)
"""What a disk here says while something is copied to it, and no store does."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""It goes on while the machine sleeps, where the system has such a clock: others have had a lock meanwhile."""
_REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "409", "412")


class StoreError(OSError):
    """A store says no, or can't be reached."""

    def __init__(self, uri: str, reason: str):
        super().__init__(errno.EIO, reason)
        self.uri = uri

    def __str__(self) -> str:
        return f"{self.uri}: {self.strerror}"


class Changed(StoreError):
    """An object is no longer what it was."""

    def __init__(self, path: ObjectPath):
        super().__init__(path.uri, "it was changed by somebody else meanwhile")


class Held(Exception):
    """Somebody else holds a lock."""

    def __init__(self, holder: Mapping[str, Any]):
        super().__init__(f"held by {dict(holder)}")
        self.holder = holder
        """What the holder says of itself; empty if it has said nothing yet."""


class Info(NamedTuple):
    """What a store says of an object."""

    size: int
    """In bytes."""
    changed: float
    """When, in seconds since 1970."""
    tag: str
    """Another one after each change of its content."""


@contextlib.contextmanager
def opened(uri: str) -> Iterator[tuple[Any, str]]:
    """Lends the fsspec file system of a URI, and the path there. Listings are not cached, for others write too.

    Raises:
        StoreError: the store says no, or can't be reached, while it is used; or there is no such kind of store, or its
            package is missing. What isn't there is a FileNotFoundError.
    """
    for mark in ("::", "?versionId="):  # fsspec's ways to write one store inside another, and an older object
        if mark in uri:
            raise StoreError(uri, f"a name in a store has no {mark!r}")
    try:
        import fsspec

        yield fsspec.url_to_fs(uri, use_listings_cache=False)
    except (StoreError, FileNotFoundError):
        raise
    except Exception as error:
        library = type(error).__module__.partition(".")[0]
        if not (isinstance(error, (ImportError, OSError, ValueError)) or library in _LIBRARIES):
            raise
        if isinstance(error, OSError) and error.errno in _OF_DISKS:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreError(uri, f"{reason}; are the store's address and credentials right?") from error


@dataclass(frozen=True, order=True)
class ObjectPath:
    """A path in an object store, with as much of `pathlib.Path` as is asked of one under a base path.

    >>> ObjectPath("s3://shop/models/") / "films" / "7"
    ObjectPath(uri='s3://shop/models/films/7')

    All methods that ask the store raise `StoreError`.
    """

    uri: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "uri", self.uri.rstrip("/"))

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: Union[str, PurePath]) -> ObjectPath:
        return ObjectPath(f"{self.uri}/{name.as_posix() if isinstance(name, PurePath) else name}")

    @property
    def name(self) -> str:
        """What stands behind the last slash."""
        return self.uri.rpartition("/")[2]

    @property
    def parent(self) -> ObjectPath:
        """All before it."""
        return ObjectPath(self.uri.rpartition("/")[0])

    def with_name(self, name: str) -> ObjectPath:
        """Another one beside it."""
        return self.parent / name

    def absolute(self) -> ObjectPath:
        """Itself."""
        return self

    def files(self) -> dict[str, Info]:
        """All objects below, by what their names go on with."""
        with opened(self.uri) as (store, path):
            try:
                found = store.find(path, detail=True)
            except FileNotFoundError as error:
                raise StoreError(self.uri, f"no such bucket ({error}); is the store's address right?") from error
            return {
                name[len(path) + 1 :]: _info(about)
                for name, about in sorted(found.items())
                # Some tools write objects for folders, and some stores say themselves that these are folders.
                if name.startswith(f"{path}/") and not name.endswith("/") and about["type"] != "directory"
            }

    def info(self) -> Optional[Info]:
        """What the store says of the object; None where there is none."""
        with opened(self.uri) as (store, path), contextlib.suppress(FileNotFoundError):
            about = store.info(path)
            return _info(about) if about["type"] == "file" else None
        return None

    def is_file(self) -> bool:
        """Whether there is such an object."""
        return self.info() is not None

    def is_dir(self) -> bool:
        """Whether there are objects whose names go on from here."""
        with opened(self.uri) as (store, path):
            return bool(store.isdir(path))

    def exists(self) -> bool:
        """Whether there is either; a bucket that isn't there is an error."""
        return self.is_file() or self.is_dir() or bool(self.files())  # the last one knows buckets from empty folders

    def iterdir(self) -> Iterator[ObjectPath]:
        """What lies in the folder; nothing where there is none."""
        yield from (self / name for name in sorted({name.partition("/")[0] for name in self.files()}))

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """What lies in the folder under a name that fits; the pattern has no slash."""
        yield from (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    def read_bytes(self) -> bytes:
        """The object's content; FileNotFoundError where there is none."""
        with opened(self.uri) as (store, path), self._named():
            return bytes(store.cat_file(path))

    def read_text(self, encoding: str = "utf-8") -> str:
        """The object's content as text."""
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "r", encoding: str = "utf-8") -> Any:
        """Opens the object to be read, as text or, by "rb", as bytes; FileNotFoundError where there is none."""
        with opened(self.uri) as (store, path), self._named():
            file = store.open(path, "rb", block_size=1 << 22)
        return file if "b" in mode else io.TextIOWrapper(file, encoding)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Makes errors name this path as others do."""
        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "no such object", self.uri) from None

    def write_bytes(self, content: bytes) -> None:
        """Replaces the object, whatever it was."""
        with opened(self.uri) as (store, path):
            store.pipe_file(path, content)

    def unlink(self, missing_ok: bool = True) -> None:
        """Deletes the object."""
        with opened(self.uri) as (store, path), contextlib.suppress(*[FileNotFoundError] * missing_ok):
            store.rm_file(path)


AnyPath = Union[Path, ObjectPath]


def is_object(path: object) -> bool:
    """Whether a path, or its text, is in a store."""
    return isinstance(path, ObjectPath) or str(path).startswith(_KINDS)


def as_path(path: Any) -> AnyPath:
    """A path on disk or in a store, of its text or of itself."""
    if isinstance(path, ObjectPath):
        return path
    return ObjectPath(path) if isinstance(path, str) and path.startswith(_KINDS) else Path(path)


def _info(about: Mapping[str, Any]) -> Info:
    """Of a listing's entry, in which S3's and Google's libraries name things differently."""
    changed = about.get("LastModified") or about.get("mtime") or about.get("updated") or 0.0
    if isinstance(changed, str):
        changed = datetime.datetime.fromisoformat(changed.replace("Z", "+00:00"))
    seconds = changed.timestamp() if isinstance(changed, datetime.datetime) else float(changed)
    return Info(int(about.get("size") or 0), seconds, str(about.get("generation") or about.get("ETag") or ""))


# ---------------------------------------------------------------- copies


def download(source: ObjectPath, target: Path) -> None:
    """Copies all objects below `source` into a folder, which is made."""
    target.mkdir(parents=True, exist_ok=True)
    with opened(source.uri) as (store, path):
        for name in source.files():
            copy = target / name
            if name.startswith("/") or ".." in PurePosixPath(name).parts:
                raise StoreError(f"{source.uri}/{name}", "this is no name for a file: remove the object")
            try:
                copy.parent.mkdir(parents=True, exist_ok=True)
                store.get_file(f"{path}/{name}", str(copy))
            except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
                reason = "an object can't be a file and a folder: remove one of them"
                raise StoreError(f"{source.uri}/{name}", reason) from error
            except FileNotFoundError as error:
                raise StoreError(source.uri, "it was removed while it was read; run again") from error


@contextlib.contextmanager
def on_disk(path: AnyPath) -> Iterator[Path]:
    """Lends a folder as one on disk, its name and its folder's kept; a copy of one in a store goes at the end."""
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.parent.name, path.name)
        download(path, copy)
        yield copy


def remove(folder: ObjectPath, first: str) -> None:
    """Deletes all objects below, beginning with the one without which the others count for nothing."""
    (folder / first).unlink()
    for name in folder.files():
        (folder / name).unlink()


# ---------------------------------------------------------------- writes on a condition


def put(path: ObjectPath, content: bytes, tag: str) -> str:
    """Writes an object if it is still what it was; returns its new tag.

    Args:
        path: the object.
        content: what it is to be.
        tag: what it was, as `Info.tag` says; empty if there was none.

    Raises:
        Changed: it is another one by now.
    """
    try:
        return _put(path, content, tag)
    except Changed:
        # A library asks again when an answer is lost on its way; then it is what was written before.
        with contextlib.suppress(FileNotFoundError):
            info = path.info()
            if info is not None and path.read_bytes() == content:
                return info.tag
        raise


def _put(path: ObjectPath, content: bytes, tag: str) -> str:
    with opened(path.uri) as (store, name):
        bucket, _, key = name.partition("/")
        try:
            if path.uri.startswith("s3://"):
                condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
                return str(store.call_s3("put_object", Bucket=bucket, Key=key, Body=content, **condition)["ETag"])
            upload = store.base.replace("/storage/v1/", "/upload/storage/v1/")
            answer = store.call(
                *("POST", upload + "b/{}/o", bucket),
                **{"uploadType": "media", "name": key, "ifGenerationMatch": tag or "0"},
                data=content,
                json_out=True,
            )
            return str(answer["generation"])
        except OSError as error:
            said = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code", "")
            gone = isinstance(error, FileNotFoundError) and tag and said != "NoSuchBucket"
            if isinstance(error, FileExistsError) or said in _REFUSED or gone:
                raise Changed(path) from error
            if isinstance(error, FileNotFoundError):
                raise StoreError(path.uri, f"no such bucket ({error}); is the store's address right?") from error
            raise


def _seconds() -> float:
    return time.clock_gettime(_CLOCK)


class Lease:
    """A lock in a store, which its holder renews as long as it lives.

    Nobody compares clocks: who wants it takes it once it has looked at the same object for all of `LEASE_SECONDS`, by
    its own clock, and only a holder that says itself that it should be dead by now is looked at so long. A holder that
    could not renew it stops writing before that.

    Args:
        path: the lock's object, which stays, for to delete it would let two in.
        about: what others are told who want it meanwhile.
    """

    def __init__(self, path: ObjectPath, about: Mapping[str, Any]):
        self._path, self._about = path, about
        self._identity = uuid.uuid4().hex
        self._tag = ""
        self._renewed = self._renewals = 0.0
        self._lost = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._tags: dict[str, str] = {}

    def acquire(self, wait: float) -> None:
        """Takes the lock, see `leased`."""
        deadline = _seconds() + wait
        seen: Optional[str] = None
        since = 0.0
        while True:
            info = self._path.info()
            tag = info.tag if info else ""
            said = self._said() if info else {}
            now = _seconds()
            lives = said.get("until", 0.0) >= time.time() or seen not in (None, tag)
            if tag != seen:
                seen, since = tag, now
            if not said or now - since >= LEASE_SECONDS:
                with contextlib.suppress(Changed):  # somebody was faster
                    self._take(tag)
                    break
            elif lives and wait >= 0 and now >= deadline:
                raise Held(said["about"] if said else {})
            time.sleep(_POLL_SECONDS)
        self._thread.start()
        # All that is read from now on is at least as new.
        self._tags = {name: info.tag for name, info in self._path.parent.files().items() if "/" not in name}

    def _take(self, tag: str) -> None:
        self._tag = tag
        self._renew()
        if not tag:  # the first one ever: is it really on the condition that there is none?
            with contextlib.suppress(Changed):
                _put(self._path, _NOBODY, "")
                self._path.unlink()
                raise StoreError(
                    self._path.uri,
                    "this store takes no notice of If-None-Match and If-Match, so that nothing keeps two writers apart:"
                    " use one that does, or a mounted folder",
                )

    def _said(self) -> dict[str, Any]:
        """What a holder has written; nothing where there is none, or it is damaged."""
        with contextlib.suppress(ValueError, RecursionError, FileNotFoundError):
            found = json.loads(self._path.read_bytes())
            if isinstance(found, dict) and isinstance(found.get("until"), (int, float)) and isfinite(found["until"]):
                return {"about": {}, **found} if isinstance(found.get("about", {}), dict) else {}
        return {}

    def _renew(self) -> None:
        started = _seconds()
        self._renewals += 1  # S3's tags are digests: another content, another tag
        content = {
            "about": dict(self._about),
            "until": time.time() + LEASE_SECONDS,
            "renewed": self._renewals,
            "identity": self._identity,
        }
        self._tag = put(self._path, json.dumps(content).encode(), self._tag)
        self._renewed = started

    def _keep(self) -> None:
        while not self._end.wait(LEASE_SECONDS * _RENEWED):
            try:
                self._renew()
            except Changed:
                self._lost = True
                return
            except OSError:  # perhaps the next time
                pass

    def check(self) -> None:
        """Makes sure that the lock is still held.

        Raises:
            StoreError: perhaps it isn't.
        """
        if self._lost or _seconds() - self._renewed > LEASE_SECONDS * _TRUSTED:
            raise StoreError(
                self._path.uri, "this lock could not be renewed in time, so that another process may be at work"
            )

    def write(self, path: ObjectPath, content: Optional[bytes]) -> str:
        """Replaces an object, or deletes it by None, if it is what it was when the lock was taken, or last written;
        returns its new tag, empty for one that is gone.

        Raises:
            Changed: it isn't; another process is at work.
            StoreError: perhaps another one is.
        """
        self.check()
        name = path.uri[len(self._path.parent.uri) + 1 :]
        if "/" in name and name not in self._tags:
            info = path.info()
            self._tags[name] = info.tag if info else ""
        tag = self._tags.get(name, "")
        if content is not None:
            self._tags[name] = put(path, content, tag)
            return self._tags[name]
        info = path.info()
        if info is not None and info.tag != tag:
            raise Changed(path)
        path.unlink()
        self._tags[name] = ""
        return ""

    def release(self) -> None:
        """Gives the lock back; where that fails the others wait until it has run out."""
        self._end.set()
        self._thread.join()
        if not self._lost:
            with contextlib.suppress(OSError):
                put(self._path, _NOBODY, self._tag)


@contextlib.contextmanager
def leased(path: ObjectPath, about: Mapping[str, Any], wait: float = 0.0) -> Iterator[Lease]:
    """Holds a lock in a store.

    Args:
        path: its object; made if missing.
        about: what others are told who want it meanwhile, as JSON.
        wait: seconds to wait for it; as long as it takes if negative.

    Raises:
        Held: somebody else has it.
        StoreError: the store can't be written, or writes on no condition.
    """
    lease = Lease(path, about)
    lease.acquire(wait)
    try:
        yield lease
    finally:
        lease.release()
