"""Fetches the public data sets that the example configs use, into a cache, checked and in one form.

A data set's folder in the cache holds UTF-8 CSV files with a header line. Their digests are pinned: they show a cached
file that was changed or cut short as well as a conversion that went wrong.
"""

import csv
import errno
import hashlib
import logging
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Union

from components.errors import InputError
from components.progress import progress
from pipeline.data.movielens import MOVIELENS_100K
from pipeline.data.sources import Dataset, Source
from pipeline.variables import DATASETS as VARIABLE
from pipeline.variables import datasets_folder

# pooch and filelock are imported where they are used: `recommender doctor` looks at the cache without them too.

DATASETS = {"movielens-100k": MOVIELENS_100K}


def cache_root(cache_dir: Union[str, Path, None] = None) -> Path:
    """The cache folder: `cache_dir`, else $RECOMMENDER_DATASETS, else ~/.cache/recommender."""
    return Path(cache_dir or datasets_folder(os.environ) or Path.home() / ".cache" / "recommender").expanduser()


def verify(name: str, cache_dir: Union[str, Path, None] = None) -> list[str]:
    """The files of a cached data set that are missing, changed or cut short; empty when all is well.

    Raises:
      InputError: There is no data set of that name.
    """
    folder = cache_root(cache_dir) / name
    return _damaged(folder, _dataset(name))


def fetch(name: str, cache_dir: Union[str, Path, None] = None) -> Path:
    """The folder of a data set's CSV files; downloads them unless the cache has them intact.

    With a warm cache it needs no network. Several processes may call it at once. An interrupted or broken download
    leaves nothing that a later call would take for the data set.

    Args:
      name: A key of `DATASETS`.
      cache_dir: Where to keep the files (`cache_root`).

    Raises:
      InputError: There is no data set of that name, no source gives the right file, or the cache can't be written.
    """
    dataset = _dataset(name)
    root = cache_root(cache_dir)
    folder = root / name
    if not _damaged(folder, dataset):
        return folder
    from components.locks import locked

    def busy(holder: str) -> None:
        progress(f"waiting for {holder}, which is fetching {name}")

    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / f".{name}.lock", busy):
            damaged = _damaged(folder, dataset)
            if not damaged:  # another process fetched it meanwhile
                return folder
            if folder.exists():
                progress(f"{name} in the cache is damaged ({', '.join(damaged)}), fetching it again")
            for leftover in root.glob(f".{name}~*"):  # of a killed process; the lock says that no other is at work
                shutil.rmtree(leftover)
            with tempfile.TemporaryDirectory(prefix=f".{name}~", dir=root) as scratch:
                made = _make(name, dataset, root, Path(scratch))
                if folder.exists():
                    shutil.rmtree(folder)
                made.rename(folder)
    except OSError as error:
        raise InputError(
            f"cannot write the data set {name} to {root}: {error.strerror or error}. "
            f"Set {VARIABLE} to a folder with space that you may write to."
        ) from error
    return folder


def _dataset(name: str) -> Dataset:
    if name not in DATASETS:
        raise InputError(f"there is no data set {name!r}; there is {', '.join(sorted(DATASETS))}.")
    return DATASETS[name]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _damaged(folder: Path, dataset: Dataset) -> list[str]:
    return [
        filename
        for filename, sha256 in dataset.files.items()
        if not (folder / filename).is_file() or _digest(folder / filename) != sha256
    ]


class _SourceError(Exception):
    """A source can't be used; the message says why."""


def _make(name: str, dataset: Dataset, root: Path, scratch: Path) -> Path:
    """Makes the folder of CSV files in `scratch` from the first source that works."""
    failures = []
    for source in dataset.sources:
        try:
            archive = _obtain(name, source, root, scratch)
            folder = scratch / name
            folder.mkdir(exist_ok=True)
            _convert(source, dataset, archive, folder)
            progress(f"{name} is at hand, from {source.origin}")
            return folder
        except _SourceError as error:
            progress(f"{name}: {source.origin} failed ({error})")
            failures.append(f"- {source.origin}: {error}")
    first = dataset.sources[0]
    raise InputError(
        f"cannot fetch the data set {name}:\n"
        + "\n".join(failures)
        + f"\nCheck the network and run this again, or download {first.filename} from {first.origin} on another "
        f"machine and put it into {root}."
    )


def _obtain(name: str, source: Source, root: Path, scratch: Path) -> Path:
    """The source's file with the right digest: put into the cache by hand, or downloaded."""
    wrong = f"its sha256 is not {source.sha256[:12]}..., so it is cut short or another file"
    by_hand = root / source.filename
    if by_hand.exists():
        progress(f"reading {by_hand}")
        if _digest(by_hand) != source.sha256:
            raise _SourceError(f"{wrong}; delete {by_hand}")
        return by_hand
    progress(f"fetching {name} from {source.origin}")
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)  # what it has to say is said here
    try:
        return Path(pooch.retrieve(source.origin, source.sha256, source.filename, scratch, downloader=source.download))
    except ValueError as error:
        raise _SourceError(wrong) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:  # the next source would fail the same way
            raise
        raise _SourceError(str(error)) from error


def _convert(source: Source, dataset: Dataset, archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as zipped:
            tables = source.tables(zipped)
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError, ValueError) as error:
        raise _SourceError(f"unexpected content: {error}") from error
    for filename, rows in tables.items():
        with open(folder / filename, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    wrong = _damaged(folder, dataset)
    if wrong:
        raise _SourceError(f"unexpected content in {', '.join(wrong)}")
