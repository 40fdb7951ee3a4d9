"""One run of `recommender batch`: the work is prepared, done where it isn't yet, and put in its place by rename.

Beside the output lies a hidden folder `.<name>.batch` while there is work, and in it one whose name is a digest of all
that decides what is written. A run that was killed left it; the next one with the same wish goes on there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from rich.console import Console

from components.errors import InputError
from components.examples.context import feature_types
from components.examples.reading import Features
from components.versions import check_writable, describe
from pipeline import __version__
from pipeline.batch.answers import Wish
from pipeline.batch.beside import work_beside
from pipeline.batch.outputs import Output, put, put_together
from pipeline.batch.queries import ALL, items_file, read_queries, users_file, write_items, write_queries
from pipeline.beam_args import beam_args, check_beam
from pipeline.config import Config
from pipeline.failures import DONE
from pipeline.local.evaluate import find_model
from pipeline.terminal import Outcome, Terminal, check_interrupts
from serving import contract

if TYPE_CHECKING:
    from pipeline.batch.shards import Job

_MOST_USERS = 4_096
_LEAST_USERS = 64
_MOST_ROWS = 1 << 19
"""Rows of a shard, as long as it has more than the least users: so much is done again after a kill."""
_BEFORE = "before"
_LOOK = 1.0
"""Seconds between two looks at what is done."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for whom, and where it goes."""

    wish: Wish
    output: Output
    users: str = ALL
    """`all`, a text file with an id a line, or a file of JSON lines, see `pipeline.batch.queries`."""
    context: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Features of every query by name."""
    items: Optional[str] = None
    """`all`, or a text file: whose audiences are asked for, in the place of the users' items."""

    @property
    def asked(self) -> str:
        """What has a list each."""
        return "users" if self.items is None else "items"


def batch(config: Config, request: Request, version: Optional[str] = None) -> Outcome:
    """Writes the best items of many users, or users of many items, all or nothing, and says how it went.

    Args:
        config: Says where versions are pushed, and how Beam runs.
        request: What is asked.
        version: As for `recommender evaluate`.

    Returns:
        The exit code, 1 for what is neither the input's nor the disk's fault, and the facts: `out`, `users` or `items`,
        how many of them were done before, by a run that was stopped, `version` and `seconds`.

    Raises:
        InputError: The users, the model, the wish or the place of the output is wrong.
    """
    path = find_model(config, version).absolute()
    about, k, out = describe(path), request.wish.k, request.output
    if "max_k" not in about:
        raise InputError(f"{path}: no servable of this pipeline: it lacks {contract.MANIFEST}")
    most, found = about["max_k"], "items"
    if request.items is not None:
        most, found = about.get("max_k_of_users"), "users"
        if most is None:
            raise InputError(f"--items: {path} says nothing of users: make a version with serving.audience: true")
    if not 1 <= k <= most:
        raise InputError(f"-k {k}: this model answers 1 to {most} {found}")
    if out.store is not None:
        check_writable(out.store)
        digest = hashlib.blake2b(str(out.store).encode(), digest_size=8).hexdigest()
        out = dataclasses.replace(out, path=config.folder() / "batch" / digest / out.path)
        request = dataclasses.replace(request, output=out)
    check_writable(out.path.parent)
    root = out.path.absolute().with_name(f".{out.path.name}.batch")
    work = root / _digest(request, path, about["fingerprint"])

    def run(console: Console) -> Outcome:
        _tidy(root, work, out.path)
        return Outcome(DONE, _run(config, request, path, feature_types(about["context"]), work, Terminal(console)))

    return work_beside(out.place, root, run, lambda: any(work.glob("parts/part-*")))


def _run(
    config: Config, request: Request, model: Path, features: Features, work: Path, terminal: Terminal
) -> dict[str, Any]:
    """Does what is not done yet in the folder `work`, and puts it in its place; returns the facts."""
    started = time.monotonic()
    asked = request.asked
    terminal.start(asked)
    queries, parts = work / "queries", work / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    if not queries.exists():
        if request.items is None:
            write_queries(request.users, model, features, request.context, queries)
        else:
            write_items(request.items, model, queries)
    count, size = read_queries(queries).num_rows, shard_size(request.wish.k)
    terminal.start("TensorFlow and Beam")
    from pipeline.batch.shards import Job, answer_shards  # Beam: seconds

    check_interrupts()
    job = Job(
        model=str(model),
        version=model.name,
        wish=request.wish,
        queries=str(queries),
        output=request.output,
        parts=str(parts),
        shard_size=size,
        shards=-(-count // size),
    )
    done = min((job.shards - len(job.missing())) * size, count)
    if done:
        terminal.console.print(f"  going on where a run was stopped: {done:,} of {count:,} {asked} are done")
    terminal.start("batch")
    if job.missing():
        with _watched(parts, size, count, asked, terminal):
            arguments = beam_args(config.beam.pipeline_args)
            check_beam(arguments)
            answer_shards(job, arguments)
    terminal.progress(f"all {asked} are done; putting the parts together")
    _publish(job, work)
    seconds = time.monotonic() - started
    rate = (count - done) / seconds
    summary = f"{count:,} {asked} in {job.output.place}, version {model.name}, {rate:,.0f} {asked} a second"
    terminal.end("batch", "done", seconds, summary)
    return {
        "out": job.output.place,
        asked: count,
        "done_before": done,
        "version": model.name,
        "seconds": seconds,
    }


def shard_size(k: int) -> int:
    """Returns how many users, or items, a shard has, which must not change while there may be work to go on with."""
    return max(_LEAST_USERS, min(_MOST_USERS, _MOST_ROWS // k))


def _publish(job: Job, work: Path) -> None:
    """Puts the output in its place."""
    out = job.output.path
    if not job.output.folder:
        whole = work / "whole"
        put_together([job.part(number) for number in range(job.shards)], job.output, whole)
        if job.output.store is not None:
            put(job.output, whole)
        else:
            os.replace(whole, out)
        return
    if job.output.store is not None:
        put(job.output, Path(job.parts))
        return
    # A folder with something in it can't be replaced in one step; `_tidy` undoes the first of two.
    if out.exists():
        out.rename(work / _BEFORE)
    Path(job.parts).rename(out)


@contextlib.contextmanager
def _watched(parts: Path, size: int, count: int, asked: str, terminal: Terminal) -> Iterator[None]:
    """Shows how many are done, by the files that there are: so it is seen whichever processes do the work."""
    ended = threading.Event()
    started, before = time.monotonic(), None

    def watch() -> None:
        nonlocal before
        while not ended.wait(_LOOK):
            done = min(size * sum(entry.name.startswith("part-") for entry in os.scandir(parts)), count)
            before = done if before is None else before
            rate = (done - before) / (time.monotonic() - started)
            left = f", {rate:,.0f} a second, {_minutes((count - done) / rate)} left" if rate else ""
            terminal.progress(f"{done:,} of {count:,} {asked}{left}")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _digest(request: Request, model: Path, fingerprint: str) -> str:
    """A digest of all that decides what is written, wherever it is written."""
    wish, output = dataclasses.asdict(request.wish), request.output
    made = [__version__, model.name, fingerprint, output.format, output.layout]
    decisive = [*made, wish, request.asked, dict(request.context)]
    digest = hashlib.blake2b(json.dumps(decisive, sort_keys=True, default=str).encode(), digest_size=8)
    listed = users_file(request.users, model) if request.items is None else items_file(request.items, model)
    try:
        with open(listed, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(
            f"--{request.asked} {listed}: can't be read: {error.strerror}; it is {ALL} or a file of {request.asked}"
        ) from None
    return digest.hexdigest()


def _tidy(root: Path, work: Path, out: Path) -> None:
    """Puts back the folder that a run was about to replace when it was killed, and removes what is left of other wishes
    for the same output."""
    for before in root.glob(f"*/{_BEFORE}"):
        if not out.exists():
            before.rename(out)
    for other in root.iterdir():
        if other.is_dir() and other != work:
            shutil.rmtree(other)
