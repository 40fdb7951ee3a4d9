"""`recommender gc`: what is no longer needed goes, from the disk and from the metadata.

What stays is worked out first, from the newest runs and from the versions that stay, by their lineage; all else goes.
A version is out of sight before its files go (`serving.promotion.files`), and the metadata say of an artifact that it
is to be deleted before it is: in MLMD's states, of which TFX's cache takes nothing but LIVE. So a kill leaves nothing
that anything would go on from, and the next time, which works out the same again, deletes the rest.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components import stores
from components.errors import InputError, LockedError
from components.locks import locked
from components.progress import progress
from components.versions import UNFINISHED, model_dir, publish_lock, release
from pipeline.config import Config
from pipeline.config.retention import RetentionSettings
from pipeline.failures import DONE, NOT_BLESSED
from pipeline.local.evaluate import COPIES
from pipeline.local.lineage import Lineage, Run, read_lineage
from pipeline.local.lock import lock
from pipeline.local.metadata_rows import delete_rows
from pipeline.local.output import working
from pipeline.local.reproduce import scratch_of
from pipeline.local.run import at_terminal
from pipeline.terminal import Outcome, Terminal, listening, print_table
from serving.promotion import files
from serving.stores import AnyPath, ObjectPath

VERSIONS, METADATA, LOGS, PAGES, TUNING, TEMPORARY = "versions", "metadata", "logs", "pages", "tuning", "temporary"
"""Kinds of what goes, beside those of artifacts, which are called as MLMD calls their types."""

_DAY = 86_400.0
_STATE = metadata_store_pb2.Artifact
_SEARCH = ("studies.sqlite", "studies.sqlite-journal")


@dataclass(frozen=True)
class Thing:
    """What goes: a file, a folder, or a folder in an object store."""

    kind: str
    path: str
    bytes: int


@dataclass(frozen=True)
class Stay:
    """What stays."""

    versions: frozenset[int]
    runs: frozenset[str]
    executions: frozenset[int]
    artifacts: frozenset[int]


@dataclass(frozen=True)
class House:
    """All that there is."""

    root: Path
    """Artifacts, metadata and logs."""
    base_path: AnyPath
    model: str
    lineage: Lineage
    scratch: Sequence[Path]
    """Where versions were made again, by commands that were killed or came to another end."""
    sizes: Mapping[str, int]
    """Bytes of what has been looked at, by path."""
    versions: Mapping[int, float]
    """When each version on disk was made, in seconds since the epoch."""
    needed: Mapping[int, str]
    """Versions that must stay, and why."""
    now: float


def gc(config: Config, limits: RetentionSettings, dry_run: bool = False) -> Outcome:
    """Deletes what is beyond the limits and not needed.

    Args:
        config: Says where everything lies.
        limits: How much stays.
        dry_run: Only say what would go.

    Returns:
        The exit code, 3 where more than `limits.gigabytes` must stay, and the facts: `dry_run`, `freed` (`count` and
        `bytes` by kind), `paths`, `bytes_before`, `bytes_after`, `versions` that stay with the reason, `runs`.

    """
    return at_terminal(config, lambda root, terminal: _gc(config, root, limits, dry_run, terminal))


def _gc(config: Config, root: Path, limits: RetentionSettings, dry_run: bool, terminal: Terminal) -> Outcome:
    terminal.start("gc")
    from pipeline.metadata import connection_config, open_store  # TFX: seconds

    with contextlib.ExitStack() as held, listening(terminal), working(config, root), explained():
        store = open_store(connection_config(config))
        house = _look(config, root, read_lineage(store, config.name), _idle(scratch_of(config), held))
        before = sum(_size(path, house.sizes) for path in (root, house.base_path / house.model, *house.scratch))
        stay, things = plan(house, limits, before)
        rows = 0
        if not dry_run:
            _delete(house, store, stay, things)
            del store  # closes the file
            rows = _delete_rows(config, house, stay)
    after = before - rows - sum(thing.bytes for thing in things)
    facts = {
        "name": config.name,
        "dry_run": dry_run,
        "freed": _by_kind(things, rows),
        "paths": [thing.path for thing in things],
        "bytes_before": before,
        "bytes_after": after,
        "versions": {version: house.needed.get(version, "within the limits") for version in sorted(stay.versions)},
        "runs": sorted(stay.runs),
    }
    _show(facts, limits, terminal.console)
    over = limits.gigabytes is not None and after > limits.gigabytes * 1e9
    return Outcome(NOT_BLESSED if over else DONE, facts)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Makes of what promotion says what a run says."""
    try:
        yield
    except files.PromotionLocked as error:
        raise LockedError(str(error)) from None
    except files.PromotionError as error:
        raise InputError(str(error)) from None


def plan(house: House, limits: RetentionSettings, total: int) -> tuple[Stay, list[Thing]]:
    """Works out what stays and what goes.

    Args:
        house: What there is.
        limits: How much stays.
        total: How much all of it takes, in bytes.
    """
    runs = house.lineage.runs[::-1]
    fixed = {run.id for run in (runs[:1] + tuple(run for run in runs if run.ended)[:1])}
    newest = sorted(house.versions, reverse=True)
    kept_runs = [
        run
        for place, run in enumerate(runs)
        if run.id in fixed or _within(place, run.started, limits.runs, house, limits)
    ]
    kept = [
        version
        for place, version in enumerate(newest)
        if version in house.needed or _within(place, house.versions[version], limits.versions, house, limits)
    ]
    while True:
        stay = _staying(house, kept_runs, kept)
        things = [*_going(house, stay, limits)]
        if limits.gigabytes is None or total - sum(thing.bytes for thing in things) <= limits.gigabytes * 1e9:
            return stay, things
        oldest = min(
            [
                *((run.started, kept_runs, run) for run in kept_runs if run.id not in fixed),
                *((house.versions[version], kept, version) for version in kept if version not in house.needed),
            ],
            key=lambda candidate: candidate[0],
            default=None,
        )
        if oldest is None:
            return stay, things
        oldest[1].remove(oldest[2])  # type: ignore[attr-defined]


def _within(place: int, made: float, most: int | None, house: House, limits: RetentionSettings) -> bool:
    """Whether something is among the newest, of which it is the one at `place`, and young enough."""
    return (most is None or place < most) and _young(made, house, limits)


def _young(made: float, house: House, limits: RetentionSettings) -> bool:
    return limits.days is None or house.now - made <= limits.days * _DAY


def _staying(house: House, runs: Iterable[Run], versions: Collection[int]) -> Stay:
    """Runs with all that they took and made, and versions with all that they were made from."""
    lineage, runs = house.lineage, [*runs]
    executions = {execution for run in runs for execution in run.executions}
    artifacts = {
        artifact
        for execution in executions
        for side in (lineage.inputs, lineage.outputs)
        for artifact in side.get(execution, ())
    }
    pushers = [lineage.pushers[version] for version in versions if version in lineage.pushers]
    upstream, taken = lineage.upstream(pushers)
    artifacts |= taken | {artifact for pusher in pushers for artifact in lineage.outputs.get(pusher, ())}
    executions |= upstream | {lineage.makers[artifact] for artifact in artifacts if artifact in lineage.makers}
    return Stay(frozenset(versions), frozenset(run.id for run in runs), frozenset(executions), frozenset(artifacts))


def _going(house: House, stay: Stay, limits: RetentionSettings) -> Iterator[Thing]:
    """All that goes; files that a run is still writing are none, for there is no run."""

    def thing(kind: str, path: AnyPath) -> Thing:
        return Thing(kind, str(path), _size(path, house.sizes))

    lineage, root = house.lineage, house.root
    for version in sorted(house.versions.keys() - stay.versions):
        yield thing(VERSIONS, house.base_path / house.model / str(version))
    kept = {lineage.artifacts[artifact].uri for artifact in stay.artifacts}
    seen = set()
    for identity, artifact in sorted(lineage.artifacts.items()):
        if identity not in stay.artifacts and artifact.uri and artifact.state != _STATE.DELETED:
            seen.add(artifact.uri)
            if stores.is_uri(artifact.uri):
                yield Thing(lineage.types[identity], artifact.uri, _remote_size(artifact.uri))
            elif os.path.lexists(artifact.uri):
                yield thing(lineage.types[identity], Path(artifact.uri))
    # What a killed run, or this command, left: no metadata speak of it, or say that it is gone.
    for path in sorted(root.glob("artifacts/*/*/*")):
        if path.parent.name != ".system" and str(path) not in kept | seen:
            yield thing(TEMPORARY, path)
    for path in sorted(root.glob("artifacts/*/.system/*/*")):
        yield thing(TEMPORARY, path)
    interrupted = bool(lineage.runs) and not lineage.runs[-1].ended
    for path in sorted(root.glob("checkpoints/*")):
        if not (interrupted and _young(_changed(path), house, limits)):  # a training may go on from there
            yield thing(TEMPORARY, path)
    for path in sorted([*root.glob("tmp*"), *root.glob(".*.new"), *root.glob(COPIES)]):
        yield thing(TEMPORARY, path)
    for path in [*sorted(_unfinished(house.base_path / house.model)), *house.scratch]:
        yield thing(TEMPORARY, path)
    for place, path in enumerate(sorted(root.glob("logs/*.log"), reverse=True)):
        if place and not _within(place, _changed(path), limits.logs, house, limits):
            yield thing(LOGS, path)
    for path in sorted(root.glob("*.html")):
        if not _young(_changed(path), house, limits):
            yield thing(PAGES, path)
    for name in _SEARCH:
        path = root / "tuning" / name
        if path.exists() and not _young(_changed(path), house, limits):
            yield thing(TUNING, path)


def _delete(house: House, store: Any, stay: Stay, things: Collection[Thing]) -> None:
    """Deletes: versions first, so that none stays behind what it was made from."""
    directory = house.base_path / house.model
    versions = [int(thing.path.rpartition("/")[2]) for thing in things if thing.kind == VERSIONS]
    if versions:
        files.remove_versions(house.base_path, house.model, versions, "recommender gc")
    gone = [
        artifact
        for identity, artifact in house.lineage.artifacts.items()
        if identity not in stay.artifacts and artifact.state != _STATE.DELETED
    ]
    _mark(store, gone, _STATE.MARKED_FOR_DELETION)
    if isinstance(directory, Path):
        with locked(publish_lock(directory), lambda holder: progress(f"waiting for a publisher: {holder}")):
            for path in _unfinished(directory):
                remove(str(path))
    for thing in things:
        if thing.kind != VERSIONS:
            remove(thing.path)
    _mark(store, gone, _STATE.DELETED)


def _mark(store: Any, artifacts: Collection[Any], state: int) -> None:
    for artifact in artifacts:
        artifact.state = state
    if artifacts:
        store.put_artifacts([*artifacts])


def _delete_rows(config: Config, house: House, stay: Stay) -> int:
    """Deletes what the metadata have of runs that are gone; returns by how many bytes they became less."""
    path = house.root / "metadata.sqlite"
    if config.metadata.backend != "sqlite":
        return 0
    executions = house.lineage.executions.keys() - stay.executions
    artifacts = house.lineage.artifacts.keys() - stay.artifacts
    if not executions:
        return 0
    before = path.stat().st_size
    delete_rows(path, executions, artifacts)
    return before - path.stat().st_size


def remove(path: str) -> None:
    """Deletes a file or a folder, here or in an object store; nothing if it is gone.

    Raises:
        InputError: The store can't be reached.
    """
    if stores.is_uri(path):
        with stores.opened(path) as (store, there):
            if store.exists(there):
                store.rm(there, recursive=True)
    elif os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        Path(path).unlink(missing_ok=True)


def _idle(scratch: Path, held: contextlib.ExitStack) -> list[Path]:
    """What is in a folder that nobody works in, from whom it is kept from now on."""
    if not scratch.is_dir():
        return []
    try:
        held.enter_context(lock(scratch))
    except LockedError:
        return []
    return sorted(path for path in scratch.iterdir() if path.is_dir())


def _look(config: Config, root: Path, lineage: Lineage, scratch: Sequence[Path]) -> House:
    directory = model_dir(config.serving.base_path.absolute(), config.name)
    base_path, model = directory.parent, directory.name
    versions = {version: _published(directory / str(version)) for version in files.versions_on_disk(base_path, model)}
    needed = files.needed(base_path, model)
    live = [
        artifact.uri
        for artifact in lineage.artifacts.values()
        if artifact.state == _STATE.LIVE and not stores.is_uri(artifact.uri)
    ]
    if live and not any(uri.startswith(f"{root}{os.sep}") for uri in live):
        raise InputError(
            f"{root}: the metadata name artifacts elsewhere, such as {live[-1]}, so nobody can tell which of those here"
            " are needed: was the folder moved? Delete it by hand, or move it back"
        )
    return House(root, base_path, model, lineage, scratch, {}, versions, needed, time.time())


def _unfinished(directory: AnyPath) -> list[Path]:
    """What killed publishers left on disk; in an object store the next one deletes it."""
    return [*directory.glob(f"{UNFINISHED}*")] if isinstance(directory, Path) else []


def _published(version: AnyPath) -> float:
    """When a version was published: as it says itself, or else as its folder does."""
    said = release(version).get("time", "")
    with contextlib.suppress(ValueError, TypeError):
        return datetime.datetime.fromisoformat(said).timestamp()
    return _changed(version)


def _changed(path: AnyPath) -> float:
    if isinstance(path, ObjectPath):
        return max((info.changed for info in path.files().values()), default=0.0)
    return path.stat().st_mtime


def _size(path: AnyPath, sizes: Any) -> int:
    """Bytes of a file, or of all files in a folder; remembered, for the disk is walked more than once."""
    name = str(path)
    if name not in sizes and isinstance(path, ObjectPath):
        sizes[name] = sum(info.size for info in path.files().values())
    elif name not in sizes:
        files = [name] if os.path.lexists(name) else []
        if os.path.isdir(name) and not os.path.islink(name):
            files = [os.path.join(folder, file) for folder, _, names in os.walk(name) for file in names]
        sizes[name] = sum(os.lstat(file).st_size for file in files)
    return int(sizes[name])


def _remote_size(uri: str) -> int:
    with stores.opened(uri) as (store, path):
        return int(store.du(path)) if store.exists(path) else 0


def _by_kind(things: Iterable[Thing], rows: int) -> dict[str, dict[str, int]]:
    freed: dict[str, dict[str, int]] = defaultdict(lambda: {"count": 0, "bytes": 0})
    for thing in things:
        freed[thing.kind]["count"] += 1
        freed[thing.kind]["bytes"] += thing.bytes
    if rows:
        freed[METADATA] = {"count": 1, "bytes": rows}
    return dict(sorted(freed.items()))


def _show(facts: Mapping[str, Any], limits: RetentionSettings, console: Console) -> None:
    table = Table(title="Would go" if facts["dry_run"] else "Freed", title_justify="left")
    for name, justify in (("what", "left"), ("how many", "right"), ("MB", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for kind, of in facts["freed"].items():
        table.add_row(escape(kind.rpartition(".")[2]), f"{of['count']:,}", f"{of['bytes'] / 1e6:,.1f}")
    if facts["freed"]:
        print_table(console, table)
    before, after = facts["bytes_before"] / 1e6, facts["bytes_after"] / 1e6
    console.print(f"{before:,.1f} MB before, {after:,.1f} MB after", soft_wrap=True)
    reasons = ", ".join(f"{version} ({why})" for version, why in facts["versions"].items()) or "none"
    console.print(f"versions that stay: {escape(reasons)}", soft_wrap=True)
    console.print(f"runs that stay: {escape(', '.join(facts['runs'])) or 'none'}", soft_wrap=True)
    if limits.gigabytes is not None and facts["bytes_after"] > limits.gigabytes * 1e9:
        console.print(
            f"[yellow]more than {limits.gigabytes:g} GB[/]: all that is left is needed by what serves, by a rollback,"
            " or by the newest run",
            soft_wrap=True,
        )
