"""One run of `recommender vectors`: a folder of vectors that appears at once, if what is in it is right."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from rich.console import Console
from rich.markup import escape

from components.errors import InputError
from components.versions import check_writable, describe
from pipeline.batch.beside import work_beside
from pipeline.batch.vectors.files import (
    ITEMS,
    USERS,
    Format,
    check_output,
    file_names,
    put_vectors,
    write_manifest,
    write_vectors,
)
from pipeline.config import Config
from pipeline.failures import DONE, NOT_BLESSED
from pipeline.local.evaluate import find_model
from pipeline.terminal import Outcome, Terminal, check_interrupts
from serving import contract
from serving.files import flush_folder
from serving.stores import AnyPath, ObjectPath, download, is_object

FORMAT = 1
"""Of manifest.json."""
_BEFORE = "before"


@dataclasses.dataclass(frozen=True)
class Request:
    """What is written where."""

    out: AnyPath
    """A folder, on disk or in an object store."""
    file_format: Format = "parquet"
    fold_bias: bool = False
    """Whether an item's vector ends with its bias, and a user's with 1."""
    check: int = 200
    """For how many users the vectors are held against the servable's answers."""
    whole_model: bool = False
    """Whether they must give the servable's lists also where it has more than towers; else the towers' are enough."""


def vectors(config: Config, request: Request, version: Optional[str] = None) -> Outcome:
    """Writes both towers' vectors to a folder, all or nothing, and says how it went.

    Args:
        config: Says where versions are pushed.
        request: What is written.
        version: As for `recommender evaluate`, or the URI of a version's folder in an object store.

    Returns:
        The exit code, 3 where the vectors don't give what they must, and the facts: `out` (null where
        nothing was written), what manifest.json says, and `seconds`.

    Raises:
        InputError: The model or the place of the output is wrong.
    """
    out = request.out.absolute()
    if isinstance(out, ObjectPath):
        check_writable(out)
    check_output(request.out)
    uri = version if version is not None and is_object(version) else ""
    model = None if uri else find_model(config, version).absolute()
    if isinstance(out, Path):
        check_writable(out.parent)
    root = _beside(config, out)

    def work(console: Console) -> Outcome:
        _tidy(root, out)
        terminal = Terminal(console)
        return _run(request, model or _fetched(uri, root / "model", terminal), out, root, terminal)

    return work_beside(out, root, work)


def _beside(config: Config, out: AnyPath) -> Path:
    """The hidden folder of the work: beside the output, or for one in a store with the work of this machine."""
    if isinstance(out, Path):
        return out.with_name(f".{out.name}.vectors")
    return config.folder() / "vectors" / hashlib.sha256(str(out).encode()).hexdigest()[:16]


def _run(request: Request, model: Path, out: AnyPath, root: Path, terminal: Terminal) -> Outcome:
    started = time.monotonic()
    about = describe(model)
    if "dim" not in about:
        raise InputError(f"{model}: no servable of this pipeline: it lacks {contract.MANIFEST}")
    terminal.start("TensorFlow")
    from pipeline.batch.vectors import check  # TensorFlow: seconds
    from pipeline.batch.vectors.asking import Towers, ids_of

    new, counts, report = root / "new", {}, None
    new.mkdir()
    towers = Towers(model, request.fold_bias)
    check_interrupts()
    for kind, file, asked in ((ITEMS, contract.ITEMS, towers.items), (USERS, contract.USERS, towers.users)):
        terminal.start(kind)
        counts[kind] = sum(1 for _ in ids_of(model / file))
        write_vectors(new, kind, request.file_format, asked(ids_of(model / file)), counts[kind])
    if request.check and counts[USERS]:
        terminal.start("check")
        k = min(about["default_k"], counts[ITEMS])
        report = check.check(new, towers, counts[ITEMS], counts[USERS], request.check, k)
    check_interrupts()
    beyond = about.get(contract.BEYOND_VECTORS, [])
    faithful = report is None or report.towers.equal == 1
    enough = faithful and (report is None or report.servable.equal == 1 or (bool(beyond) and not request.whole_model))
    manifest = _manifest(request, about, model.name, counts, report.facts() if report else None)
    # Vectors that give the towers' lists are right, and of use for just that, whatever else the model has.
    written = enough or (faithful and bool(beyond))
    if written:
        write_manifest(new, manifest)
        _publish(new, out, root)
    seconds = time.monotonic() - started
    where = f"in {out}" if written else "are not right: nothing was written"
    summary = f"{counts[ITEMS]:,} items and {counts[USERS]:,} users, vectors of version {model.name} {where}"
    terminal.end("vectors", "done" if written else "failed", seconds, summary)
    if report is not None:
        said = escape(check.explain(report, beyond))
        terminal.console.print(said if enough else f"[red]{said}[/]", soft_wrap=True, highlight=False)
    place = out if isinstance(out, Path) else str(out)
    facts = {"out": place if written else None, **manifest, "seconds": seconds}
    return Outcome(DONE if enough else NOT_BLESSED, facts)


def _manifest(
    request: Request,
    about: Mapping[str, Any],
    version: str,
    counts: Mapping[str, int],
    report: Optional[dict[str, Any]],
) -> dict[str, Any]:
    """What manifest.json says of the vectors."""
    folded = request.fold_bias
    return {
        "format": FORMAT,
        "model_name": about["model_name"],
        "version": version,
        "fingerprint": about["fingerprint"],
        "num_items": counts[ITEMS],
        "num_users": counts[USERS],
        "dim": about["dim"],
        "columns": about["dim"] + folded,
        "dtype": "float32",
        "metric": "inner_product",
        "bias": "folded" if folded else "column",
        "score": "item · query" if folded else "item · query + bias",
        "files": {kind: file_names(kind, request.file_format, not folded) for kind in (ITEMS, USERS)},
        contract.BEYOND_VECTORS: about.get(contract.BEYOND_VECTORS, []),
        "check": report,
    }


def _fetched(uri: str, folder: Path, terminal: Terminal) -> Path:
    """A copy in `folder` of the version that lies at a URI.

    Raises:
        InputError: There is none, or the store can't be read.
    """
    terminal.start("download")
    source = ObjectPath(uri)
    if not (source / contract.SAVED_MODEL).is_file():
        raise InputError(f"--version {uri}: no version lies there: it lacks {contract.SAVED_MODEL}")
    model = folder / source.name
    download(source, model)
    return model


def _publish(new: Path, out: AnyPath, root: Path) -> None:
    """Puts the folder in its place."""
    if isinstance(out, ObjectPath):
        put_vectors(new, out)
        return
    # One with something in it can't be replaced in one step; `_tidy` undoes the first of two.
    if out.exists():
        out.rename(root / _BEFORE)
    new.rename(out)
    flush_folder(out.parent)


def _tidy(root: Path, out: AnyPath) -> None:
    """Puts back the folder that a run was about to replace when it was killed, and removes what else one left."""
    before = root / _BEFORE
    if isinstance(out, Path) and before.exists() and not out.exists():
        before.rename(out)
    for left in root.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
