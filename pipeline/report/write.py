"""Writes the pages: of a run as it ends, of any earlier one, and of two beside each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from components.errors import InputError
from components.evaluation_report import CANDIDATE, CHAMPION
from components.versions import check_writable
from pipeline.config import Config
from pipeline.metadata import connection_config, open_store
from pipeline.report import history, samples
from pipeline.report.comparison import compare_pages
from pipeline.report.figures import model_name
from pipeline.report.findings import Findings, collect
from pipeline.report.history import History, Run
from pipeline.report.page import report_page
from serving.files import write_atomically

_QUOTED = re.compile(r"(\(user |\bone user, |\buser\w* [^;<]{1,80}such as )(&#39;|&#34;|'|\").*?\2")


def report_of_run(config: Config, connection: Any, run_id: str, failure: str, out: Path) -> bool:
    """Writes the page of a run that has just ended.

    Args:
        config: The config that was run.
        connection: How the run's metadata are reached, a ConnectionConfig.
        run_id: The run.
        failure: Why it failed; empty if it did not.
        out: The file.

    Returns:
        Whether there is a page: there is none of a run that failed before its first node.
    """
    found = History(open_store(connection), config.name)
    if run_id not in history.run_ids(found):
        return False
    run = history.read_run(found, run_id)
    if failure:
        history.note_failure(found, run, failure)
        run = Run(run_id, history.read_run(found, run_id).nodes, failure)
    _write(_page(collect(config.name, run, config.serving.base_path), config.privacy.show_users), out)
    return True


def report(config: Config, wanted: str | None, out: Path) -> Run:
    """Writes the page of a run, also of an old one.

    Args:
        config: Says where the pipeline's output is.
        wanted: A run's id, the beginning of one, or a version's number; None for the newest run.
        out: The file, which appears whole or not at all.

    Returns:
        The run.

    Raises:
        InputError: There is no such run, or `out` can't be written.
    """
    check_out(out)
    run = history.find_run(_history(config), wanted)
    _write(_page(collect(config.name, run, config.serving.base_path), config.privacy.show_users), out)
    return run


def compare(config: Config, first: str, second: str, out: Path) -> tuple[Run, Run]:
    """Writes the page of two runs beside each other.

    Args:
        config: Says where the pipeline's output is.
        first: A run or version, as for `report`.
        second: The one that it is held against.
        out: The file, which appears whole or not at all.

    Returns:
        The two runs.

    Raises:
        InputError: There is no such run, or `out` can't be written.
    """
    check_out(out)
    past = _history(config)
    runs = history.find_run(past, first), history.find_run(past, second)
    if runs[0].id == runs[1].id:
        raise InputError(f"{first} and {second} are the same run, {runs[0].id}; name two")
    found = [collect(config.name, run, config.serving.base_path) for run in runs]
    shown = config.privacy.show_users
    page = compare_pages(found[0], found[1], shown)
    _write(page if shown else unquoted(page), out)
    return runs


def check_out(out: Path) -> None:
    """Makes sure that a page can be written.

    Raises:
        InputError: It can't.
    """
    if out.is_dir():
        raise InputError(f"--out {out}: is a directory; name a file in it")
    check_writable(out.parent)


def _history(config: Config) -> History:
    return History(open_store(connection_config(config)), config.name)


def unquoted(page: str) -> str:
    """A page without the user that is quoted in what nodes have said of the data.

    >>> unquoted("share of the greatest user: 51% (user &#39;bot&#39;)")
    'share of the greatest user: 51% (user …)'
    """
    return _QUOTED.sub(r"\1…", page)


def _page(findings: Findings, show_users: bool) -> str:
    models = {CANDIDATE: findings.servable, **({CHAMPION: findings.champion} if findings.servable else {})}
    there = {model_name(name): path for name, path in models.items() if path is not None}
    asked = samples.ask(findings, list(there.values()))
    page = report_page(findings, asked.unnamed() if asked and not show_users else asked, list(there))
    return page if show_users else unquoted(page)


def _write(page: str, out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, page)
    except OSError as error:
        raise InputError(f"{out}: can't be written: {error.strerror}") from None
