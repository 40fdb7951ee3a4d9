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

from components.breaches import BreachError
from components.errors import InputError
from components.evaluation_report import load_report
from components.versions import check_writable, model_dir
from pipeline.config import Config
from pipeline.data.paths import data_paths
from pipeline.failures import DONE, NOT_BLESSED, explain
from pipeline.local.output import working
from pipeline.local.tables import show_report
from pipeline.model.workers.cluster import Cluster, assist, from_environment
from pipeline.nodes import check_node
from pipeline.terminal import Outcome, Terminal, listening, quiet, remembered_interrupts
from pipeline.variables import WORK

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline


def run(
    config: Config, first: str | None = None, only: str | None = None, accept: str = "", full: bool = False
) -> Outcome:
    """Runs the pipeline and says how it went; where `TF_CONFIG` names another worker than the chief, helps it train.

    Args:
        config: What to run.
        first: A node to run again with all that follows.
        only: A node to run again alone.
        accept: Why data out of the limits of `guards` are let through this time; empty stops at such data.
        full: Whether to begin anew where the config has runs go on.

    Returns:
        How it ended; of a run that came to its end the facts are those of `run_nodes`.

    Raises:
        InputError: There is no such node.
    """
    check_node(first, "--from")
    check_node(only, "--only")
    cluster = from_environment(os.environ)
    if cluster is not None and not isinstance(config.output, Path):
        raise InputError(f"TF_CONFIG: workers share a folder, and output is {config.output}: mount one and name that")
    if cluster is not None and not cluster.is_chief:
        return at_terminal(config, lambda root, terminal: _assist(root, cluster, terminal))
    return at_terminal(config, lambda root, terminal: _run(config, root, first, only, accept, full, terminal))


def at_terminal(config: Config, work: Callable[[Path, Terminal], Outcome]) -> Outcome:
    """Does some work on a config's output folder: errors become one line, all other output goes to a log file.

    Args:
        config: The config.
        work: Takes the folder, `<output>/<name>`, and the terminal, and says how it ended.

    Returns:
        That, the facts with `log` and `seconds`, or the exit code of the error.
    """
    started = time.monotonic()
    place, root = config.place(), config.folder()
    log_file = root / "logs" / f"{datetime.datetime.now():%Y%m%d-%H%M%S}.log"
    check_writable(place)
    check_writable(root)
    check_writable(model_dir(config.serving.base_path, config.name))
    try:
        root.mkdir(parents=True, exist_ok=True)
        log_file.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{root}: can't be written: {error.strerror}; choose another place with {_elsewhere(config)}"
        ) from None
    with remembered_interrupts(), quiet(log_file) as console:
        console.print(
            f"[bold]{config.name}[/]: artifacts in {escape(str(place))}, log in {escape(str(log_file))}", soft_wrap=True
        )
        try:
            outcome = work(root, Terminal(console))
        except (Exception, KeyboardInterrupt) as error:
            logging.getLogger(__name__).exception("the run failed")
            outcome = _failed(error, console, root, log_file)
        seconds = time.monotonic() - started
        memory = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        console.print(f"{seconds:.0f} s, peak memory {memory / 2**20:.1f} GiB", highlight=False)
    if outcome.facts is None:
        return outcome
    return Outcome(outcome.exit_code, {**outcome.facts, "log": log_file, "seconds": seconds})


def _elsewhere(config: Config) -> str:
    """How to write to another disk."""
    return "--set output=DIR" if isinstance(config.output, Path) else f"{WORK}=DIR"


def _assist(root: Path, cluster: Cluster, terminal: Terminal) -> Outcome:
    with listening(terminal):
        terminal.start(f"worker {cluster.index}", silence=0)
        assist(root / "checkpoints", cluster)
    _say(terminal, f"worker {cluster.index}: the training is done; worker 0 goes on with the pipeline")
    return Outcome(DONE, {"worker": cluster.index})


def _run(
    config: Config, root: Path, first: str | None, only: str | None, accept: str, full: bool, terminal: Terminal
) -> Outcome:
    with listening(terminal), working(config, root) as keep:
        dag, metadata = prepare(config, root, terminal, accept=accept, on=not full)
        return run_nodes(config, root, dag, metadata, terminal, first=first, only=only, keep=keep)


def run_nodes(config: Config, root: Path, dag: Pipeline, metadata: Any, terminal: Terminal, **chosen: Any) -> Outcome:
    """Runs a DAG, writes the run's page, and says how it went.

    Args:
        config: The config.
        root: Its output folder.
        dag: The DAG.
        metadata: How its metadata are reached, a ConnectionConfig.
        terminal: Where to say what is done.
        **chosen: Which nodes to run: see `pipeline.local.runner.run_pipeline`.

    Returns:
        The exit code, 0 or 3 for a model that was not blessed, and the facts: `name`, `run`, `nodes`, `blessed` and
        `evaluation`, the Evaluator's report (both null where it was not run), `pushed`, the version that serves this
        model and whether it is new (null where there is none), `breaches`, limits of the data that were not kept, and
        `report`, the run's page. Data that stop the run are an outcome too, with the code 3.
    """
    from pipeline.local.runner import new_run_id, run_pipeline, stock_summary

    run_id = new_run_id()
    try:
        results = run_pipeline(dag, metadata, terminal, run_id=run_id, **chosen)
    except BreachError as error:
        said, page = _report(config, root, metadata, run_id, explain(error, root).message, terminal)
        _say(terminal, said)
        return _breached(config, run_id, error, metadata, page, terminal)
    except Exception as error:
        _say(terminal, _report(config, root, metadata, run_id, explain(error, root).message, terminal)[0])
        raise
    said, page = _report(config, root, metadata, run_id, "", terminal)
    code, evaluation = DONE, None
    if "Evaluator" in results:
        evaluation = load_report(results["Evaluator"].outputs["evaluation"].uri)
        code = show_report(evaluation, terminal.console)
    if "ServableValidator" in results and not _blessed(results["ServableValidator"].outputs["blessing"]):
        summary = results["ServableValidator"].summary
        _say(terminal, f"[red]not blessed[/] by ServableValidator: {escape(summary)}")
        code = NOT_BLESSED
    _say(terminal, said)
    if "Pusher" in results:
        _say(terminal, f"[bold]{escape(results['Pusher'].summary)}[/]")
    facts = {
        "name": config.name,
        "run": run_id,
        "nodes": [
            {
                "node": node.name,
                "state": node.state,
                "seconds": node.seconds,
                "summary": node.summary or stock_summary(node),
            }
            for node in results.values()
        ],
        "blessed": code == DONE if evaluation else None,
        "evaluation": evaluation,
        "pushed": _pushed(results["Pusher"].outputs["pushed_model"]) if "Pusher" in results else None,
        "breaches": _accepted(results["Guards"].outputs["profile"]) if "Guards" in results else [],
        "report": page,
    }
    return Outcome(code, facts)


def _breached(
    config: Config, run_id: str, error: BreachError, metadata: Any, page: Path | str | None, terminal: Terminal
) -> Outcome:
    """Says what data stopped a run."""
    terminal.console.print(f"[red]error[/]: {escape(str(error))}", soft_wrap=True, highlight=False)
    facts = {
        "name": config.name,
        "run": run_id,
        "nodes": _ran(config, metadata, run_id),
        "blessed": None,
        "evaluation": None,
        "pushed": None,
        "breaches": error.breaches,
        "report": page,
    }
    return Outcome(NOT_BLESSED, facts)


def _ran(config: Config, metadata: Any, run_id: str) -> list[dict[str, Any]]:
    """The nodes of a run that was stopped, as the metadata have them."""
    from pipeline.metadata import open_store
    from pipeline.report.history import History, read_run

    nodes = read_run(History(open_store(metadata), config.name), run_id).nodes.values()
    return [
        {"node": node.name, "state": node.state, "seconds": node.seconds, "summary": node.summary} for node in nodes
    ]


def _accepted(artifact: Any) -> list[str]:
    """The breaches that Guards let through."""
    about = artifact.custom_properties
    return about["breaches"].string_value.split("\n") if "breaches" in about else []


def _pushed(artifact: Any) -> dict[str, Any] | None:
    """What the Pusher says of the version that serves the run's model; None if there is none."""
    about = artifact.custom_properties
    if "version" not in about:
        return None
    return {
        "version": int(about["version"].string_value),
        "new": bool(about["pushed"].int_value),
        "path": about["pushed_destination"].string_value,
    }


def _say(terminal: Terminal, line: str) -> None:
    if line:
        terminal.console.print(line, soft_wrap=True, highlight=False)


def _report(
    config: Config, root: Path, metadata: Any, run_id: str, failure: str, terminal: Terminal
) -> tuple[str, Path | str | None]:
    """Writes the run's page, by which no run fails; says where it is, or why there is none, and returns it too."""
    out = root / "report.html"
    page = out if isinstance(config.output, Path) else str(config.place() / out.name)
    terminal.start("report")
    try:
        from pipeline.report.write import report_of_run

        written = report_of_run(config, metadata, run_id, failure, out)
    except Exception as error:
        logging.getLogger(__name__).exception("the report failed")
        return f"[yellow]no report[/]: {escape(explain(error, root).message)}", None
    finally:
        terminal.pause()
    return (f"report: {escape(str(page))}", page) if written else ("", None)


def prepare(
    config: Config,
    root: Path,
    terminal: Terminal,
    trained_catalogue: str = "",
    accept: str = "",
    on: bool = False,
    went_on_from: str = "",
) -> tuple[Pipeline, Any]:
    """Fetches and checks the data; returns the DAG and how its metadata are reached, a ConnectionConfig.

    Args:
        config: The config.
        root: Its output folder.
        terminal: Where to say what is done.
        trained_catalogue: See `pipeline.pipeline.Paths`.
        accept: See `pipeline.pipeline.create_pipeline`.
        on: Whether to go on from the last shipped model, where the config has runs go on and it can be.
        went_on_from: See `pipeline.pipeline.Paths`.

    Raises:
        InputError: The data can't be had or are wrong, or the metadata can't be reached.
    """
    terminal.start("data set", silence=0)
    data = data_paths(config)
    # Before a node has worked for minutes: are all files and columns there?
    from pipeline.data.validate import check_data

    config = check_data(config, data)
    data = data.absolute()
    terminal.start("TensorFlow and TFX")
    # Seconds of imports: not before what can go wrong without them has gone right.
    from pipeline.local.incremental import find_before
    from pipeline.metadata import Handle, connection_config
    from pipeline.pipeline import Paths, create_pipeline, origin

    terminal.pause()
    connection = connection_config(config)
    before = None
    with Handle(connection) as handle:  # says what is wrong with the metadata's server before anything else
        if on and config.incremental is not None:
            before, why = find_before(config, data.interactions, origin(config), handle.store)
            _say(terminal, escape(why))
    paths = Paths(
        artifacts=str(root / "artifacts"),
        base_path=str(config.serving.base_path.absolute()),
        interactions=data.interactions,
        users=data.users,
        catalogue=data.catalogue,
        evaluation=data.evaluation,
        checkpoints=str(root / "checkpoints"),
        trained_catalogue=trained_catalogue,
        before=before,
        went_on_from=went_on_from,
        suppression=str(config.suppression()),
    )
    return create_pipeline(config, paths, accept=accept), connection


def _blessed(artifact: object) -> bool:
    return os.path.exists(os.path.join(artifact.uri, "INFRA_BLESSED"))  # type: ignore[attr-defined]


def _failed(error: BaseException, console: Console, root: Path, log_file: Path) -> Outcome:
    failure = explain(error, root)
    console.print(f"[red]error[/]: {escape(failure.message)}", soft_wrap=True, highlight=False)
    if failure.expected:
        return Outcome(failure.exit_code, error=failure.message)
    story = f"the whole story is in {log_file}"
    console.print(escape(story), soft_wrap=True, highlight=False)
    return Outcome(failure.exit_code, error=f"{failure.message}; {story}")
