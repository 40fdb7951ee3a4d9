"""Where a data set can be had from, and how: the parts of an entry of `pipeline.data.datasets.DATASETS`."""

import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from components.progress import progress

_TIMEOUT_S = 6  # to connect, or for the next bytes: a machine that is cut off from the source must not wait long
_PIP_TIMEOUT_S = 180
_MAX_BYTES = 100 * 10**6  # an endless answer is not the file
_INTERVAL_S = 2  # between two words on how far a download is

Rows = list[list[str]]


@dataclasses.dataclass(frozen=True)
class Source:
    """A place that a data set can be had from: a zip file, or a wheel, which is one."""

    filename: str
    """The file's name; put into the cache folder by hand, it is used instead of a download."""
    sha256: str
    """Digest of the file, in hex."""
    origin: str
    """Where it comes from: the address, or what a person would call it."""
    download: Callable[[str, str, object], None]
    """A downloader of pooch's: takes the origin and the path to write to; raises OSError with the reason."""
    tables: Callable[[zipfile.ZipFile], dict[str, Rows]]
    """The rows of each CSV file, header first."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set: its sources in the order in which they are tried, and the digests of its CSV files."""

    sources: tuple[Source, ...]
    files: dict[str, str]


def from_address(url: str, path: str, _: object) -> None:
    """A downloader of pooch's: over HTTP."""
    import pooch
    import requests

    try:
        pooch.HTTPDownloader(progressbar=_Received(), chunk_size=1 << 16, timeout=_TIMEOUT_S)(url, path, None)
    except requests.RequestException as error:
        if error.response is not None:
            reason = f"the server answered {error.response.status_code} {error.response.reason}"
        else:
            cause: BaseException = error
            # Up to three errors of those libraries' own are around what happened.
            while cause.__context__ is not None and type(cause).__module__.startswith(("requests.", "urllib3.")):
                cause = cause.__context__
            reason = f"not reachable: {cause}"
        raise OSError(reason) from error


class _Received:
    """Tells how far a download is; pooch calls it as it would a progress bar of tqdm's."""

    def __init__(self) -> None:
        self.total = 0
        self._received, self._told = 0, time.monotonic()

    def update(self, size: int) -> None:
        self._received += size
        if self._received > _MAX_BYTES:
            raise OSError("the answer is far too long")
        if time.monotonic() - self._told >= _INTERVAL_S:
            self._told = time.monotonic()
            progress(f"downloading: {self._received / 1e6:.1f} of {self.total / 1e6:.1f} MB")

    def reset(self) -> None:
        self._received = 0

    def close(self) -> None:
        pass


def from_index(requirement: str) -> Callable[[str, str, object], None]:
    """A downloader of pooch's: a pure Python wheel by pip, which knows the machine's package index and proxy.

    Nothing is installed.
    """

    def download(_: str, path: str, __: object) -> None:
        with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as folder:
            options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--disable-pip-version-check"]
            command = [sys.executable, "-m", "pip", "download", "--quiet", *options, "--retries=1"]
            errors = _run([*command, f"--dest={folder}", requirement])
            wheels = list(Path(folder).iterdir())
            if not wheels:
                lines = [line for line in errors.splitlines() if line.strip()]
                reasons = [line for line in lines if "error" in line.lower()] or lines or ["no message"]
                raise OSError(f"pip: {reasons[-1].strip()}")
            wheels[0].replace(path)

    return download


def _run(command: list[str]) -> str:
    """Runs pip, which is silent, and tells how long it has been at it; returns what it wrote to standard error."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        for seconds in range(_INTERVAL_S, _PIP_TIMEOUT_S + 1, _INTERVAL_S):
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=_INTERVAL_S)[1]
            progress(f"pip is downloading, for {seconds} s now")
        process.kill()
    raise OSError(f"pip gave no answer within {_PIP_TIMEOUT_S} s")
