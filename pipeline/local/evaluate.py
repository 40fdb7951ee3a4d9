"""`recommender evaluate`: judges a model that is there already, without training one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from rich.markup import escape

from components.errors import InputError
from components.evaluation_report import CANDIDATE, save_report
from components.progress import progress
from components.versions import check_writable, model_dir, release
from pipeline.beam_args import beam_args, check_beam
from pipeline.config import Config
from pipeline.failures import DONE
from pipeline.local.output import working
from pipeline.local.run import at_terminal, prepare
from pipeline.local.tables import show_report
from pipeline.terminal import Outcome, Terminal, check_interrupts, listening
from serving import contract
from serving.files import find_versions
from serving.stores import ObjectPath, download

COPIES = "versions"
"""The folder below `<output>/<name>` with the copy of a version that lies in an object store."""


def evaluate(config: Config, version: str | None = None, out: Path | None = None) -> Outcome:
    """Evaluates a model as the pipeline's Evaluator would, without a champion, and says how it did.

    Interactions and catalogue come from the cache of the pipeline, or are made first.

    Args:
        config: The pipeline whose data and evaluation settings are taken.
        version: The number of a pushed version, or the directory of a SavedModel; by default the newest version.
        out: Where the files that the Evaluator writes are kept: `metrics.json` and TFMA's. By default nowhere.

    Returns:
        The exit code, 3 for a threshold that is not met, and the facts: `name`, `model`, `blessed`, `evaluation` (the
        report), `has_seen`, whether it is a version that was trained on the very events of the evaluation, and `out`.
    """
    path = find_model(config, version)
    if out is not None:
        check_writable(out)
    return at_terminal(config, lambda root, terminal: _evaluate(config, root, path, out, terminal))


def find_model(config: Config, version: str | None, option: str = "--version") -> Path:
    """Returns the directory of the SavedModel that `version` names.

    Args:
        config: Says where versions are pushed. From an object store one is copied below `output`.
        version: See `evaluate`.
        option: By which it was named, for messages.

    Raises:
        InputError: There is no such version or SavedModel.
    """
    versions = model_dir(config.serving.base_path, config.name)
    pushed = {str(number): path for number, path in find_versions(versions).items()}
    if version is None and not pushed:
        raise InputError(f"{versions}: no version; make one with `recommender run`, or name one by {option}")
    if version is None:
        version = list(pushed)[-1]
    if version in pushed:
        path = pushed[version]
        return _copied(path, config.folder() / COPIES) if isinstance(path, ObjectPath) else path
    if (Path(version) / contract.SAVED_MODEL).is_file():
        return Path(version)
    there = ", ".join(pushed) or "none"
    raise InputError(
        f"{option} {version}: neither a version in {versions} (there are: {there}) nor the directory of a SavedModel"
    )


def _copied(version: ObjectPath, folder: Path) -> Path:
    """A copy of a version, which is made once; `recommender gc` deletes it."""
    info = (version / contract.SAVED_MODEL).info()
    digest = hashlib.sha256(f"{version}\0{info.tag if info else ''}".encode()).hexdigest()[:16]
    copy = folder / digest / version.name
    if not copy.is_dir():
        unfinished = folder / f".{os.getpid()}"
        shutil.rmtree(unfinished, ignore_errors=True)
        progress(f"copying {version}")
        download(version, unfinished)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.is_dir():  # another command may have been faster
            unfinished.rename(copy)
    return copy


def _evaluate(config: Config, root: Path, model: Path, out: Path | None, terminal: Terminal) -> Outcome:
    with listening(terminal), working(config, root):
        dag, metadata = prepare(config, root, terminal)
        from pipeline.local.runner import run_pipeline

        results = run_pipeline(dag, metadata, terminal, before="CatalogueTransform")
        started = time.monotonic()
        arguments = beam_args(config.beam.pipeline_args)
        check_beam(arguments)
        terminal.start("evaluation", silence=0)
        import apache_beam as beam

        from components.evaluator import analysis

        check_interrupts()
        [evaluator] = (node for node in dag.components if node.id == "Evaluator")
        # Not where the system has its temporary files, which Beam's workers may not share.
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            output = scratch if out is None else str(out.absolute())
            os.makedirs(output, exist_ok=True)
            report = analysis.evaluate(
                lambda: beam.Pipeline(argv=arguments),
                results["InteractionGen"].outputs["examples"].uri,
                results["CatalogueGen"].outputs["examples"].uri,
                json.loads(evaluator.exec_properties["item_features"]),
                {CANDIDATE: str(model.absolute())},
                config.evaluation,
                output,
            )
            save_report(report, output)
        terminal.end("evaluation", "done", time.monotonic() - started, report.summary())
    code = show_report(report, terminal.console)
    kept = f"; {escape(str(out))} has the figures" if out is not None else ""
    terminal.console.print(f"this model: [bold]{escape(str(model))}[/]{kept}", soft_wrap=True, highlight=False)
    has_seen = bool(release(model).get("judged"))
    if has_seen:
        terminal.console.print(
            "[yellow]it has seen the answers[/]: this version was trained on all events, these among them; the figures "
            "of what was judged for it are those of `recommender versions`",
            soft_wrap=True,
            highlight=False,
        )
    facts = {
        "name": config.name,
        "model": model,
        "blessed": code == DONE,
        "evaluation": report,
        "has_seen": has_seen,
        "out": out,
    }
    return Outcome(code, facts)
