"""Users who are forgotten: their events are read no more, though nobody can tell from the list who they are.

The list has a keyed hash of each id (HMAC-SHA256), and the key lies in a file beside it: who has the list alone can't
try ids out on it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pyarrow as pa

from components.errors import InputError
from components.progress import progress
from serving.files import replacing
from serving.stores import AnyPath, Lease, ObjectPath, as_path

_FORMAT = 1
_KEY = ".key"
"""What the key's name ends in, beside the list's."""


@dataclasses.dataclass(frozen=True)
class Suppression:
    """A list and its key."""

    key: bytes
    hashes: frozenset[str]

    def hash(self, user_id: str) -> str:
        """What stands in the list for a user: 64 hexadecimal digits."""
        return hmac.new(self.key, user_id.encode(), hashlib.sha256).hexdigest()

    def has(self, user_id: str) -> bool:
        """Whether a user is forgotten."""
        return self.hash(user_id) in self.hashes

    def among(self, user_ids: pa.Array) -> np.ndarray:
        """Returns which of the ids [n] string are those of users who are forgotten, bool [n]; null is nobody."""
        encoded = user_ids.dictionary_encode()
        known = np.array([self.has(name) for name in encoded.dictionary.to_pylist()] + [False])
        places = encoded.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False)
        return known[places]


def read(path: str) -> Optional[Suppression]:
    """Reads a list; None where there is none.

    Raises:
        InputError: It is damaged, or itself, its key or its folder is gone: then nobody can tell who is to be
            forgotten.
    """
    if not path:
        return None
    place = as_path(path)
    if not place.exists():
        _check_never_was(place)
        return None
    try:
        content = json.loads(place.read_text("utf-8"))
        if content["format"] != _FORMAT:
            raise InputError(f"{path}: of format {content['format']}, and this program knows {_FORMAT}: update it")
        hashes = frozenset(map(str, content["hashes"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: the list of users who are forgotten can't be read: {error}; bring it back"
        ) from error
    return Suppression(_read_key(place), hashes)


def add(path: str, user_ids: Iterable[str]) -> Suppression:
    """Adds users to a list, which is made where it is missing, at once or not at all; returns it.

    Raises:
        InputError: It can't be read or written.
    """
    from components.locks import locked  # by a library that no node needs

    place = as_path(path)
    try:
        if isinstance(place, Path):
            place.parent.mkdir(parents=True, exist_ok=True)
        # Several models may share a list.
        with locked(as_path(f"{path}.lock"), lambda holder: progress(f"waiting for {path}: {holder}")) as lease:
            before = (read(path) if place.exists() else None) or Suppression(_make_key(place, lease), frozenset())
            after = Suppression(before.key, before.hashes | {before.hash(name) for name in user_ids})
            content: dict[str, Any] = {"format": _FORMAT, "hashes": sorted(after.hashes)}
            _write(place, json.dumps(content, indent=2), lease)
    except OSError as error:
        raise InputError(f"{path}: can't be written: {error.strerror}") from error
    return after


def _write(place: AnyPath, text: str, lease: Optional[Lease], mode: int = 0o666) -> None:
    """Replaces a file at once or not at all, one in a store by a lease.

    Args:
        place: The file.
        text: What it is to be.
        lease: Of the lock.
        mode: Who may read and write it, where it is on disk.
    """
    if lease is not None and isinstance(place, ObjectPath):
        lease.write(place, text.encode())
        return
    with replacing(place) as file:  # type: ignore[arg-type]  # on disk
        if mode != 0o666:
            os.fchmod(file.fileno(), mode)
        file.write(text)


def _check_never_was(path: AnyPath) -> None:
    """Makes sure that a list is missing because nobody was ever forgotten, as far as that can be told."""
    if _key(path).exists():
        raise InputError(
            f"{path}: the list of users who are forgotten is gone, and its key is there: bring it back, or if it was "
            "the first `recommender forget` that was killed, run that again"
        )
    folder = path.absolute().parent
    if isinstance(folder, Path) and not folder.is_dir():  # a store has none
        raise InputError(
            f"{path}: there is no folder {folder} for the list of users who are forgotten: is a disk not mounted? Else "
            "make the folder"
        )


def _key(path: AnyPath) -> AnyPath:
    return path.with_name(path.name + _KEY)


def _read_key(path: AnyPath) -> bytes:
    try:
        return bytes.fromhex(_key(path).read_text("utf-8").strip())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{_key(path)}: the key of the list of users who are forgotten can't be read: {error}; bring it back"
        ) from error


def _make_key(path: AnyPath, lease: Optional[Lease]) -> bytes:
    if not _key(path).exists():
        _write(_key(path), secrets.token_hex(32), lease, 0o600)
    return _read_key(path)
