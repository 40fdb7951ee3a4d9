"""The commands of Kubeflow Pipelines: `compile`, `submit`, `trigger`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console
from rich.markup import escape

from components.errors import InputError
from pipeline.cli.command import CommandError, command
from pipeline.cli.options import ConfigSource, HostOption, ParamOption, WaitOption
from pipeline.terminal import Outcome
from serving import stderr

if TYPE_CHECKING:
    from kubeflow.submit import Kubeflow, Package, Run

_PANEL = "Kubeflow Pipelines"
_STATES = {"SUCCEEDED": "done", "SKIPPED": "pruned"}


@command("compile", "recommender compile --config configs/movielens_100k.yaml --out pipeline.yaml", panel=_PANEL)
def compile_config(
    source: ConfigSource,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FILE", help="The file: .yaml for Kubeflow Pipelines, .json for Vertex AI."
        ),
    ] = Path("pipeline.yaml"),
) -> Outcome:
    """Compile the pipeline for Kubeflow Pipelines. What is wrong with the config is found here, not in the cluster."""
    config = source.load()
    config.kubeflow.image_reference()
    # Seconds of imports: not before what can go wrong without them has gone right.
    with stderr.held_back():
        from kubeflow.compiler import write_pipeline

    write_pipeline(config, out)
    return _told(
        f"{out}: pipeline {config.name}, image {config.kubeflow.image}",
        out=out.absolute(),
        pipeline=config.name,
        image=config.kubeflow.image,
    )


@command(
    "submit",
    "recommender submit --param epochs=5 --wait",
    'recommender submit --schedule "0 3 * * *"',
    panel=_PANEL,
)
def submit(
    source: ConfigSource,
    host: HostOption = None,
    param: ParamOption = None,
    run_name: Annotated[
        Optional[str],
        typer.Option(
            "--run-name",
            metavar="TEXT",
            help="Name of the run, or of the recurring run that takes the place of its namesake.",
        ),
    ] = None,
    schedule: Annotated[
        Optional[str],
        typer.Option(
            "--schedule",
            metavar="CRON",
            help='Set a recurring run, such as "0 3 * * *", instead of starting one; by default as the config says.',
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Start a run now, also if the config has a schedule.")] = False,
    wait: WaitOption = False,
) -> Outcome:
    """Compile the pipeline, upload it to Kubeflow Pipelines, and start a run or set a recurring one.

    The same pipeline is not uploaded twice. Who asks is told by KF_PIPELINES_TOKEN or KF_PIPELINES_COOKIE.
    """
    config = source.load()
    if once and schedule:
        raise InputError("--once and --schedule exclude each other")
    cron = None if once else schedule or config.kubeflow.schedule
    if cron and wait:
        raise InputError("--wait: a recurring run doesn't end; start a run now with --once")
    from kubeflow.submit import Kubeflow, package

    compiled = package(config)
    parameters = compiled.parameters(param or ())
    if cron and parameters.get("accept"):
        raise InputError(
            "--param accept: lets one run through, not each of a recurring run; start that one with --once"
        )
    with _failing():
        kubeflow = Kubeflow(config, host)
        if cron:
            url, changed = kubeflow.schedule(compiled, parameters, cron, run_name)
            name, state = run_name or config.name, "set" if changed else "was set already"
            return _told(
                f"recurring run {name} at {cron} {state}, version {compiled.version}: {url}",
                recurring_run=name,
                schedule=cron,
                changed=changed,
                version=compiled.version,
                url=url,
            )
        run = kubeflow.start(compiled, parameters, run_name)
        return _started(f"run {run.name} started", kubeflow, run, compiled, wait)


@command("trigger", "recommender trigger --config configs/movielens_100k.yaml", panel=_PANEL)
def trigger(
    source: ConfigSource,
    host: HostOption = None,
    param: ParamOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Start a run also if there was one for this data, such as one that failed.")
    ] = False,
    wait: WaitOption = False,
) -> Outcome:
    """Start a run if the newest partition of the log is one that no run was started for: on new data, once.

    Which data a run was started for is in its name, so nothing has to be kept here.
    """
    config = source.load()
    settings = config.kubeflow
    pattern = settings.trigger.partitions or settings.interactions_path or config.data.interactions.path
    from kubeflow.sensor import newest_partition
    from kubeflow.submit import Kubeflow, package

    partition = newest_partition(pattern)
    name = f"{config.name} data {partition.digest}"
    with _failing():
        kubeflow = Kubeflow(config, host)
        seen = kubeflow.newest(name)
        if seen and not again:
            hint = "; --again starts one more" if seen.state in ("FAILED", "CANCELED") else ""
            state = seen.state or "PENDING"
            return _told(
                f"nothing new: {partition.path} was seen by run {seen.name} ({state}): {seen.url}{hint}",
                started=False,
                partition=partition.path,
                **_about(seen, state),
            )
        compiled = package(config)
        run = kubeflow.start(compiled, compiled.parameters(param or ()), name)
        told = f"new data in {partition.path}: run {run.name} started"
        return _started(told, kubeflow, run, compiled, wait, started=True, partition=partition.path)


def _started(told: str, kubeflow: Kubeflow, run: Run, compiled: Package, wait: bool, **facts: Any) -> Outcome:
    """Says that a run was started, and if asked waits for its end."""
    console = Console(highlight=False)
    console.print(escape(f"{told}, version {compiled.version}: {run.url}"), soft_wrap=True)
    state = run.state or "PENDING"
    if wait:
        state = _wait(kubeflow, run, compiled)
        console.print(escape(f"run {run.name}: {state}"), soft_wrap=True)
    return Outcome(facts={**facts, **_about(run, state), "version": compiled.version})


def _about(run: Run, state: str) -> dict[str, str]:
    return {"run": run.name, "state": state, "url": run.url}


def _told(text: str, **facts: Any) -> Outcome:
    """One line, and the facts in it."""
    return Outcome(facts=facts, show=lambda console: console.print(escape(text), soft_wrap=True))


def _wait(kubeflow: Kubeflow, run: Run, compiled: Package) -> str:
    """Shows the nodes of a run as they end; returns its state.

    Raises:
        CommandError: It did not succeed.
    """
    from pipeline.terminal import Terminal

    terminal = Terminal(Console())
    last = kubeflow.wait(
        run,
        compiled.nodes,
        lambda task: terminal.end(task.name, _STATES.get(task.state, "failed"), task.seconds, ""),
    )
    if last.state != "SUCCEEDED":
        raise CommandError(f"run {last.name}: {last.state} {last.error}".rstrip() + f": {last.url}")
    return last.state


@contextmanager
def _failing() -> Iterator[None]:
    """Ends the command with one line when Kubeflow Pipelines fails."""
    from kubeflow.submit import KubeflowError

    try:
        yield
    except KubeflowError as error:
        raise CommandError(str(error)) from None
