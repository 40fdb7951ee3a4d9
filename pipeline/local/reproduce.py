"""`recommender reproduce`: whether a version can be made again, by what it says that it was made by, and does so."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from components.errors import InputError
from components.pusher.origin import ORIGIN, read_origin, surroundings
from components.tables.reading import TableFile, digests, find_files
from components.versions import fingerprint
from pipeline.code import digest
from pipeline.config import Config
from pipeline.failures import DONE, NOT_BLESSED
from pipeline.local.evaluate import find_model
from pipeline.local.lock import lock
from pipeline.local.run import run
from pipeline.terminal import MARKS, Outcome
from serving.files import replacing

_BLOCK = 1 << 22
_ACCEPTED = "made again by recommender reproduce"

Files = Mapping[str, Sequence[Mapping[str, Any]]]
"""Which files a version was made from, see `components.data_profile.FILES`."""


@dataclass(frozen=True)
class Difference:
    """Something that is not as it was."""

    what: str
    """`file`, `config`, `code`, `package`, `python`, `machine` or `run`."""
    name: str
    was: str
    now: str
    stops: bool = False
    """Whether the version can't be made again with it; else it may turn out otherwise."""

    def __str__(self) -> str:
        return f"{self.what} {self.name}: was {self.was}, is {self.now}" + (" (so it can't be done)" * self.stops)


def reproduce(config: Config, version: str, check: bool = False) -> Outcome:
    """Says whether a version can be made again, and makes it in a folder of its own.

    Args:
        config: Says where the version lies and where the work is done; what is run is the version's own config.
        version: Its number, or the folder of a SavedModel.
        check: Only say whether.

    Returns:
        The exit code, 0 for the same fingerprint, or with `check` if nothing differs, else 3, and the facts: `version`,
        `fingerprint`, `reproducible`, `differences`, `reproduced` (the fingerprint that came of it, or null), `same`
        (null where it was not made), `out` (where what differs was left, or null).

    Raises:
        InputError: There is no such version, or it doesn't say what it was made by.
    """
    path = find_model(config, version)
    record = read_origin(path)
    if not record:
        raise InputError(
            f"{path}: it doesn't say what it was made by ({ORIGIN}): this project has versions say so since 0.3"
        )
    differences = find_differences(record)
    facts: dict[str, Any] = {
        "version": path,
        "fingerprint": fingerprint(path),
        "reproducible": not any(found.what != "machine" for found in differences),
        "differences": [asdict(found) for found in differences],
        "reproduced": None,
        "same": None,
        "out": None,
    }
    if check:
        return Outcome(
            DONE if facts["reproducible"] else NOT_BLESSED, facts, functools.partial(_show, path, differences, check)
        )
    _show(path, differences, check, Console(highlight=False))
    if any(found.stops for found in differences):
        return Outcome(NOT_BLESSED, facts)
    return _make(config, record, facts)


def find_differences(record: Mapping[str, Any]) -> list[Difference]:
    """What is not as it was when a version was made.

    Args:
        record: What it says that it was made by.
    """
    return [
        *_of_run(record),
        *(found for files in record["files"].values() for file in files for found in _of_file(file)),
        *_of_patterns(record["files"]),
        *_of_code(record["code"]),
        *_of_surroundings(record["surroundings"], surroundings()),
    ]


def _of_run(record: Mapping[str, Any]) -> Iterator[Difference]:
    if record["reindexed"]:
        yield Difference(
            "run", "reindex", "another catalogue under a model that was there", "a run from the start", stops=True
        )
    if record.get("went_on"):
        yield Difference("run", "incremental", "went on from a version before", "a run from the start", stops=True)
    for name in record["parameters"]:
        yield Difference("run", f"parameter {name}", "given at run time, and not noted", "as in the config")
    if not record["files"]:
        yield Difference("run", "files", "not noted", "unknown", stops=True)
    try:
        list_of_forgotten = Config.model_validate(record["config"]).suppression()
        if "suppression" not in record["files"] and list_of_forgotten.exists():
            yield Difference(
                "file", str(list_of_forgotten), "not there", "a list of users who are forgotten", stops=True
            )
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        yield Difference("config", key, "valid", f"refused: {problem['msg']}", stops=True)


def _of_file(file: Mapping[str, Any]) -> Iterator[Difference]:
    path, was = file["path"], f"{file['bytes']:,} bytes"
    if not file["digest"]:
        yield Difference("file", path, f"{was}, without a digest, as the run was on Kubeflow Pipelines", "unknown")
        return
    try:
        [found] = find_files(path, "csv", "file")  # of which format is nothing to its bytes
    except (InputError, ValueError):
        yield Difference("file", path, was, "gone", stops=True)
        return
    if found.size < file["bytes"] or _digest_of(found, file["bytes"]) != file["digest"]:
        yield Difference("file", path, was, f"{found.size:,} bytes of another content", stops=True)
    elif found.size > file["bytes"] and "://" in path:
        yield Difference("file", path, was, f"{found.size:,} bytes, of which it had the first", stops=True)


def _of_patterns(files: Files) -> Iterator[Difference]:
    """In an object store it is the pattern that is read, not the files that it matched."""
    for what, listed in files.items():
        remote = [file["path"] for file in listed if "://" in file["path"]]
        if len(remote) > 1:
            folder = os.path.commonpath([path.partition("://")[2] for path in remote])
            there = find_files(f"{remote[0].partition('://')[0]}://{folder}", "csv", what)
            if {file.path for file in there} != set(remote):
                yield Difference("file", folder, f"{len(remote)} files", f"{len(there)} files", stops=True)


def _digest_of(file: TableFile, size: int) -> str:
    return digests([file], size)[0]


def _of_code(code: Mapping[str, Any]) -> Iterator[Difference]:
    for node, was in code.items():
        try:
            now = digest(*was["modules"])
        except ModuleNotFoundError as error:
            now = str(error)
        if now != was["digest"]:
            yield Difference("code", node, was["digest"][:12], now[:12])


def _of_surroundings(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    if was["python"] != now["python"]:
        yield Difference("python", "", was["python"], now["python"])
    for what, plural in (("package", "packages"), ("machine", "machine")):
        for name in sorted(was[plural].keys() | now[plural].keys()):
            before, after = was[plural].get(name, "not there"), now[plural].get(name, "not there")
            if before != after:
                yield Difference(what, name, before, after)


def _make(config: Config, record: Mapping[str, Any], facts: dict[str, Any]) -> Outcome:
    scratch = scratch_of(config)
    scratch.mkdir(parents=True, exist_ok=True)
    with lock(scratch):
        empty(scratch)
        outcome = run(config_of(record, scratch), accept=_ACCEPTED)
        if outcome.facts is None:
            return outcome
        pushed = outcome.facts["pushed"]
        made = fingerprint(pushed["path"]) if pushed else None
        same = made == facts["fingerprint"]
        facts = {**facts, "reproduced": made, "same": same, "out": None if same else scratch}
        if same:
            empty(scratch)
    return Outcome(DONE if same else NOT_BLESSED, facts, functools.partial(_show_made, facts, outcome))


def scratch_of(config: Config) -> Path:
    """The folder in which a pipeline's versions are made again, beside its output."""
    return config.folder().with_name(f".{config.name}.reproduce")


def empty(scratch: Path) -> None:
    """Deletes what is in the folder of `scratch_of`, but for the lock."""
    for leftover in scratch.iterdir():
        if leftover.is_dir():
            shutil.rmtree(leftover)


def config_of(record: Mapping[str, Any], scratch: Path) -> Config:
    """Returns a version's config, with the files that it was made from and no others, and places of its own.

    Files here are linked to from the folder, and of a log that has grown since, its beginning is copied. The limit of
    latency is left out, for the machine may be busy.

    Args:
        record: What the version says that it was made by.
        scratch: An empty folder.
    """
    content = json.loads(json.dumps(record["config"]))
    content |= {"output": str(scratch), "cache": True}
    content["serving"] |= {"base_path": str(scratch / "models"), "retain": None}
    content["validation"] |= {"max_latency_ms": None}
    data = content["data"]
    data["dataset"] = None
    for what, files in record["files"].items():
        if what == "suppression":  # its key is beside it
            content["privacy"]["suppression"] = files[0]["path"]
            continue
        path = lay_out(files, scratch / "data" / what)
        if path is None:
            continue
        feature, _, key = what.rpartition(".")
        if what == "interactions":
            data["interactions"]["path"] = path
        elif what == "users":
            data["interactions"]["users"]["path"] = path
        elif what == "eval":
            data["interactions"]["split"]["eval_path"] = path
        elif what == "catalogue":
            data["catalogue"]["path"] = path
        else:
            data["catalogue"]["features"][feature][key] = path
    return Config.model_validate(content)


def lay_out(files: Sequence[Mapping[str, Any]], folder: Path) -> str | None:
    """Links to files from a folder that has no others, in the order and the folders that they were in.

    Args:
        files: The files, with `path` and `bytes`.
        folder: Made where it is missing.

    Returns:
        The path to read: the only file, or the folder; None for files in an object store, which stay where they are.
    """
    paths = [Path(file["path"]).absolute() for file in files if "://" not in file["path"]]
    if len(paths) < len(files):
        return None
    common = Path(os.path.commonpath([path.parent for path in paths]))
    # Folders that tell the value of a column, such as dt=2026-01-02, are a part of what is read.
    told = next((place for place, part in enumerate(common.parts) if "=" in part), len(common.parts))
    for path, file in zip(paths, files):
        target = folder.joinpath(*path.parts[told:])
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.stat().st_size > file["bytes"]:
            _copy_beginning(path, target, file["bytes"])
        else:
            target.symlink_to(path)
    return str(folder.joinpath(*paths[0].parts[told:]) if len(paths) == 1 else folder)


def _copy_beginning(source: Path, target: Path, size: int) -> None:
    with open(source, "rb") as whole, replacing(target, "wb") as part:
        while block := whole.read(min(size, _BLOCK)):
            part.write(block)
            size -= len(block)


def _show(path: Path, differences: Sequence[Difference], check: bool, console: Console) -> None:
    for found in differences:
        console.print(f"[yellow]differs[/]: {escape(str(found))}", soft_wrap=True)
    if any(found.stops for found in differences):
        console.print(f"{MARKS['failed']} {escape(str(path))} can't be made again", soft_wrap=True)
    elif not differences or all(found.what == "machine" for found in differences):
        console.print(
            f"{MARKS['done']} {escape(str(path))}: files, code and packages are what they were", soft_wrap=True
        )
    elif check:
        console.print(f"{escape(str(path))} can be made again, and may turn out otherwise", soft_wrap=True)


def _show_made(facts: Mapping[str, Any], outcome: Outcome, console: Console) -> None:
    if facts["same"]:
        console.print(f"{MARKS['done']} the same fingerprint: {facts['fingerprint']}", soft_wrap=True)
        return
    if facts["reproduced"] is None:
        breaches = outcome.facts["breaches"]
        why = f"the run stopped: {'; '.join(breaches)}" if breaches else "what came of it is not blessed"
    else:
        why = f"another fingerprint: was {facts['fingerprint']}, is {facts['reproduced']}"
        names = [f"{found['what']} {found['name']}".strip() for found in facts["differences"]]
        why += f"; what differs: {', '.join(names) or 'nothing that is known'}"
    console.print(f"{MARKS['failed']} {escape(why)}; all of it is in {escape(str(facts['out']))}", soft_wrap=True)
