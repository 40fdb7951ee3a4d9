"""Fetches the public data sets that the example configs use, into a cache, checked and in one form.

movielens-100k: 100,000 ratings of 1,682 films by 943 users of MovieLens, 1997-98 (F. M. Harper and J. A. Konstan, "The
MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015). GroupLens allows research use with that citation and
forbids redistribution, commercial use without permission, and any suggestion of endorsement; the full terms are in the
archive's README and at https://grouplens.org/datasets/movielens/100k/. So it is downloaded when needed, never shipped.

A data set's folder in the cache holds three UTF-8 CSV files with a header line:

    interactions.csv  user_id,item_id,rating,timestamp      rows in the order of the original file
    items.csv         item_id,title,year,genres             genres separated by "|"
    users.csv         user_id,age,gender,occupation,zip_code

The files come out byte for byte the same from both sources of MovieLens, so their digests are pinned here. They show a
cached file that was changed or cut short as well as a conversion that went wrong.
"""

import contextlib
import csv
import dataclasses
import errno
import fcntl
import hashlib
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Union

from components.errors import InputError
from components.progress import progress

_TIMEOUT_S = 6  # to connect, or for the next bytes: a machine that is cut off from the source must not wait long
_PIP_TIMEOUT_S = 180
_MAX_BYTES = 100 * 10**6  # an endless answer is not the file

Rows = list[list[str]]


@dataclasses.dataclass(frozen=True)
class Source:
    """A place that a data set can be had from: a zip file, or a wheel, which is one."""

    filename: str
    """The file's name; put into the cache folder by hand, it is used instead of a download."""
    sha256: str
    """Digest of the file, in hex."""
    origin: str
    """Where it comes from, for messages."""
    download: Callable[[Path], None]
    """Writes the file to a path, or raises OSError with the reason."""
    tables: Callable[[zipfile.ZipFile], dict[str, Rows]]
    """The rows of each CSV file, header first."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set: its sources in the order in which they are tried, and the digests of its CSV files."""

    sources: tuple[Source, ...]
    files: dict[str, str]


def cache_root(cache_dir: Union[str, Path, None] = None) -> Path:
    """The cache folder: `cache_dir`, else $RECOMMENDER_CACHE, else ~/.cache/recommender."""
    return Path(cache_dir or os.environ.get("RECOMMENDER_CACHE") or Path.home() / ".cache" / "recommender").expanduser()


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
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f".{name}.lock", name):
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
            "Set RECOMMENDER_CACHE to a folder with space that you may write to."
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


@contextlib.contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
    with open(path, "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another process that is fetching {name}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
    by_hand = root / source.filename
    if by_hand.exists():
        progress(f"reading {by_hand}")
        archive = by_hand
    else:
        progress(f"fetching {name} from {source.origin}")
        archive = scratch / source.filename
        try:
            source.download(archive)
        except OSError as error:
            if error.errno == errno.ENOSPC:  # the next source would fail the same way
                raise
            raise _SourceError(str(error)) from error
    found = _digest(archive)
    if found != source.sha256:
        advice = f"; delete {by_hand}" if archive == by_hand else ""
        raise _SourceError(
            f"{archive.stat().st_size:,} bytes with sha256 {found[:12]}... where {source.sha256[:12]}... is right, "
            f"so it is cut short or another file{advice}"
        )
    return archive


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


def _download_url(url: str) -> Callable[[Path], None]:
    """Downloads `url`."""

    def download(path: Path) -> None:
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response, open(path, "wb") as file:
                size = int(response.headers.get("Content-Length") or 0)
                received, shown = 0, 0
                while block := response.read(1 << 16):
                    file.write(block)
                    received += len(block)
                    if received > _MAX_BYTES:
                        raise OSError("the answer is far too long")
                    if received - shown >= 1 << 20:
                        shown = received
                        progress(f"fetching {path.name}: {received / 1e6:.1f} of {size / 1e6:.1f} MB")
        except urllib.error.HTTPError as error:
            raise OSError(f"the server answered {error.code} {error.reason}") from error
        except urllib.error.URLError as error:
            raise OSError(f"not reachable: {error.reason}") from error
        except http.client.HTTPException as error:
            raise OSError(f"not HTTP: {error!r}") from error

    return download


def _download_wheel(requirement: str) -> Callable[[Path], None]:
    """Downloads a pure Python wheel with pip, which knows the machine's package index and proxy; installs nothing."""

    def download(path: Path) -> None:
        options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--disable-pip-version-check"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", *options, "--retries=1"]
        try:
            done = subprocess.run(
                [*command, f"--dest={path.parent}", requirement],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PIP_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise OSError(f"pip gave no answer within {_PIP_TIMEOUT_S} s") from error
        if done.returncode != 0 or not path.exists():
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            errors = [line for line in lines if "error" in line.lower()] or lines or ["no message"]
            raise OSError(f"pip: {errors[-1].strip()}")

    return download


# --- MovieLens-100K ---------------------------------------------------------------------------------------------------

# The flags of u.item, in its order.
_GENRES = [
    *["unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"],
    *["Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"],
]


def _titled(text: str) -> list[str]:
    """Splits "Toy Story (1995)" into title and year; "(V)", for films made for video, is dropped."""
    match = re.fullmatch(r"(?P<title>.*?)\s*\((?P<year>\d{4})\)(?:\s*\(V\))?\s*", text)
    return [match["title"], match["year"]] if match else [text.strip(), ""]


def _movielens(interactions: Rows, items: Rows, users: Rows) -> dict[str, Rows]:
    return {
        "interactions.csv": [["user_id", "item_id", "rating", "timestamp"], *interactions],
        "items.csv": [["item_id", "title", "year", "genres"], *items],
        "users.csv": [["user_id", "age", "gender", "occupation", "zip_code"], *users],
    }


def _lines(zipped: zipfile.ZipFile, member: str, separator: str, encoding: str) -> Rows:
    return [line.split(separator) for line in zipped.read(member).decode(encoding).splitlines()]


def _grouplens_tables(zipped: zipfile.ZipFile) -> dict[str, Rows]:
    """GroupLens's own files: u.data, u.item in Latin-1, u.user."""
    items = []
    for item_id, title, _released, _video, _url, *flags in _lines(zipped, "ml-100k/u.item", "|", "latin-1"):
        genres = [genre for genre, flag in zip(_GENRES, flags) if flag == "1"]
        items.append([item_id, *_titled(title), "|".join(genres)])
    return _movielens(
        _lines(zipped, "ml-100k/u.data", "\t", "ascii"), items, _lines(zipped, "ml-100k/u.user", "|", "ascii")
    )


def _recbole_tables(zipped: zipfile.ZipFile) -> dict[str, Rows]:
    """RecBole's "atomic files": a header line, tabs, UTF-8."""
    folder = "recbole/dataset_example/ml-100k/ml-100k"
    items = []
    for item_id, title, year, genres in _lines(zipped, f"{folder}.item", "\t", "utf-8")[1:]:
        if title == "unkonwn":  # their spelling for the one film without title and year
            title, year = "unknown", ""
        elif not year.isdigit():  # "... (1995)" and "V"
            title, year = _titled(f"{title} ({year})")
        items.append([item_id, title, year, genres.replace(" ", "|")])
    return _movielens(
        _lines(zipped, f"{folder}.inter", "\t", "utf-8")[1:], items, _lines(zipped, f"{folder}.user", "\t", "utf-8")[1:]
    )


_GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"

DATASETS = {
    "movielens-100k": Dataset(
        sources=(
            Source(
                filename="ml-100k.zip",
                sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
                origin=_GROUPLENS_URL,
                download=_download_url(_GROUPLENS_URL),
                tables=_grouplens_tables,
            ),
            Source(
                filename="recbole-1.2.1-py3-none-any.whl",
                sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
                origin="the package recbole 1.2.1 by pip",
                download=_download_wheel("recbole==1.2.1"),
                tables=_recbole_tables,
            ),
        ),
        files={
            "interactions.csv": "010fac14271cf92527353173e77ddb19b9168a476d99c55c2f4bd55d93d4c205",
            "items.csv": "1d80965954f04aa72bb06eb4db5f5ebd451f32b5d83dadcf176da679a0ff112f",
            "users.csv": "f0666955a899ab27004d413eec2d92e393f5050879597e126ede637390e5a238",
        },
    )
}
