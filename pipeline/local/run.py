"""One run of a config on this machine: what `recommender run` does."""

from __future__ import annotations

import datetime
import logging
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from components.errors import InputError
from components.evaluation_report import load_report
from components.versions import check_writable, model_dir
from pipeline.config import Config
from pipeline.data.paths import data_paths
from pipeline.failures import DONE, NOT_BLESSED, explain
from pipeline.local.lock import lock
from pipeline.local.tables import show_report
from pipeline.model.workers.cluster import Cluster, assist, from_environment
from pipeline.terminal import Terminal, listening, quiet

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline


def run(config: Config, first: str | None = None, only: str | None = None) -> int:
    """Runs the pipeline and says how it went; where `TF_CONFIG` names another worker than the chief, helps it train.

    Args:
        config: What to run.
        first: A node to run again with all that follows.
        only: A node to run again alone.

    Returns:
        The exit code: 0, 1, 2 for wrong input or 3 for a model that was not blessed.
    """
    cluster = from_environment(os.environ)
    if cluster is not None and not cluster.is_chief:
        return at_terminal(config, lambda root, terminal: _assist(root, cluster, terminal))
    return at_terminal(config, lambda root, terminal: _run(config, root, first, only, terminal))


def at_terminal(config: Config, work: Callable[[Path, Terminal], int]) -> int:
    """Does some work on a config's output folder: errors become one line, all other output goes to a log file.

    Args:
        config: The config.
        work: Takes the folder, `<output>/<name>`, and the terminal; returns an exit code.

    Returns:
        That exit code, or the one of the error.
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
            code = work(root, Terminal(console))
        except (Exception, KeyboardInterrupt) as error:
            logging.getLogger(__name__).exception("the run failed")
            code = _report_error(error, console, root, log_file)
        memory = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        console.print(f"{time.monotonic() - started:.0f} s, peak memory {memory / 2**20:.1f} GiB", highlight=False)
    return code


def _assist(root: Path, cluster: Cluster, terminal: Terminal) -> int:
    with listening(terminal):
        terminal.start(f"worker {cluster.index}", silence=0)
        assist(root / "checkpoints", cluster)
    _say(terminal, f"worker {cluster.index}: the training is done; worker 0 goes on with the pipeline")
    return DONE


def _run(config: Config, root: Path, first: str | None, only: str | None, terminal: Terminal) -> int:
    with lock(root), listening(terminal):
        dag, metadata = prepare(config, root, terminal)
        return run_nodes(config, root, dag, metadata, terminal, first=first, only=only)


def run_nodes(config: Config, root: Path, dag: Pipeline, metadata: Any, terminal: Terminal, **chosen: Any) -> int:
    """Runs a DAG, writes the run's page, and says how it went.

    Args:
        config: The config.
        root: Its output folder.
        dag: The DAG.
        metadata: How its metadata are reached, a ConnectionConfig.
        terminal: Where to say what is done.
        **chosen: Which nodes to run: see `pipeline.local.runner.run_pipeline`.

    Returns:
        The exit code: 0, or 3 for a model that was not blessed.
    """
    from pipeline.local.runner import new_run_id, run_pipeline

    run_id = new_run_id()
    try:
        results = run_pipeline(dag, metadata, terminal, run_id=run_id, **chosen)
    except Exception as error:
        _say(terminal, _report(config, root, metadata, run_id, explain(error, root).message, terminal))
        raise
    page = _report(config, root, metadata, run_id, "", terminal)
    code = DONE
    if "Evaluator" in results:
        code = show_report(load_report(results["Evaluator"].outputs["evaluation"].uri), terminal.console)
    if "ServableValidator" in results and not _blessed(results["ServableValidator"].outputs["blessing"]):
        summary = results["ServableValidator"].summary
        _say(terminal, f"[red]not blessed[/] by ServableValidator: {escape(summary)}")
        code = NOT_BLESSED
    _say(terminal, page)
    if "Pusher" in results:
        _say(terminal, f"[bold]{escape(results['Pusher'].summary)}[/]")
    return code


def _say(terminal: Terminal, line: str) -> None:
    if line:
        terminal.console.print(line, soft_wrap=True, highlight=False)


def _report(config: Config, root: Path, metadata: Any, run_id: str, failure: str, terminal: Terminal) -> str:
    """Writes the run's page; returns the line that says where it is, or why there is none. A run never fails by it."""
    out = root / "report.html"
    terminal.start("report")
    try:
        from pipeline.report.write import report_of_run

        written = report_of_run(config, metadata, run_id, failure, out)
    except Exception as error:
        logging.getLogger(__name__).exception("the report failed")
        return f"[yellow]no report[/]: {escape(explain(error, root).message)}"
    finally:
        terminal.pause()
    return f"report: {escape(str(out))}" if written else ""


def prepare(config: Config, root: Path, terminal: Terminal, trained_catalogue: str = "") -> tuple[Pipeline, Any]:
    """Fetches and checks the data; returns the DAG and how its metadata are reached, a ConnectionConfig.

    Args:
        config: The config.
        root: Its output folder.
        terminal: Where to say what is done.
        trained_catalogue: See `pipeline.pipeline.Paths`.

    Raises:
        InputError: The data can't be had or are wrong, or the metadata can't be reached.
    """
    terminal.start("data set", silence=0)
    data = data_paths(config)
    # Before a node has worked for minutes: are all files and columns there?
    from pipeline.data.validate import check_data

    list(check_data(config, data))
    data = data.absolute()
    terminal.start("TensorFlow and TFX")
    # Seconds of imports: not before what can go wrong without them has gone right.
    from pipeline.metadata import Handle, connection_config
    from pipeline.pipeline import Paths, create_pipeline

    terminal.pause()
    connection = connection_config(config)
    with Handle(connection):
        pass  # says what is wrong with the metadata's server before anything else
    paths = Paths(
        artifacts=str(root / "artifacts"),
        base_path=str(config.serving.base_path.absolute()),
        interactions=data.interactions,
        users=data.users,
        catalogue=data.catalogue,
        evaluation=data.evaluation,
        checkpoints=str(root / "checkpoints"),
        trained_catalogue=trained_catalogue,
    )
    return create_pipeline(config, paths), connection


def _blessed(artifact: object) -> bool:
    return os.path.exists(os.path.join(artifact.uri, "INFRA_BLESSED"))  # type: ignore[attr-defined]


def _report_error(error: BaseException, console: Console, root: Path, log_file: Path) -> int:
    failure = explain(error, root)
    console.print(f"[red]error[/]: {escape(failure.message)}", soft_wrap=True, highlight=False)
    if not failure.expected:
        console.print(f"the whole story is in {escape(str(log_file))}", soft_wrap=True, highlight=False)
    return failure.exit_code
