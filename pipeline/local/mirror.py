"""A folder of artifacts, metadata and logs in an object store, and the folder of this machine that mirrors it.

The metadata are one object, which is written last and on the condition that it is what it was: it is what makes
artifacts exist, so that a kill at any request leaves the state before or the state after. In the store they name
artifacts where the store has them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from components.progress import progress
from pipeline.local import metadata_file
from serving.files import replacing, write_atomically
from serving.stores import Info, Lease, ObjectPath, StoreError, opened

METADATA = "metadata.sqlite"
_STATE = ".mirror.json"
_ARTIFACTS = "artifacts"
_WHILE_AT_WORK = ("checkpoints", "tuning")
_MIRRORED = re.compile(rf"({_ARTIFACTS}|{'|'.join(_WHILE_AT_WORK)}|feedback|logs)/.+|nights\.jsonl|[^/.][^/]*\.html")
_NOT_MIRRORED = re.compile(r"(^|/)(\.\.|\.system)/|(^|/)\.[^/]*\.new$|-journal$")
"""TFX's scratch, and files that are being written."""
_LOOK_SECONDS = 2.0
_CONNECTIONS = 8


class Mirror:
    """A folder here, and the one in a store that is to be the same.

    A file in the folder notes of each object what it was when the two were last the same. An object that is another one
    since is fetched; a file that is another one since, and whose object is not, is put.

    Args:
        place: The one in the store.
        folder: The one here.
        lease: Of the lock of the one in the store; without it nothing is written there.
    """

    def __init__(self, place: ObjectPath, folder: Path, lease: Lease | None = None):
        self._place, self._folder, self._lease = place, folder, lease
        self._one = threading.Lock()
        try:
            noted = json.loads((folder / _STATE).read_text("utf-8"))
            self._was_at, self._state = (
                str(noted["folder"]),
                {str(name): [*at] for name, at in noted["objects"].items()},
            )
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            self._was_at, self._state = str(folder), {}

    def fetch(self, only: Collection[str] = ()) -> None:
        """Makes the folder what the store has. What was done here and not put yet stays, unless somebody else has gone
        on in the store meanwhile.

        Args:
            only: Files and folders, nothing of artifacts; by default all.
        """
        self._follow()
        tag = None if only else self._fetch_metadata()
        try:
            known = {} if only else self._artifacts()
            there = self._place.files()
            wanted = {}
            for name, info in there.items():
                if not _is_mirrored(name) or (only and name.partition("/")[0] not in only):
                    continue
                artifact = _artifact_of(name, known)
                if name.startswith(f"{_ARTIFACTS}/") and not known.get(artifact):
                    if artifact or name in self._state:
                        self._state[name] = [info.tag, -1, -1]  # is to go, with the metadata that don't know it
                    elif self._lease is not None:  # of a node that was killed: another one will have its name
                        (self._place / name).unlink()
                elif self._is_other(name, info, tag is not None):
                    wanted[name] = info
            size = sum(info.size for info in wanted.values())
            if wanted:
                progress(f"fetching {len(wanted):,} files, {size / 1e6:,.1f} MB, from {self._place}")
            self._each(lambda store, path, name: self._fetch_file(store, path, name, wanted[name]), wanted)
            if not only:
                self._remove_others(there, known, tag is not None)
            if tag:
                self._state[METADATA] = [tag, *_stat(self._folder / METADATA)]
        finally:
            self._write_state()

    def put(self) -> None:
        """Makes the store what the folder is: new files first, then the metadata, and what is gone goes last."""
        with self._one:
            here = self._files(self._artifacts())
            self._put_files(here)
            self._put_metadata()
            assert self._lease is not None
            self._lease.check()
            gone = self._state.keys() - here.keys() - {METADATA}
            self._each(self._delete_object, gone)
            for name in gone:
                del self._state[name]
            self._write_state()

    def put_some(self, trees: Iterable[str] = _WHILE_AT_WORK) -> None:
        """Puts what has changed in files and folders, nothing of artifacts, as a training or a search is at work."""
        with self._one:
            self._put_files(self._stats(path for tree in trees for path in _below(self._folder / tree)))
            self._write_state()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Puts checkpoints and searches as they are written, while the block runs."""
        end = threading.Event()

        def watch() -> None:
            while not end.wait(_LOOK_SECONDS):
                # Of what is replaced at that moment; `put` says what is wrong.
                with contextlib.suppress(OSError, sqlite3.Error):
                    self.put_some()

        thread = threading.Thread(target=watch, name="mirror", daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()

    # ------------------------------------------------------------ what is here

    def _follow(self) -> None:
        """Lets the metadata name artifacts where they lie now if the folder was moved, be it by another mount point."""
        path = self._folder / METADATA
        if self._was_at == str(self._folder):
            return
        if path.exists():
            same = self._state.get(METADATA, [""])[1:] == _stat(path)
            metadata_file.rename(path, f"{self._was_at}/{_ARTIFACTS}/", f"{self._folder}/{_ARTIFACTS}/")
            if same:
                self._state[METADATA][1:] = _stat(path)
        self._was_at = str(self._folder)
        self._write_state()

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _files(self, artifacts: Mapping[str, bool]) -> dict[str, list[int]]:
        """Size and time of the files that the store is to have, by name."""
        found = [path for name, lives in artifacts.items() if lives for path in _below(self._folder / name)]
        for path in self._folder.iterdir():
            if path.name != _ARTIFACTS:
                found += _below(path)
        return self._stats(found)

    def _stats(self, paths: Iterable[Path]) -> dict[str, list[int]]:
        return {name: _stat(path) for path in paths if _is_mirrored(name := self._name(path))}

    def _artifacts(self) -> dict[str, bool]:
        """The artifacts that the metadata know below the folder, and whether they stay."""
        prefix = f"{self._folder}/"
        found = metadata_file.artifacts(self._folder / METADATA)
        return {
            uri[len(prefix) :].rstrip("/"): stays
            for uri, stays in found.items()
            if uri.startswith(f"{prefix}{_ARTIFACTS}/")
        }

    def _is_other(self, name: str, info: Info, replaced: bool) -> bool:
        """Whether an object must be fetched; `replaced` is whether the metadata are others now."""
        path, (tag, *was) = self._folder / name, self._state.get(name, [""])
        if not path.exists() or tag != info.tag:
            return True
        return replaced and name.startswith(f"{_ARTIFACTS}/") and was != _stat(path)

    # ------------------------------------------------------------ from the store

    def _fetch_metadata(self) -> str | None:
        """Replaces the metadata here if the store has others; returns their tag, empty if it has none any more, or None
        if they stay."""
        here, there = self._folder / METADATA, self._place / METADATA
        info, was = there.info(), self._state.get(METADATA)
        if info is None and was is None:  # a first run, perhaps one that was killed
            return None
        if info is not None and was is not None and was[0] == info.tag and here.exists():
            return None
        self._state.pop(METADATA, None)
        Path(f"{here}-journal").unlink(missing_ok=True)
        if info is None:
            here.unlink(missing_ok=True)
            return ""
        progress(f"fetching the metadata from {self._place}")
        with replacing(here, "wb") as file:
            file.write(there.read_bytes())
            file.flush()
            try:
                metadata_file.rename(Path(file.name), f"{self._place}/{_ARTIFACTS}/", f"{self._folder}/{_ARTIFACTS}/")
            except sqlite3.Error as error:
                reason = f"this is no SQLite file of ML Metadata ({error}): put back an older one, or remove the output"
                raise StoreError(str(there), reason) from error
        return info.tag

    def _fetch_file(self, store: Any, path: str, name: str, info: Info) -> None:
        target = self._folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # Not written to, but replaced: other artifacts may have the file by a second name.
            with replacing(target, "wb") as file:
                store.get_file(path, file.name)
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            reason = (
                f"one of a file and of a folder with the same name is too much, there or in {self._folder}: remove it"
            )
            raise StoreError(str(self._place / name), reason) from error
        except FileNotFoundError as error:
            raise StoreError(str(self._place / name), "it was removed while it was fetched; run again") from error
        os.utime(target, (info.changed, info.changed))
        self._state[name] = [info.tag, *_stat(target)]

    def _remove_others(self, there: Collection[str], artifacts: Mapping[str, bool], replaced: bool) -> None:
        """Removes files here that somebody has removed from the store, and artifacts that the metadata don't know."""
        for name in self._state.keys() - there - {METADATA}:
            (self._folder / name).unlink(missing_ok=True)
            del self._state[name]
        for path in self._folder.glob(f"{_ARTIFACTS}/*/*/*") if replaced else ():
            if path.parent.name != ".system" and not _is_part(self._name(path), artifacts):
                shutil.rmtree(path)
        for path in _below(self._folder / _ARTIFACTS) if replaced else ():
            if _is_mirrored(name := self._name(path)) and name not in there:
                path.unlink()
        for name, stays in artifacts.items():
            if stays and not (self._folder / name).exists():  # one without files has no folder in the store
                (self._folder / name).mkdir(parents=True)

    # ------------------------------------------------------------ to the store

    def _put_files(self, here: Mapping[str, list[int]]) -> None:
        """Puts files that are others than what the store has; all of them are there in the end."""
        assert self._lease is not None
        changed = {name: stat for name, stat in here.items() if self._state.get(name, [""])[1:] != stat}
        if not changed:
            return
        self._lease.check()
        self._each(self._put_file, changed)
        there = self._place.files()
        for name, stat in changed.items():
            if name not in there:
                raise StoreError(str(self._place / name), "what was written isn't there: another process is at work")
            self._state[name] = [there[name].tag, *stat]

    def _put_file(self, store: Any, path: str, name: str) -> None:
        assert self._lease is not None
        self._lease.check()  # before each, for whoever was suspended wakes up in between
        source = self._folder / name
        if source.suffix != ".sqlite":
            store.put_file(str(source), path)
            return
        with metadata_file.snapshot(source, self._folder) as copy:
            store.put_file(str(copy), path)

    def _delete_object(self, store: Any, path: str, _: str) -> None:
        assert self._lease is not None
        self._lease.check()
        with contextlib.suppress(FileNotFoundError):
            store.rm_file(path)

    def _put_metadata(self) -> None:
        path = self._folder / METADATA
        if not path.exists() or self._state.get(METADATA, [""])[1:] == (stat := _stat(path)):
            return
        assert self._lease is not None
        with metadata_file.snapshot(path, self._folder) as copy:
            metadata_file.rename(copy, f"{self._folder}/{_ARTIFACTS}/", f"{self._place}/{_ARTIFACTS}/")
            tag = self._lease.write(self._place / METADATA, copy.read_bytes())
        self._state[METADATA] = [tag, *stat]
        self._write_state()

    # ------------------------------------------------------------

    def _each(self, do: Callable[[Any, str, str], object], names: Collection[str]) -> None:
        """Does something for each name, several at a time, with the store's file system and the path there."""
        if not names:
            return
        # fsspec would make each thread a file system of its own, with new connections.
        with opened(str(self._place)) as (store, root), ThreadPoolExecutor(_CONNECTIONS) as pool:
            for _ in pool.map(lambda name: do(store, f"{root}/{name}", name), names):
                pass

    def _write_state(self) -> None:
        write_atomically(self._folder / _STATE, json.dumps({"folder": self._was_at, "objects": self._state}))


def _is_mirrored(name: str) -> bool:
    return bool(_MIRRORED.fullmatch(name)) and not _NOT_MIRRORED.search(name)


def _artifact_of(name: str, artifacts: Collection[str]) -> str:
    """The artifact that a file is of; empty if it is of none of these."""
    path = PurePosixPath(name)  # an artifact with a value is a file
    return next((str(place) for place in (path, *path.parents) if str(place) in artifacts), "")


def _is_part(name: str, artifacts: Iterable[str]) -> bool:
    """Whether a folder is an artifact, or has some."""
    return any(known == name or known.startswith(f"{name}/") for known in artifacts)


def _below(path: Path) -> list[Path]:
    """A file, or all files in a folder."""
    return [path] if path.is_file() else [found for found in path.rglob("*") if found.is_file()]


def _stat(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]
