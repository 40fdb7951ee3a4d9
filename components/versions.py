"""The versions of a model, `<base path>/<model>/<version>`: listed, compared, on disk published by rename.

The layout is TensorFlow Serving's. Whatever isn't a directory named by a number and holding a SavedModel is no version,
so a server that polls the directory and this module see the same. Where they lie in an object store, which has no
rename, `components.object_store` publishes them.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from components import object_store
from components.errors import InputError
from components.locks import locked
from components.progress import progress
from serving import contract
from serving.files import find_versions
from serving.stores import AnyPath, ObjectPath, StoreError, as_path, is_object

P = TypeVar("P", Path, ObjectPath)

RELEASE = Path("assets.extra", "release.json")
DATA_PROFILE = Path("assets.extra", "data_profile.json")
"""In a version: what the data that it was made from were like, see `components.guards.profile`."""
UNFINISHED = ".publish-"
"""What the name of a version begins with that isn't published yet, or never will be."""
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # with one slash too: all that is left of gs://bucket as a Path


@dataclasses.dataclass(frozen=True)
class Version:
    """One version of a model."""

    number: int
    """The directory's name."""
    path: AnyPath
    """The directory, which holds `saved_model.pb`."""
    fingerprint: str
    """What the Indexer says decides the answers; empty for a SavedModel that isn't the Indexer's."""


def model_dir(base_path: str | AnyPath, model_name: str) -> AnyPath:
    """Returns the directory that holds the model's versions.

    Raises:
        InputError: `base_path` is a URI of something else than s3:// and gs://, or `model_name` is not a plain
            directory name.
    """
    if _URI.match(str(base_path)) and not is_object(base_path):
        raise InputError(f"base path {base_path}: it must be a local or mounted directory, or lie in s3:// or gs://")
    if model_name in {"", ".", ".."} or "/" in model_name:
        raise InputError(f"model name {model_name!r}: must be a plain directory name")
    return as_path(base_path) / model_name


def describe(servable: str | AnyPath) -> dict[str, Any]:
    """Returns what the Indexer wrote about a servable (`assets.extra/recommender.json`); empty without that file.

    Raises:
        InputError: the file is damaged, or a newer version of this project made the servable.
    """
    path = as_path(servable) / contract.MANIFEST
    try:
        return parsed(path.read_bytes(), str(path))
    except FileNotFoundError:
        return {}


def parsed(description: bytes, where: str) -> dict[str, Any]:
    """Returns the content of an `assets.extra/recommender.json` that lies `where`.

    Raises:
        InputError: it is damaged, or of a newer version of this project.
    """
    try:
        return contract.parse_manifest(description, where)
    except contract.NewerFormat as error:
        raise InputError(str(error)) from None
    except ValueError as error:
        raise InputError(f"{error}; remove that version") from error


def release(version: str | AnyPath) -> dict[str, Any]:
    """Returns what the Pusher wrote about a version (`assets.extra/release.json`): where it comes from, how good it is.

    Empty for a version that came some other way. Keys: `time` (ISO 8601, UTC), `fingerprint`, `blessed`, `checks`
    (sentences), `metrics` (the Evaluator's, over all queries), `baselines` (theirs, by name), and `lineage`
    (`pipeline`, `run`, `config` and `code`, `data`, `accepted`: why data out of the limits were let through, `parent`:
    the version that served, `artifacts`: ids by name); and where the version was trained on more than was judged, as
    `judged` the fingerprint of the model whose figures these are.

    Raises:
        InputError: the file is damaged.
    """
    return _read(as_path(version) / RELEASE)


def newest_event(version: str | AnyPath) -> datetime.datetime | None:
    """Returns the time of the newest event that a version was made from, in UTC; None where that isn't told.

    Raises:
        InputError: the file that tells it is damaged.
    """
    last = (_read(as_path(version) / DATA_PROFILE).get("log") or {}).get("last")
    return None if last is None else datetime.datetime.fromtimestamp(last / 1e6, datetime.timezone.utc)


def fingerprint(servable: str | AnyPath) -> str:
    """Returns the fingerprint of a servable; empty where it has none."""
    return str(describe(servable).get("fingerprint", ""))


def fingerprints(version: Version) -> set[str]:
    """Returns the fingerprints by which a version is known: its own, and that of the model that was judged for it."""
    return {version.fingerprint, release(version.path).get("judged", "")} - {""}


def list_versions(directory: str | AnyPath) -> list[Version]:
    """Returns a model's versions, oldest first.

    Args:
        directory: `<base path>/<model>`; may be missing.

    Returns:
        The directories whose name is a number and that hold a SavedModel.
    """
    return [Version(number, path, fingerprint(path)) for number, path in find_versions(as_path(directory)).items()]


def newest(directory: str | AnyPath, other_than: str = "") -> Version | None:
    """Returns the newest version, or None without any.

    Args:
        directory: `<base path>/<model>`; may be missing.
        other_than: leaves out versions known by this fingerprint; empty leaves out nothing.
    """
    for number, path in reversed(find_versions(as_path(directory)).items()):
        version = Version(number, path, fingerprint(path))
        if not other_than or other_than not in fingerprints(version):
            return version
    return None


def check_writable(directory: str | AnyPath) -> None:
    """Makes sure, leaving nothing behind, that versions can be written under `directory`, which may not exist yet.

    Raises:
        InputError: they can't.
    """
    directory = as_path(directory)
    try:
        if isinstance(directory, ObjectPath):
            mark = directory.with_name(f".{uuid.uuid4().hex}")
            mark.write_bytes(b"")
            mark.unlink()
            return
    except OSError as error:
        raise InputError(f"{directory}: can't be written: {_reason(error)}") from error
    existing = directory.absolute()
    try:
        while not existing.exists():
            existing = existing.parent
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"{directory}: can't be written: {_reason(error)} ({existing})") from error


def publish(
    source: str | os.PathLike[str],
    directory: str | AnyPath,
    about: Mapping[str, Any] | None = None,
    beside: Mapping[Path, str] = MappingProxyType({}),
    number: int | None = None,
) -> Version:
    """Makes a servable the newest version of a model, at once or not at all; in a store see `components.object_store`.

    The files are copied to a hidden sibling, flushed to disk and then renamed. Publishers take turns by a lock beside
    the directory, which ends with its process, so whatever hidden sibling is there under the lock was left by a killed
    one.

    Args:
        source: directory of a SavedModel.
        directory: `<base path>/<model>`; made if missing.
        about: what `release` is to return.
        beside: texts to lay beside it, by their paths in the version.
        number: the version's, if it is to have that of another model's; none there has it.

    Returns:
        The new version, see `next_number`.

    Raises:
        InputError: `source` is no SavedModel or describes itself wrongly, or `directory` can't be written; nothing is
            left behind.
    """
    source, directory = Path(source), as_path(directory)
    if not (source / contract.SAVED_MODEL).is_file():
        raise InputError(f"{source}: no SavedModel to publish ({contract.SAVED_MODEL} is missing)")
    identity = fingerprint(source)
    texts = {**({} if about is None else {RELEASE: json.dumps(about, indent=2, ensure_ascii=False)}), **beside}
    if isinstance(directory, ObjectPath):
        return _publish_in_store(source, directory, texts, identity)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with locked(publish_lock(directory), lambda holder: progress(f"waiting for another publisher: {holder}")):
            for leftover in directory.glob(f"{UNFINISHED}*"):
                shutil.rmtree(leftover)
            unfinished = directory / f"{UNFINISHED}{uuid.uuid4().hex}"
            try:
                _copy(source, unfinished)
                for name, text in texts.items():
                    _write(unfinished / name, text)
                if number is None:
                    number = next_number(there for there, _ in _numbered(directory))
                target = directory / str(number)
                unfinished.rename(target)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
            _flush(directory)
    except OSError as error:
        raise InputError(
            f"{directory}: a new version can't be written: {_reason(error)}. Nothing was changed there; "
            "free space or mend the permissions, then run again"
        ) from error
    return Version(number, target, identity)


def _publish_in_store(source: Path, directory: ObjectPath, texts: Mapping[Path, str], identity: str) -> Version:
    files = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    contents: dict[str, Path | str] = {name.as_posix(): text for name, text in {RELEASE: "{}", **texts}.items()}
    contents |= {name.as_posix(): source / name for name in files if name.as_posix() not in contents}
    contents[contract.SAVED_MODEL] = contents.pop(contract.SAVED_MODEL)
    try:
        number = object_store.publish(contents, directory, publish_lock(directory), next_number)
    except StoreError as error:
        raise InputError(f"{directory}: a new version can't be written: {error.strerror}; then run again") from error
    return Version(number, directory / str(number), identity)


def publish_lock(directory: P) -> P:
    """The lock that publishers take turns by."""
    return directory.with_name(f".{directory.name}.publish.lock")


def next_number(numbers: Iterable[int]) -> int:
    """Returns the number of a new version: the time in UTC as YYYYMMDDHHMMSS, or one more than the newest there."""
    return max([_now(), *(number + 1 for number in numbers)])


def _read(path: AnyPath) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InputError(f"{path}: damaged: {error}; remove that version") from error


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    _flush(path)
    _flush(path.parent)


def _numbered(directory: Path) -> Iterator[tuple[int, Path]]:
    """Yields number and path of each entry whose name is a number, whatever it holds."""
    if directory.is_dir():
        for path in directory.iterdir():
            if path.name.isascii() and path.name.isdecimal():
                yield int(path.name), path


def _now() -> int:
    return int(datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d%H%M%S"))


def _copy(source: Path, target: Path) -> None:
    """Copies a directory and flushes all of it to disk; new files get the process's default permissions."""

    def fail(error: OSError) -> None:
        raise error

    for name, _, files in os.walk(source, onerror=fail, followlinks=True):
        directory = target / Path(name).relative_to(source)
        directory.mkdir()
        for file in files:
            shutil.copyfile(Path(name, file), directory / file)
            _flush(directory / file)
        _flush(directory)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
