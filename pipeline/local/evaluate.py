"""`recommender evaluate`: judges a model that is there already, without training one."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from rich.markup import escape

from components.errors import InputError
from components.evaluation_report import CANDIDATE, save_report
from components.versions import check_writable, list_versions, model_dir
from pipeline.beam_args import beam_args, check_job_service
from pipeline.config import Config
from pipeline.failures import DONE
from pipeline.local.lock import lock
from pipeline.local.run import at_terminal, prepare
from pipeline.local.tables import show_report
from pipeline.terminal import Outcome, Terminal, check_interrupts, listening
from serving import contract


def evaluate(config: Config, version: str | None = None, out: Path | None = None) -> Outcome:
    """Evaluates a model as the pipeline's Evaluator would, without a champion, and says how it did.

    Interactions and catalogue come from the cache of the pipeline, or are made first.

    Args:
        config: The pipeline whose data and evaluation settings are taken.
        version: The number of a pushed version, or the directory of a SavedModel; by default the newest version.
        out: Where the files that the Evaluator writes are kept: `metrics.json` and TFMA's. By default nowhere.

    Returns:
        The exit code, 3 for a threshold that is not met, and the facts: `name`, `model`, `blessed`, `evaluation` (the
        report) and `out`.
    """
    path = find_model(model_dir(config.serving.base_path, config.name), version)
    if out is not None:
        check_writable(out)
    return at_terminal(config, lambda root, terminal: _evaluate(config, root, path, out, terminal))


def find_model(versions: Path, version: str | None) -> Path:
    """Returns the directory of the SavedModel that `version` names.

    Args:
        versions: `<base path>/<name>`, which holds the pushed versions.
        version: See `evaluate`.

    Raises:
        InputError: There is no such version or SavedModel.
    """
    pushed = {str(version.number): version.path for version in list_versions(versions)}
    if version is None and not pushed:
        raise InputError(f"{versions}: no version; make one with `recommender run`, or name one by --version")
    if version is None:
        return list(pushed.values())[-1]
    if version in pushed:
        return pushed[version]
    if (Path(version) / contract.SAVED_MODEL).is_file():
        return Path(version)
    there = ", ".join(pushed) or "none"
    raise InputError(
        f"--version {version}: neither a version in {versions} (there are: {there}) nor the directory of a SavedModel"
    )


def _evaluate(config: Config, root: Path, model: Path, out: Path | None, terminal: Terminal) -> Outcome:
    with lock(root), listening(terminal):
        dag, metadata = prepare(config, root, terminal)
        from pipeline.local.runner import run_pipeline

        results = run_pipeline(dag, metadata, terminal, before="CatalogueTransform")
        started = time.monotonic()
        arguments = beam_args(config.beam.pipeline_args)
        check_job_service(arguments)
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
    return Outcome(
        code, {"name": config.name, "model": model, "blessed": code == DONE, "evaluation": report, "out": out}
    )
