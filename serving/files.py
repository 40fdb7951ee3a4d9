"""Files that others read meanwhile or wait for: replaced at once or not at all, and held by one process at a time."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Optional, Union

from serving.contract import SAVED_MODEL
from serving.stores import AnyPath, Held, Lease, ObjectPath, as_path, leased

_POLL_SECONDS = 0.1


@contextlib.contextmanager
def replacing(path: Union[str, os.PathLike[str]], mode: str = "w") -> Iterator[IO[Any]]:
    """Lends a file that takes the place of `path` at the end, flushed to disk, unless an exception comes first.

    Whoever reads the path meanwhile sees the old content, or none if there was none. Several processes may replace the
    same file: the last one stays. The permissions are those of any new file. A device or a pipe, such as /dev/stdout,
    is written to instead.

    Args:
        path: the file; its folder must be there.
        mode: "w" for text in UTF-8, or "wb".
    """
    path, encoding = Path(path), None if "b" in mode else "utf-8"
    if path.exists() and not path.is_file() and not path.is_dir():
        with open(path, mode, encoding=encoding) as file:
            yield file
        return
    temporary = path.with_name(f".{path.name.lstrip('.')}.{os.getpid()}.new")
    try:
        with open(temporary, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def write_atomically(path: Union[str, os.PathLike[str]], content: Union[str, bytes]) -> None:
    """Writes a file at once or not at all, see `replacing`."""
    with replacing(path, "wb" if isinstance(content, bytes) else "w") as file:
        file.write(content)


def read_lines(path: Union[str, AnyPath]) -> list[str]:
    """Returns a text file's lines, in UTF-8, without their ends, which are those that files have.

    `str.splitlines` knows more, such as U+2028 and U+0085, that ids and messages may hold. A byte order mark is left
    out.
    """
    with as_path(path).open(encoding="utf-8-sig") as file:
        return [line.removesuffix("\n") for line in file]


def flush_folder(path: Union[str, os.PathLike[str]]) -> None:
    """Flushes to disk which files a folder has."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def holding(
    path: Union[str, os.PathLike[str], ObjectPath], about: Mapping[str, Any], wait: float = 0.0
) -> Iterator[Optional[Lease]]:
    """Holds a lock; the system frees it when the process ends, however it ends.

    In a store it is a lease, which is lent, and ends some time after its holder.

    The file stays, because to remove it would let two in. On a network file system the lock holds between machines as
    far as its `flock` does, as it does on NFS.

    Args:
        path: the lock's file; made if missing.
        about: what others are told who want it meanwhile, as JSON.
        wait: seconds to wait for it; as long as it takes if negative.

    Raises:
        Held: somebody else has it, another process or another thread of this one.
        OSError: it can't be written, the file system has no locks, or this Python has no `filelock`.
    """
    if isinstance(path, ObjectPath):
        with leased(path, about, wait) as lease:
            yield lease
        return
    try:
        from filelock import FileLock, Timeout  # the client does without it on Python 3.9
    except ImportError:
        raise OSError("this needs the package filelock 3.30, thus Python 3.10 or newer") from None

    def sign(descriptor: int) -> None:
        os.write(descriptor, json.dumps(dict(about)).encode())

    # What is written on acquiring stays readable: one that waits does not truncate it.
    lock = FileLock(path, on_acquired=sign)
    try:
        lock.acquire(timeout=wait, poll_interval=_POLL_SECONDS)
    except Timeout:
        raise Held(_holder(path)) from None
    try:
        yield None
    finally:
        lock.release()


def _holder(path: Union[str, os.PathLike[str]]) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found = json.loads(Path(path).read_text("utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def find_versions(directory: AnyPath) -> dict[int, AnyPath]:
    """The versions of a model, oldest first: the folders whose name is a number and that hold a SavedModel.

    Args:
        directory: `<base path>/<model>`; may be missing.

    Raises:
        StoreError: it is in a store, which can't be asked.
    """
    if isinstance(directory, ObjectPath):
        found = [name.partition("/")[0] for name in directory.files() if name.partition("/")[2] == SAVED_MODEL]
    else:
        found = [path.parent.name for path in directory.glob(f"*/{SAVED_MODEL}")]
    numbers = sorted(int(name) for name in found if name.isascii() and name.isdecimal())
    return {number: directory / str(number) for number in numbers}
