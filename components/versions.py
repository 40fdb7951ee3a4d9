"""The versions of a model on disk, `<base path>/<model>/<version>`: listed, compared, published by rename.

The layout is TensorFlow Serving's. Whatever isn't a directory named by a number and holding a SavedModel is no version,
so a server that polls the directory and this module see the same. Paths are local or mounted ones: a rename that is
seen at once or not at all exists on file systems only.
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
from typing import Any

from components.errors import InputError
from components.progress import progress
from serving import contract

RELEASE = Path("assets.extra", "release.json")
_UNFINISHED = ".publish-"
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # with one slash too: all that is left of gs://bucket as a Path


@dataclasses.dataclass(frozen=True)
class Version:
    """One version of a model on disk."""

    number: int
    """The directory's name."""
    path: Path
    """The directory, which holds `saved_model.pb`."""
    fingerprint: str
    """What the Indexer says decides the answers; empty for a SavedModel that isn't the Indexer's."""


def model_dir(base_path: str | os.PathLike[str], model_name: str) -> Path:
    """Returns the directory that holds the model's versions.

    Raises:
        InputError: `base_path` is a URI of an object store, or `model_name` is not a plain directory name.
    """
    if _URI.match(str(base_path)):
        raise InputError(
            f"base path {base_path}: versions appear by rename, so it must be a local or mounted directory"
        )
    if model_name in {"", ".", ".."} or "/" in model_name:
        raise InputError(f"model name {model_name!r}: must be a plain directory name")
    return Path(base_path, model_name)


def describe(servable: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns what the Indexer wrote about a servable (`assets.extra/recommender.json`); empty without that file.

    Raises:
        InputError: the file is damaged, or a newer version of this project made the servable.
    """
    path = Path(servable, contract.MANIFEST)
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


def release(version: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns what the Pusher wrote about a version (`assets.extra/release.json`): where it comes from, how good it is.

    Empty for a version that came some other way. Keys: `time` (ISO 8601, UTC), `fingerprint`, `blessed`, `checks`
    (sentences), `metrics` (the Evaluator's, over all queries), and `lineage` (`pipeline`, `run`, `config` and `code`,
    `data`, `parent`: the version that served, `artifacts`: ids by name).

    Raises:
        InputError: the file is damaged.
    """
    return _read(Path(version, RELEASE))


def fingerprint(servable: str | os.PathLike[str]) -> str:
    """Returns the fingerprint of a servable; empty where it has none."""
    return str(describe(servable).get("fingerprint", ""))


def list_versions(directory: str | os.PathLike[str]) -> list[Version]:
    """Returns a model's versions, oldest first.

    Args:
        directory: `<base path>/<model>`; may be missing.

    Returns:
        The directories whose name is a number and that hold a SavedModel.
    """
    return [
        Version(number, path, fingerprint(path))
        for number, path in sorted(_numbered(Path(directory)))
        if (path / contract.SAVED_MODEL).is_file()
    ]


def newest(directory: str | os.PathLike[str], other_than: str = "") -> Version | None:
    """Returns the newest version, or None without any.

    Args:
        directory: `<base path>/<model>`; may be missing.
        other_than: leaves out versions of this fingerprint; empty leaves out nothing.
    """
    for version in reversed(list_versions(directory)):
        if not other_than or version.fingerprint != other_than:
            return version
    return None


def check_writable(directory: str | os.PathLike[str]) -> None:
    """Makes sure, leaving nothing behind, that versions can be written under `directory`, which may not exist yet.

    Raises:
        InputError: they can't.
    """
    existing = Path(directory).absolute()
    try:
        while not existing.exists():
            existing = existing.parent
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"{directory}: can't be written: {_reason(error)} ({existing})") from error


def publish(
    source: str | os.PathLike[str], directory: str | os.PathLike[str], about: Mapping[str, Any] | None = None
) -> Version:
    """Makes a servable the newest version of a model, at once or not at all.

    The files are copied to a hidden sibling, flushed to disk and then renamed. Publishers take turns by a lock beside
    the directory, which ends with its process, so whatever hidden sibling is there under the lock was left by a killed
    one.

    Args:
        source: directory of a SavedModel.
        directory: `<base path>/<model>`; made if missing.
        about: what `release` is to return.

    Returns:
        The new version, see `next_number`.

    Raises:
        InputError: `source` is no SavedModel or describes itself wrongly, or `directory` can't be written; nothing is
            left behind.
    """
    from components.locks import locked  # by a library that a client's installation, which lists versions, lacks

    source, directory = Path(source), Path(directory)
    if not (source / contract.SAVED_MODEL).is_file():
        raise InputError(f"{source}: no SavedModel to publish ({contract.SAVED_MODEL} is missing)")
    identity = fingerprint(source)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with locked(
            directory.with_name(f".{directory.name}.publish.lock"),
            lambda holder: progress(f"waiting for another publisher: {holder}"),
        ):
            for leftover in directory.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(leftover)
            unfinished = directory / f"{_UNFINISHED}{uuid.uuid4().hex}"
            try:
                _copy(source, unfinished)
                if about is not None:
                    _write(unfinished / RELEASE, json.dumps(about, indent=2, ensure_ascii=False))
                number = next_number(number for number, _ in _numbered(directory))
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


def next_number(numbers: Iterable[int]) -> int:
    """Returns the number of a new version: the time in UTC as YYYYMMDDHHMMSS, or one more than the newest there."""
    return max([_now(), *(number + 1 for number in numbers)])


def _read(path: Path) -> dict[str, Any]:
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
    return os.strerror(error.errno) if error.errno else str(error)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
