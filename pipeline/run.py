"""One run of a config on this machine: what `recommender run` does."""

from __future__ import annotations

import datetime
import logging
import os
import resource
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.errors import InputError
from components.evaluator.report import CANDIDATE, Report, label, load_report
from components.versions import check_writable, model_dir
from pipeline.config import Config
from pipeline.data import data_paths
from pipeline.failures import DONE, NOT_BLESSED, explain
from pipeline.lock import lock
from pipeline.terminal import Terminal, listening, quiet


def run(config: Config, first: str | None = None, only: str | None = None) -> int:
    """Runs the pipeline and says how it went.

    Args:
        config: What to run.
        first: A node to run again with all that follows.
        only: A node to run again alone.

    Returns:
        The exit code: 0, 1, 2 for wrong input or 3 for a model that was not blessed.
    """
    started = time.monotonic()
    root = config.output.absolute() / config.name
    log_file = root / "logs" / f"{datetime.datetime.now():%Y%m%d-%H%M%S}.log"
    check_writable(root)
    check_writable(model_dir(config.serving.base_path, config.name))
    try:
        root.mkdir(parents=True, exist_ok=True)
        log_file.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{root}: can't be written: {error.strerror}; choose another place with --set output=DIR"
        ) from None
    with quiet(log_file) as console:
        console.print(
            f"[bold]{config.name}[/]: artifacts in {escape(str(root))}, log in {escape(str(log_file))}", soft_wrap=True
        )
        try:
            code = _run(config, root, first, only, Terminal(console))
        except (Exception, KeyboardInterrupt) as error:
            logging.getLogger(__name__).exception("the run failed")
            code = _report_error(error, console, root, log_file)
        memory = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        console.print(f"{time.monotonic() - started:.0f} s, peak memory {memory / 2**20:.1f} GiB", highlight=False)
    return code


def _run(config: Config, root: Path, first: str | None, only: str | None, terminal: Terminal) -> int:
    with lock(root), listening(terminal):
        terminal.start("data set", silence=0)
        data = data_paths(config)
        # Before a node has worked for minutes: are all files and columns there?
        from pipeline.validate import check_data

        list(check_data(config, data))
        terminal.start("TensorFlow and TFX")
        # Seconds of imports: not before what can go wrong without them has gone right.
        from pipeline.local_runner import run_pipeline
        from pipeline.pipeline import Paths, create_pipeline

        terminal.pause()
        paths = Paths(
            root=root,
            base_path=config.serving.base_path.absolute(),
            interactions=data.interactions,
            users=data.users,
            catalogue=data.catalogue,
            evaluation=data.evaluation,
        )
        results = run_pipeline(create_pipeline(config, paths), paths.metadata, terminal, first, only)
    code = DONE
    if "Evaluator" in results:
        report = load_report(results["Evaluator"].outputs["evaluation"].uri)
        terminal.console.print(metric_table(report))
        terminal.console.print(slice_table(report))
        for check in report.failures:
            terminal.console.print(f"[red]not blessed[/]: {escape(str(check))}", soft_wrap=True, highlight=False)
            code = NOT_BLESSED
    if "ServableValidator" in results and not _blessed(results["ServableValidator"].outputs["blessing"]):
        summary = results["ServableValidator"].summary
        terminal.console.print(
            f"[red]not blessed[/] by ServableValidator: {escape(summary)}", soft_wrap=True, highlight=False
        )
        code = NOT_BLESSED
    if "Pusher" in results:
        terminal.console.print(f"[bold]{escape(results['Pusher'].summary)}[/]", soft_wrap=True, highlight=False)
    return code


def _blessed(artifact: object) -> bool:
    return os.path.exists(os.path.join(artifact.uri, "INFRA_BLESSED"))  # type: ignore[attr-defined]


def _report_error(error: BaseException, console: Console, root: Path, log_file: Path) -> int:
    failure = explain(error, root)
    console.print(f"[red]error[/]: {escape(failure.message)}", soft_wrap=True, highlight=False)
    if not failure.expected:
        console.print(f"the whole story is in {escape(str(log_file))}", soft_wrap=True, highlight=False)
    return failure.exit_code


def metric_table(report: Report) -> Table:
    """The metrics of the candidate beside popularity and the champion, with the gain over popularity."""
    names = [name for name in report.metrics if name != CANDIDATE]
    table = Table(title=f"{report.metrics[CANDIDATE]['overall']['count']:,.0f} point-in-time queries")
    table.add_column("metric")
    for name in ("this model", *names):
        table.add_column(name, justify="right")
    for metric, values in report.rows():
        if metric != "count":
            table.add_row(label(metric), *(f"{values[name]:.4f}" for name in (CANDIDATE, *names) if name in values))
    return table


def slice_table(report: Report, metric: str = "hit_rate@10") -> Table:
    """One metric by slice, for each model."""
    names = list(report.metrics)
    if metric not in report.metrics[CANDIDATE]["overall"]:
        metric = next(name for name in report.metrics[CANDIDATE]["overall"] if name != "count")
    table = Table(title=f"{label(metric)} by slice")
    for name in ("slice", "queries", "this model", *names[1:]):
        table.add_column(name, justify="left" if name == "slice" else "right")
    for name in report.slices()[1:]:
        values = [report.metrics[model][name] for model in names]
        figures = [f"{value[metric]:.4f}" if metric in value else "too few" for value in values]
        table.add_row(escape(name), f"{values[0]['count']:,.0f}", *figures)
    return table
