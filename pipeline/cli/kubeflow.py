"""The commands of Kubeflow Pipelines: `compile`, `submit`, `trigger`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console
from rich.markup import escape

from components.errors import InputError
from pipeline.cli.options import DEFAULT_CONFIG, ConfigOption, OverridesOption, SetOption

if TYPE_CHECKING:
    from kubeflow.submit import Kubeflow, Package, Run

_STATES = {"SUCCEEDED": "done", "SKIPPED": "pruned"}

HostOption = Annotated[
    Optional[str],
    typer.Option(help="The API of Kubeflow Pipelines, such as http://localhost:8080; by default as the config says."),
]
ParamOption = Annotated[
    Optional[list[str]],
    typer.Option("--param", metavar="NAME=VALUE", help="A run-time parameter, such as epochs=5. Repeatable."),
]
WaitOption = Annotated[
    bool, typer.Option("--wait", help="Wait for the end of the run: exit code 1 unless it succeeds.")
]


def compile_config(
    config: ConfigOption = DEFAULT_CONFIG,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The file: .yaml for Kubeflow Pipelines, .json for Vertex AI.")
    ] = Path("pipeline.yaml"),
    overrides_file: OverridesOption = None,
    overrides: SetOption = None,
) -> None:
    """Compile the pipeline for Kubeflow Pipelines. What is wrong with the config is found here, not in the cluster."""
    from pipeline.config import load_config

    loaded = load_config(config, tuple(overrides or ()), overrides_file)
    # Seconds of imports: not before what can go wrong without them has gone right.
    from kubeflow.compiler import write_pipeline

    write_pipeline(loaded, out)
    typer.echo(f"{out}: pipeline {loaded.name}, image {loaded.kubeflow.image}")


def submit(
    config: ConfigOption = DEFAULT_CONFIG,
    overrides_file: OverridesOption = None,
    overrides: SetOption = None,
    host: HostOption = None,
    param: ParamOption = None,
    run_name: Annotated[
        Optional[str],
        typer.Option(help="Name of the run, or of the recurring run that takes the place of its namesake."),
    ] = None,
    schedule: Annotated[
        Optional[str],
        typer.Option(
            metavar="CRON",
            help='Set a recurring run, such as "0 3 * * *", instead of starting one; by default as the config says.',
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Start a run now, also if the config has a schedule.")] = False,
    wait: WaitOption = False,
) -> None:
    """Compile the pipeline, upload it to Kubeflow Pipelines, and start a run or set a recurring one.

    The same pipeline is not uploaded twice. Who asks is told by KF_PIPELINES_TOKEN or KF_PIPELINES_COOKIE.
    """
    from pipeline.config import load_config

    loaded = load_config(config, tuple(overrides or ()), overrides_file)
    if once and schedule:
        raise InputError("--once and --schedule exclude each other")
    cron = None if once else schedule or loaded.kubeflow.schedule
    if cron and wait:
        raise InputError("--wait: a recurring run doesn't end; start a run now with --once")
    from kubeflow.submit import Kubeflow, package

    compiled = package(loaded)
    parameters = compiled.parameters(param or ())
    with _failing():
        kubeflow = Kubeflow(loaded, host)
        if cron:
            url, changed = kubeflow.schedule(compiled, parameters, cron, run_name)
            state = "set" if changed else "was set already"
            typer.echo(f"recurring run {run_name or loaded.name} at {cron} {state}, version {compiled.version}: {url}")
            return
        run = kubeflow.start(compiled, parameters, run_name)
        typer.echo(f"run {run.name} started, version {compiled.version}: {run.url}")
        if wait:
            _wait(kubeflow, run, compiled)


def trigger(
    config: ConfigOption = DEFAULT_CONFIG,
    overrides_file: OverridesOption = None,
    overrides: SetOption = None,
    host: HostOption = None,
    param: ParamOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Start a run also if there was one for this data, such as one that failed.")
    ] = False,
    wait: WaitOption = False,
) -> None:
    """Start a run if the newest partition of the log is one that no run was started for: on new data, once.

    Which data a run was started for is in its name, so nothing has to be kept here.
    """
    from pipeline.config import load_config

    loaded = load_config(config, tuple(overrides or ()), overrides_file)
    settings = loaded.kubeflow
    pattern = settings.trigger.partitions or settings.interactions_path or loaded.data.interactions.path
    from kubeflow.sensor import newest_partition
    from kubeflow.submit import Kubeflow, package

    partition = newest_partition(pattern)
    name = f"{loaded.name} data {partition.digest}"
    with _failing():
        kubeflow = Kubeflow(loaded, host)
        seen = kubeflow.newest(name)
        if seen and not again:
            hint = "; --again starts one more" if seen.state in ("FAILED", "CANCELED") else ""
            state = seen.state or "PENDING"
            typer.echo(f"nothing new: {partition.path} was seen by run {seen.name} ({state}): {seen.url}{hint}")
            return
        compiled = package(loaded)
        run = kubeflow.start(compiled, compiled.parameters(param or ()), name)
        typer.echo(f"new data in {partition.path}: run {run.name} started, version {compiled.version}: {run.url}")
        if wait:
            _wait(kubeflow, run, compiled)


def _wait(kubeflow: Kubeflow, run: Run, compiled: Package) -> None:
    """Shows the nodes of a run as they end; exits with 1 unless all is well."""
    from pipeline.terminal import Terminal

    terminal = Terminal(Console())
    last = kubeflow.wait(
        run,
        compiled.nodes,
        lambda task: terminal.end(task.name, _STATES.get(task.state, "failed"), task.seconds, ""),
    )
    if last.state != "SUCCEEDED":
        _fail(f"run {last.name}: {last.state} {last.error}".rstrip() + f": {last.url}")
    typer.echo(f"run {last.name}: {last.state}")


@contextmanager
def _failing() -> Iterator[None]:
    """Ends the command with one line when Kubeflow Pipelines fails."""
    from kubeflow.submit import KubeflowError

    try:
        yield
    except KubeflowError as error:
        _fail(str(error))


def _fail(message: str) -> None:
    Console(stderr=True).print(f"[red]error[/]: {escape(message)}", soft_wrap=True, highlight=False)
    raise typer.Exit(1)
